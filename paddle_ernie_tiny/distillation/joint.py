"""Several students that learn together from one forward pass of the teacher.

Each learns what it would learn alone: its terms, its gradients and their clipping are its own. Nothing else in the
package knows of it but the step that trains so (`pipeline/steps/distil_together.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from paddle import Tensor, nn

from ..training.trainer import Training
from .students import DistilledStudent
from .teacher import Teacher
from .trainers import DistillationTrainer


class JointStudents(nn.Layer):
    """The students by name, for the optimiser and the checkpoints."""

    def __init__(self, students: dict[str, DistilledStudent]):
        super().__init__()
        self.students = nn.LayerDict(students)
        self.config = next(iter(students.values())).config  # the trainer logs one


class JointDistillation(DistillationTrainer):
    """A latent stage of several students: one forward pass of the teacher, then each student's own loss.

    Their terms have the names "student term" in logs and history.
    """

    def __init__(self, students: dict[str, DistilledStudent], teacher: Teacher, training: Training):
        super().__init__(JointStudents(students), teacher, training)

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False) -> Tensor:
        """The sum of the students' losses, a scalar; no gradient of one reaches another. Inputs as in one's stage."""
        labels, teacher = inputs.pop("labels", None), self.ask_teacher(inputs)
        recorded: dict[str, Tensor] = {}
        losses = []
        for name, student in model.students.items():
            values, loss = self.student_loss(student, teacher, inputs, labels)
            recorded |= {f"{name} {term}": value for term, value in values.items()}
            losses.append(loss)
        self.record(recorded)
        return sum(losses[1:], losses[0])

    @property
    def students(self) -> list[DistilledStudent]:
        """All that learn from the teacher here."""
        return list(self.model.students.values())

    def create_optimizer(self, lr_scheduler: Any = None) -> Any:
        """PaddleNLP's AdamW, with the gradients of each student clipped alone."""
        optimizer = super().create_optimizer(lr_scheduler)
        if self.args.max_grad_norm > 0:
            optimizer._grad_clip = ClipEachStudent(self.args.max_grad_norm, self.model.students.values())
        return optimizer


class ClipEachStudent(nn.ClipGradByGlobalNorm):
    """Clips every student's gradients to a global norm of their own, as if it were trained alone."""

    def __init__(self, clip_norm: float, students: Iterable[DistilledStudent]):
        super().__init__(clip_norm)
        self._owner = {p.name: number for number, student in enumerate(students) for p in student.parameters()}

    def _dygraph_clip(self, params_grads):
        groups: dict[int, list] = {}
        for parameter, gradient in params_grads:
            groups.setdefault(self._owner[parameter.name], []).append((parameter, gradient))
        return [pair for group in groups.values() for pair in super(ClipEachStudent, self)._dygraph_clip(group)]


def share_of(student: str, values: dict[str, Any]) -> dict[str, Any]:
    """One student's part of joint values by name, under the terms' own names."""
    return {key.removeprefix(f"{student} "): value for key, value in values.items() if key.startswith(f"{student} ")}

"""Several students that learn from one teacher forward: to a stage they look like one student and one objective.

Each student learns what it would learn alone: its terms, its gradients and their clipping are its own.
"""

from __future__ import annotations

import paddle
from paddle import nn

from ..models.capture import Captured, Needs
from ..models.student import DistilledStudent
from .objective import Objective


class JointStudents(nn.Layer):
    """Students by name; a forward gives the logits and the captured states of each, by name."""

    def __init__(self, students: dict[str, DistilledStudent]):
        super().__init__()
        self.students = nn.LayerDict(students)

    @property
    def config(self):
        """A configuration for the trainer, which writes one beside its checkpoints: the first student's."""
        return next(iter(self.students.values())).config

    @property
    def classifiers(self) -> list:
        """The wrapped models, one a student."""
        return [student.classifier for student in self.students.values()]

    def forward(self, **inputs) -> tuple[dict, dict[str, Captured]]:
        answers = {name: student(**inputs) for name, student in self.students.items()}
        return {name: a[0] for name, a in answers.items()}, {name: a[1] for name, a in answers.items()}


class JointObjective:
    """The objectives of several students; their values stand under "student term"."""

    def __init__(self, objectives: dict[str, Objective]):
        self.objectives = objectives

    @property
    def kind(self) -> str:
        """The kind of task, which they share."""
        return next(iter(self.objectives.values())).kind

    @property
    def map(self) -> dict[str, dict[int, int]]:
        """Each student's layer map."""
        return {name: objective.map for name, objective in self.objectives.items()}

    def needs(self, of: str) -> Needs:
        """What all of them together need `of` the "teacher"."""
        each = [objective.needs(of) for objective in self.objectives.values()]
        parts = {part for needs in each if needs.attention for part in needs.parts}
        return Needs(
            hidden=tuple(sorted({layer for needs in each for layer in needs.hidden})),
            attention=tuple(sorted({layer for needs in each for layer in needs.attention})),
            parts=tuple(part for part in ("query", "key", "value") if part in parts),
        )

    def __call__(self, students, teacher, mask, student_logits=None, teacher_logits=None, labels=None) -> dict:
        values = {}
        for name, objective in self.objectives.items():
            own = objective(students[name], teacher, mask, student_logits[name], teacher_logits, labels)
            values.update({f"{name} {term}": value for term, value in own.items()})
        return values

    def total(self, values: dict, progress: float = 0.0):
        """The sum of the students' losses; no gradient of one reaches another."""
        return sum(objective.total(self.of(name, values), progress) for name, objective in self.objectives.items())

    def counts(self, mask, labels=None):
        """As `Objective.counts`, in the order of the values."""
        return paddle.concat([objective.counts(mask, labels) for objective in self.objectives.values()])

    def of(self, name: str, values: dict) -> dict:
        """One student's share of values by term, under the terms' own names."""
        return {key.removeprefix(f"{name} "): value for key, value in values.items() if key.startswith(f"{name} ")}

    def equation(self) -> str:
        """A line a student."""
        return "\n  ".join(f"{name}: {objective.equation()}" for name, objective in self.objectives.items())


class ClipEachStudent(nn.ClipGradByGlobalNorm):
    """Clips every student's gradients to a global norm of their own, as if it were trained alone."""

    def __init__(self, clip_norm: float, students: dict[str, DistilledStudent]):
        super().__init__(clip_norm)
        self._owner = {p.name: name for name, student in students.items() for p in student.parameters()}

    def _dygraph_clip(self, params_grads):
        groups: dict[str, list] = {}
        for parameter, gradient in params_grads:
            groups.setdefault(self._owner[parameter.name], []).append((parameter, gradient))
        return [pair for group in groups.values() for pair in super(ClipEachStudent, self)._dygraph_clip(group)]

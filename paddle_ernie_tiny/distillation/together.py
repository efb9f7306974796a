"""Several students that learn from one teacher forward: to a stage they look like one student and one objective.

Each student learns what it would learn alone: its terms, its gradients and their clipping are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
from paddle import Tensor, nn

from ..models.student import DistilledStudent
from ..terms import Captured, Needs
from ..terms.term import Side
from .objective import Objective


class JointStudents(nn.Layer):
    """Students by name; a forward pass gives what was captured of each, by name."""

    def __init__(self, students: dict[str, DistilledStudent]):
        super().__init__()
        self.students = nn.LayerDict(students)

    @property
    def config(self) -> Any:
        """A configuration for the trainer, which writes one beside its checkpoints: the first student's."""
        return next(iter(self.students.values())).config

    @property
    def classifiers(self) -> list:
        """The wrapped models, one per student."""
        return [student.classifier for student in self.students.values()]

    def forward(self, **inputs: paddle.Tensor) -> dict[str, Captured]:
        """What each student gave, by name; inputs as `DistilledStudent`'s."""
        return {name: student(**inputs) for name, student in self.students.items()}

    def gradient_clip(self, max_norm: float) -> nn.ClipGradByGlobalNorm:
        """Each student's gradients are clipped alone."""
        return ClipEachStudent(max_norm, dict(self.students.items()))


class JointObjective(Objective):
    """The objectives of several students; their values have the names "student term"."""

    def __init__(self, objectives: dict[str, Objective]):
        self.objectives = objectives
        self.kind = next(iter(objectives.values())).kind

    def needs(self, side: Side) -> Needs:
        """What all of them together need."""
        return Needs.union(objective.needs(side) for objective in self.objectives.values())

    def __call__(
        self, student: dict[str, Captured], teacher: Captured, mask: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As `Objective`, of each student."""
        values = {}
        for name, objective in self.objectives.items():
            own = objective(student[name], teacher, mask, labels)
            values.update({f"{name} {term}": value for term, value in own.items()})
        return values

    def total(self, values: dict[str, Tensor], progress: float = 0.0) -> Tensor:
        """The sum of the students' losses; no gradient of one reaches another."""
        losses = [objective.total(self.of(name, values), progress) for name, objective in self.objectives.items()]
        return sum(losses[1:], losses[0])

    def counts(self, mask: Tensor, labels: Tensor | None = None) -> Tensor:
        """As `Objective.counts`, in the order of the values."""
        return paddle.concat([objective.counts(mask, labels) for objective in self.objectives.values()])

    def of(self, name: str, values: dict) -> dict:
        """One student's share of values by term, under the terms' own names."""
        return {key.removeprefix(f"{name} "): value for key, value in values.items() if key.startswith(f"{name} ")}

    def equation(self) -> str:
        """One line per student."""
        return "\n  ".join(f"{name}: {objective.equation()}" for name, objective in self.objectives.items())

    def layer_lines(self) -> str:
        """Each student's layer map."""
        return str({name: objective.layers for name, objective in self.objectives.items()})


class ClipEachStudent(nn.ClipGradByGlobalNorm):
    """Clips every student's gradients to a global norm of their own, as if it were trained alone."""

    def __init__(self, clip_norm: float, students: Mapping[str, nn.Layer]):
        super().__init__(clip_norm)
        self._owner = {p.name: name for name, student in students.items() for p in student.parameters()}

    def _dygraph_clip(self, params_grads):
        groups: dict[str, list] = {}
        for parameter, gradient in params_grads:
            groups.setdefault(self._owner[parameter.name], []).append((parameter, gradient))
        return [pair for group in groups.values() for pair in super(ClipEachStudent, self)._dygraph_clip(group)]

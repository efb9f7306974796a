"""The students as they are distilled, one or several at once: classifiers, what is captured of them, projections.

Each of several students learns what it would learn alone: its terms, its gradients and their clipping are its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from safetensors.numpy import load_file

from ..errors import InputError
from ..models.capture import Capture
from ..models.weights import to_numpy
from ..terms import Captured
from .objective import Objective


class DistilledStudent(nn.Layer):
    """A student classifier and the learned projections W of its hidden states that the objective's terms compare.

    W maps [.., hidden_student] to [.., hidden_teacher] (TinyBERT, arXiv 1909.10351, eq. 8): one a layer, or one
    `shared` by all, or `none`. The projections are trained and saved with the student, and left out of the export.
    """

    def __init__(self, classifier: Any, objective: Objective, teacher_width: int):
        super().__init__()
        self.classifier, self.config = classifier, classifier.config
        needs, width = objective.needs("student"), classifier.config.hidden_size
        each = {"per_layer": [str(number) for number in needs.hidden], "shared": ["shared"], "none": []}
        names = each[objective.projection] if needs.hidden else []
        self.projections = nn.LayerDict({name: nn.Linear(width, teacher_width, bias_attr=False) for name in names})
        self._capture = Capture(classifier, needs)

    def forward(
        self, input_ids: paddle.Tensor, token_type_ids: paddle.Tensor, attention_mask: paddle.Tensor
    ) -> Captured:
        """Logits and the captured states, hidden ones projected to the teacher's width [.., hidden_teacher].

        input_ids, token_type_ids: int64 [batch, length]; attention_mask: float32 [batch, length].
        """
        logits = self.classifier(input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask)
        captured = self._capture.take()
        captured.logits = logits
        for number, state in captured.hidden.items():
            name = "shared" if "shared" in self.projections else str(number)
            if name in self.projections:
                captured.hidden[number] = self.projections[name](state)
        return captured

    def projection_arrays(self) -> dict[str, np.ndarray]:
        """The projections' weights by name."""
        return to_numpy(self.projections.state_dict())

    def load_projections(self, file: Path) -> None:
        """Takes over the projections of an earlier stage for the layers that both compare; others start at random.

        Raises InputError for a projection of the same layer between other widths: the folder is of another student.
        """
        own = to_numpy(self.projections.state_dict())
        kept = load_file(str(file)) if file.is_file() else {}
        for name in set(own) & set(kept):
            if own[name].shape != kept[name].shape:
                what = f"projection {name} has shape {kept[name].shape}, this student needs {own[name].shape}"
                raise InputError(what, str(file), "the file belongs to another model or configuration")
        self.projections.set_state_dict({name: kept.get(name, value) for name, value in own.items()})


class JointStudents(nn.Layer):
    """Students by name that learn from one forward pass of the teacher; to a stage they look like one student."""

    def __init__(self, students: dict[str, DistilledStudent]):
        super().__init__()
        self.students = nn.LayerDict(students)
        self.config = next(iter(students.values())).config  # the trainer logs one

    def forward(self, **inputs: paddle.Tensor) -> dict[str, Captured]:
        """What each student gave, by name; inputs as `DistilledStudent`'s."""
        return {name: student(**inputs) for name, student in self.students.items()}


def students_of(model: DistilledStudent | JointStudents) -> list[DistilledStudent]:
    """Each student in what a stage trains."""
    return [layer for layer in model.sublayers(include_self=True) if isinstance(layer, DistilledStudent)]


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

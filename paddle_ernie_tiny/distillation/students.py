"""The student as it is distilled: a classifier, what is captured of it, its projections and its objective."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from safetensors.numpy import load_file

from ..errors import InputError
from ..models.capture import Capture
from ..models.narrow import Batches, projections_of
from ..models.weights import PROJECTIONS, to_numpy
from ..terms import Captured
from .objective import Objective


class DistilledStudent(nn.Layer):
    """A student classifier and the learned projections W of its hidden states that the objective's terms compare.

    W maps [.., hidden_student] to [.., hidden_teacher] (TinyBERT, arXiv 1909.10351, eq. 8): one per layer, or one
    `shared` by all, or `none`. The projections are trained and saved with the student, and left out of the export.
    """

    def __init__(self, classifier: Any, objective: Objective, teacher_width: int):
        super().__init__()
        self.classifier, self.config, self.objective = classifier, classifier.config, objective
        needs, width = objective.needs("student"), classifier.config.hidden_size
        each = {"per_layer": [str(number) for number in needs.hidden], "shared": ["shared"], "none": []}
        names = each[objective.projection] if needs.hidden else []
        self.projections = nn.LayerDict({name: nn.Linear(width, teacher_width, bias_attr=False) for name in names})
        self._capture = Capture(classifier, needs)
        for name, parameter in classifier.named_parameters():
            if "classifier" in name or "pooler" in name:  # latent terms give them no gradient
                parameter.stop_gradient = not objective.label_terms

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

    def fit_projections(self, teacher: Any, batches: Batches) -> None:
        """Starts each projection by least squares between the states of both models on some texts."""
        if len(self.projections):
            layers = {number: self.objective.layers.get(number, 0) for number in self.objective.needs("student").hidden}
            found = projections_of(self.classifier, teacher, layers, batches, "shared" in self.projections)
            self.projections.set_state_dict(
                {f"{name}.weight": paddle.to_tensor(value) for name, value in found.items()}
            )

    def projection_arrays(self) -> dict[str, np.ndarray]:
        """The projections' weights by name."""
        return to_numpy(self.projections.state_dict())

    def load_projections(self, folder: Path) -> None:
        """Takes over the projections of an earlier stage for the layers that both compare; others start at random.

        Raises InputError for a projection of the same layer between other widths: the folder is of another student.
        """
        own = to_numpy(self.projections.state_dict())
        kept = read_projections(folder)
        for name in set(own) & set(kept):
            if own[name].shape != kept[name].shape:
                what = f"projection {name} has shape {kept[name].shape}, this student needs {own[name].shape}"
                raise InputError(what, str(folder / PROJECTIONS), "the file belongs to another model or configuration")
        self.projections.set_state_dict({name: kept.get(name, value) for name, value in own.items()})


def read_projections(folder: Path) -> dict[str, np.ndarray]:
    """The projections' weights by name in a student's folder; none, if it was trained without."""
    file = folder / PROJECTIONS
    return load_file(str(file)) if file.is_file() else {}

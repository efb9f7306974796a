"""The student as it is distilled: a classifier, its capture, and the width projections of its states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from safetensors.numpy import load_file

from ..terms import Captured, Needs
from .capture import Capture
from .weights import load_state_strictly, to_numpy


class DistilledStudent(nn.Layer):
    """A student classifier and the learned projections W of its hidden states that terms compare.

    W maps [.., hidden_student] to [.., hidden_teacher] (TinyBERT, arXiv 1909.10351, eq. 8): one a layer, or one
    `shared` by all, or `none`. The projections are trained and saved with the student, and left out of the export.
    """

    def __init__(self, classifier: Any, needs: Needs, teacher_width: int, projection: str = "per_layer"):
        super().__init__()
        self.classifier = classifier
        names = {"per_layer": [str(number) for number in needs.hidden], "shared": ["shared"], "none": []}[projection]
        width = classifier.config.hidden_size
        self.projections = nn.LayerDict(
            {name: nn.Linear(width, teacher_width, bias_attr=False) for name in names if needs.hidden}
        )
        self._capture = Capture(classifier, needs)

    @property
    def classifiers(self) -> list:
        """The wrapped models: one."""
        return [self.classifier]

    @property
    def config(self) -> Any:
        """The classifier's configuration, which the trainer writes beside its checkpoints."""
        return self.classifier.config

    def forward(
        self, input_ids: paddle.Tensor, token_type_ids: paddle.Tensor, attention_mask: paddle.Tensor
    ) -> Captured:
        """Logits and the captured states, hidden ones projected to the teacher's width [.., hidden_teacher].

        input_ids, token_type_ids: int64 [batch, length]; attention_mask: float32 [batch, length].
        """
        logits = self.classifier(input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask)
        captured = self._capture.take()
        captured.hidden = {number: self._project(number, state) for number, state in captured.hidden.items()}
        captured.logits = logits
        return captured

    def gradient_clip(self, max_norm: float) -> nn.ClipGradByGlobalNorm:
        """How gradients are clipped: all of them to one global norm."""
        return nn.ClipGradByGlobalNorm(max_norm)

    def _project(self, number: int, state: paddle.Tensor) -> paddle.Tensor:
        for name in (str(number), "shared"):
            if name in self.projections:
                return self.projections[name](state)
        return state

    def projection_arrays(self) -> dict[str, np.ndarray]:
        """The projections' weights by name."""
        return to_numpy(self.projections.state_dict())

    def load_projections(self, file: Path) -> bool:
        """Takes over the projections of an earlier stage; False if it has none, or compared other layers.

        Raises InputError for a projection of the same layer between other widths: the folder is of another student.
        """
        if not file.is_file():
            return False
        arrays, own = load_file(str(file)), self.projections.state_dict()
        if set(arrays) != set(own):
            return False
        load_state_strictly(self.projections, arrays, str(file))
        return True

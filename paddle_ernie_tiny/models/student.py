"""The student as it is distilled: a classifier, its capture, and the width projections of its states."""

from __future__ import annotations

from pathlib import Path

import paddle
from paddle import nn

from .build import load_state_strictly, to_numpy
from .capture import Capture, Captured


class DistilledStudent(nn.Layer):
    """A student classifier with a learned projection W for every hidden state that a term compares.

    W maps [.., hidden_student] to [.., hidden_teacher] (TinyBERT, arXiv 1909.10351, eq. 8). The
    projections are trained and saved with the student and dropped at export.
    """

    def __init__(self, classifier, hidden_layers, attention_layers, teacher_width: int, values: bool = False):
        super().__init__()
        self.classifier = classifier
        self.hidden_layers = tuple(hidden_layers)
        width = classifier.config.hidden_size
        self.projections = nn.LayerDict(
            {str(number): nn.Linear(width, teacher_width, bias_attr=False) for number in self.hidden_layers}
        )
        self._capture = Capture(classifier, hidden_layers, attention_layers, values)

    @property
    def config(self):
        return self.classifier.config

    def forward(self, input_ids, token_type_ids, attention_mask) -> tuple[paddle.Tensor, Captured]:
        """Logits [batch, labels] and the captured states, hidden ones projected to the teacher's width."""
        logits = self.classifier(input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask)
        captured = self._capture.take()
        captured.hidden = {number: self.projections[str(number)](state) for number, state in captured.hidden.items()}
        return logits, captured

    def projection_arrays(self) -> dict:
        return to_numpy(self.projections.state_dict())

    def load_projections(self, file: Path) -> bool:
        """Takes over the projections of an earlier stage; False when it compared other layers or widths."""
        from safetensors.numpy import load_file

        if not file.is_file():
            return False
        arrays = load_file(str(file))
        own = self.projections.state_dict()
        if {n: list(v.shape) for n, v in arrays.items()} != {n: list(v.shape) for n, v in own.items()}:
            return False
        load_state_strictly(self.projections, arrays, str(file))
        return True

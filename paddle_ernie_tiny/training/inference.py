"""Forward passes of dynamic-graph models over many rows: logits and sentence features."""

from __future__ import annotations

import numpy as np
import paddle

from ..models.build import base_model
from .batches import EncodedRows, collate, sorted_batches


def predict_logits(model, rows: EncodedRows, pad_id: int, batch_size: int = 64) -> np.ndarray:
    """Logits [rows, labels] float32 of a classifier, in the rows' order; dropout off, no gradients."""
    return _forward(model, model, rows, pad_id, batch_size, lambda output: output)


def first_token_features(model, rows: EncodedRows, pad_id: int, batch_size: int = 64) -> np.ndarray:
    """Last hidden state of [CLS], [rows, hidden], for a linear probe."""
    return _forward(model, base_model(model), rows, pad_id, batch_size, lambda output: output[0][:, 0])


def _forward(model, callee, rows: EncodedRows, pad_id: int, batch_size: int, pick) -> np.ndarray:
    was_training = model.training
    model.eval()
    result = None
    with paddle.no_grad():
        for indices in sorted_batches(rows, batch_size):
            batch = collate([rows[int(i)] for i in indices], pad_id)
            inputs = {name: paddle.to_tensor(value) for name, value in batch.items() if name != "labels"}
            values = pick(callee(**inputs)).astype("float32").numpy()
            if result is None:
                result = np.zeros((len(rows), values.shape[1]), dtype=np.float32)
            result[indices] = values
    if was_training:
        model.train()
    return result

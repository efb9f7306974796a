"""Forward passes of dynamic-graph models over many rows: what they answer, and the states for a linear probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ..data.rows import EncodedRows
from ..kinds import Kind
from ..kinds.metrics import Scored
from ..models.build import base_model
from .batches import collate, sorted_batches


def predict(model: Any, kind: Kind, rows: EncodedRows, pad_id: int, labels: list[str], batch_size: int = 64) -> Scored:
    """A model's outputs on labelled rows; dropout off, no gradients. `labels` are the label names."""
    return Scored(predict_outputs(model, kind, rows, pad_id, batch_size), _gold(rows), labels, rows.groups)


def predict_outputs(model: Any, kind: Kind, rows: EncodedRows, pad_id: int, batch_size: int = 64) -> list[np.ndarray]:
    """Each row's logits [answers, labels], float32; dropout off, no gradients."""
    return _forward(model, model, rows, pad_id, batch_size, kind.answers)


def probe_states(
    model: Any, kind: Kind, rows: EncodedRows, pad_id: int, labels: list[str], batch_size: int = 64
) -> Scored:
    """As `predict`, but of each answer the last hidden state that it is made from: [answers, hidden]."""

    def encoder(**inputs: paddle.Tensor) -> paddle.Tensor:
        return base_model(model)(**inputs)[0]

    return Scored(_forward(model, encoder, rows, pad_id, batch_size, kind.states), _gold(rows), labels, rows.groups)


def _gold(rows: EncodedRows) -> Any:
    if rows.gold is None:
        raise ValueError("rows without labels cannot be scored")
    return rows.gold


def _forward(
    model: Any, call: Callable[..., paddle.Tensor], rows: EncodedRows, pad_id: int, batch_size: int, pick: Callable
) -> list[np.ndarray]:
    was_training = model.training
    model.eval()
    answers: list[np.ndarray] = [np.empty(0)] * len(rows)
    with paddle.no_grad():
        for indices in sorted_batches(rows, batch_size):
            batch = collate([rows[int(i)] for i in indices], pad_id)
            inputs = {name: paddle.to_tensor(value) for name, value in batch.items() if name != "labels"}
            values = call(**inputs).astype("float32").numpy()
            for place, index in enumerate(indices):
                answers[index] = pick(values[place], rows.places and rows.places[index])
    if was_training:
        model.train()
    return answers

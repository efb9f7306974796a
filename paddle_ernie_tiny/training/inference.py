"""Forward passes of dynamic-graph models over many rows: what they answer, and the states for a linear probe."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ..data.rows import EncodedRows
from ..data.windows import by_row
from ..kinds import Kind
from ..kinds.metrics import Scored
from ..models.build import last_states
from .batches import input_batches


def predict(
    model: Any,
    kind: Kind,
    rows: EncodedRows,
    pad_id: int,
    labels: list[str],
    batch_size: int = 64,
    states: bool = False,
) -> Scored:
    """`predict_outputs` of labelled rows, with what is right. `labels` are the label names."""
    assert rows.gold is not None, "only labelled rows are scored"
    outputs = predict_outputs(model, kind, rows, pad_id, batch_size, states)
    gold = by_row(rows.rows, rows.gold, kind.whole_gold)
    return kind.scored(outputs, gold, labels, rows.row_groups)


def predict_outputs(
    model: Any, kind: Kind, rows: EncodedRows, pad_id: int, batch_size: int = 64, states: bool = False
) -> list[np.ndarray]:
    """Each row's logits [answers, labels], float32, from those of its windows; dropout off, no gradients.

    With `states`, the last hidden states that its answers are made from: [answers, hidden].
    """
    was_training = model.training
    model.eval()
    outputs: list[np.ndarray] = [np.empty(0)] * len(rows)
    with paddle.no_grad():
        for indices, inputs in input_batches(rows, pad_id, batch_size):
            given = last_states(model, inputs) if states else model(**inputs)
            values = given.astype("float32").numpy()
            for value, index in zip(values, indices, strict=True):
                places = None if rows.places is None else rows.places[index]
                outputs[index] = kind.states(value, places) if states else kind.answers(value, places)
    if was_training:
        model.train()
    return by_row(rows.rows, outputs, kind.whole)

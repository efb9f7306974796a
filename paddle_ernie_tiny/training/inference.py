"""Forward passes of dynamic-graph models over many rows: what they answer, and features for a probe.

"Answers" are flattened: one a row, or for token classification one a word that was not cut off, in the
rows' order.
"""

from __future__ import annotations

import numpy as np
import paddle

from ..data.metrics import compute, mean_reciprocal_rank
from ..data.tags import entity_f1
from ..models.build import base_model
from .batches import EncodedRows, collate, sorted_batches


def predict_logits(model, rows: EncodedRows, pad_id: int, batch_size: int = 64) -> np.ndarray:
    """Logits [answers, labels] float32 (regression: [rows, 1]); dropout off, no gradients."""
    return _forward(model, model, rows, pad_id, batch_size, lambda output: output)


def probe_features(model, rows: EncodedRows, pad_id: int, batch_size: int = 64) -> np.ndarray:
    """Last hidden state at [CLS], or of each word's first piece: [answers, hidden], for a linear probe."""
    by_token = rows.places is not None
    return _forward(
        model,
        base_model(model),
        rows,
        pad_id,
        batch_size,
        lambda output: output[0] if by_token else output[0][:, 0],
    )


def answered_rows(rows: EncodedRows) -> np.ndarray:
    """The row of every answer: int64 [answers]."""
    counts = np.ones(len(rows), dtype=np.int64) if rows.places is None else [len(places) for places in rows.places]
    return np.repeat(np.arange(len(rows)), counts)


def answer_labels(rows: EncodedRows) -> np.ndarray:
    """The label of every answer: [answers]."""
    if rows.places is None:
        return rows.labels
    kept = [tags[: len(places)] for tags, places in zip(rows.labels, rows.places, strict=True)]
    return np.concatenate(kept)


def score(metric: str, logits: np.ndarray, rows: EncodedRows, labels: list[str], chosen=None) -> float:
    """The task's metric of flattened logits [answers, labels], on the rows in `chosen` (bool [rows]; None: all).

    Words that were cut off count as `O`.
    """
    chosen = np.ones(len(rows), dtype=bool) if chosen is None else chosen
    if rows.kind == "token_classification":
        ends = np.cumsum([len(places) for places in rows.places])[:-1]
        predicted = np.split(logits.argmax(-1), ends)
        tags, gold = [], []
        for row in np.flatnonzero(chosen):
            known = [labels[tag] for tag in predicted[row]]
            gold.append([labels[tag] for tag in rows.labels[row]])
            tags.append(known + ["O"] * (len(gold[-1]) - len(known)))
        return entity_f1(tags, gold)
    logits, gold = logits[chosen], rows.labels[chosen]
    if metric == "mrr":
        return mean_reciprocal_rank(logits[:, 1] - logits[:, 0], gold, rows.groups[chosen])
    return compute(metric, logits, gold)


def _forward(model, callee, rows: EncodedRows, pad_id: int, batch_size: int, pick) -> np.ndarray:
    was_training = model.training
    model.eval()
    answers: list[np.ndarray] = [np.empty(0)] * len(rows)
    with paddle.no_grad():
        for indices in sorted_batches(rows, batch_size):
            batch = collate([rows[int(i)] for i in indices], pad_id)
            inputs = {name: paddle.to_tensor(value) for name, value in batch.items() if name != "labels"}
            values = pick(callee(**inputs)).astype("float32").numpy()
            for place, index in enumerate(indices):
                answers[index] = values[place][None] if rows.places is None else values[place][rows.places[index]]
    if was_training:
        model.train()
    return np.concatenate(answers)

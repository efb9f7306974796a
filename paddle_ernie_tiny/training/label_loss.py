"""The task's own loss: what a model's output costs against the labels, for each kind of task."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from ..data.metrics import IGNORED


def label_loss(kind: str, output: Tensor, labels: Tensor) -> Tensor:
    """Mean loss over what is labelled; a scalar, reduced in float32.

    classification: cross-entropy, output [batch, labels], labels [batch] (IGNORED: no label).
    token_classification: the same at each labelled token, [batch, length, labels] and [batch, length].
    regression: squared error, output [batch, 1], labels [batch] float (NaN: no label).
    """
    output, counted = output.astype("float32"), labelled(kind, labels)
    if kind == "regression":
        error = (output.squeeze(-1) - paddle.where(counted, labels, paddle.zeros_like(labels))).square()
        return _mean(error, counted)
    losses = F.cross_entropy(output, labels, ignore_index=IGNORED, reduction="none", axis=-1)
    return _mean(losses.reshape(labels.shape), counted)


def labelled(kind: str, labels: Tensor) -> Tensor:
    """Which labels are there: bool, shaped as `labels`."""
    return ~paddle.isnan(labels) if kind == "regression" else labels != IGNORED


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    counted = counted.astype("float32")
    return (values * counted).sum() / counted.sum().clip(min=1.0)

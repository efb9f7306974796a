"""The task's own loss, by hand, for each kind of task; what has no label does not count."""

import math

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.data.rows import IGNORED
from paddle_ernie_tiny.kinds import KINDS

LOGITS = [[0.0, math.log(3)], [0.0, 0.0], [5.0, -5.0]]
FIRST_TWO = (-math.log(3 / 4) + math.log(2)) / 2  # label 1, then label 0


def loss(kind, output, labels, class_weights=None):
    output = paddle.to_tensor(np.array(output, np.float32))
    return float(KINDS[kind].hard_label(output, paddle.to_tensor(labels), class_weights))


def test_cross_entropy_of_rows():
    assert loss("classification", LOGITS[:2], [1, 0]) == pytest.approx(FIRST_TWO, rel=1e-5)
    assert loss("classification", LOGITS, [1, 0, IGNORED]) == pytest.approx(FIRST_TWO, rel=1e-5)


def test_cross_entropy_of_words():
    tags = [[1, 0, IGNORED]]
    assert loss("token_classification", [LOGITS], tags) == pytest.approx(FIRST_TWO, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "wrap"), [("classification", lambda rows: rows), ("token_classification", lambda r: [r])]
)
def test_class_weights_make_a_weighted_mean(kind, wrap):
    weighted = (0.5 * -math.log(3 / 4) + 0.1 * math.log(2)) / (0.5 + 0.1)
    given = wrap(LOGITS), wrap([1, 0, IGNORED])
    assert loss(kind, *given, [0.1, 0.5]) == pytest.approx(weighted, rel=1e-5)
    assert loss(kind, *given, [1.0, 1.0]) == pytest.approx(FIRST_TWO, rel=1e-5)


def test_squared_error_of_scores():
    scores = np.array([2.0, 5.0, np.nan], np.float32)
    assert loss("regression", [[1.0], [3.0], [9.0]], scores) == pytest.approx((1 + 4) / 2)


@pytest.mark.parametrize(
    ("kind", "output", "labels"),
    [
        ("classification", LOGITS, [IGNORED] * 3),
        ("token_classification", [LOGITS], [[IGNORED] * 3]),
        ("regression", [[1.0]], np.array([np.nan], np.float32)),
    ],
)
def test_a_batch_without_labels_costs_nothing_and_gives_no_gradient(kind, output, labels):
    output = paddle.to_tensor(np.array(output, np.float32))
    output.stop_gradient = False
    value = KINDS[kind].hard_label(output, paddle.to_tensor(labels))
    value.backward()
    assert float(value) == 0 and not output.grad.numpy().any()

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


NONE = [math.nan] * 2


def test_binary_cross_entropy_of_sets_of_labels():
    """Mean over rows and labels: sigmoid(log 3) is 3/4."""
    sets = np.array([[1, 0], [0, 0], NONE], np.float32)
    logits = [[math.log(3), math.log(3)], [0.0, math.log(3)], [7.0, -7.0]]
    first = (-math.log(3 / 4) - math.log(1 / 4)) + (math.log(2) - math.log(1 / 4))
    assert loss("multi_label", logits, sets) == pytest.approx(first / 4, rel=1e-5)
    weighted = first + 4 * -math.log(3 / 4)  # the only positive counts five times, its place in the mean once
    assert loss("multi_label", logits, sets, [5.0, 9.0]) == pytest.approx(weighted / 4, rel=1e-5)


def test_soft_labels_of_sets_are_binary_and_times_t_squared():
    own, given = np.array([[math.log(9), 0.0]], np.float32), np.array([[0.0, math.log(81)]], np.float32)
    at = {"cross_entropy": -(math.log(3 / 4) + math.log(1 / 4)) / 2 + math.log(2), "mse": (math.log(9) ** 2 * 5) / 2}
    at["cross_entropy"] = 4 * at["cross_entropy"] / 2  # T = 2: 3/4 and 1/2 against 1/2 and 9/10
    entropy = 4 * (math.log(2) - 0.9 * math.log(0.9) - 0.1 * math.log(0.1)) / 2
    at["kl"] = at["cross_entropy"] - entropy
    kind, tensors = KINDS["multi_label"], (paddle.to_tensor(own), paddle.to_tensor(given))
    for name, value in at.items():
        found = kind.soft_label(name, *tensors, 1.0 if name == "mse" else 2.0, None, None)
        assert float(found) == pytest.approx(value, rel=1e-5), name
        assert name == "cross_entropy" or float(kind.soft_label(name, *tensors[:1] * 2, 2.0, None, None)) == 0


def test_what_counts_of_sets_is_each_label_of_a_labelled_row():
    """So the means of several processes are put together by their labels."""
    labels, kind = paddle.to_tensor(np.array([[1, 0], NONE], np.float32)), KINDS["multi_label"]
    assert kind.label_weights(labels, [5.0, 9.0]).tolist() == [[1, 1], [0, 0]]
    sets = np.array([[1, 0], NONE, [0, 1], [1, 1]], np.float32)
    logits = np.random.default_rng(0).normal(size=(4, 2)).tolist()
    halves = [loss("multi_label", logits[part], sets[part], [2.0, 3.0]) for part in (slice(2), slice(2, 4))]
    assert loss("multi_label", logits, sets, [2.0, 3.0]) == pytest.approx((2 * halves[0] + 4 * halves[1]) / 6, rel=1e-5)


def test_squared_error_of_scores():
    scores = np.array([2.0, 5.0, np.nan], np.float32)
    assert loss("regression", [[1.0], [3.0], [9.0]], scores) == pytest.approx((1 + 4) / 2)


@pytest.mark.parametrize(
    ("kind", "output", "labels"),
    [
        ("classification", LOGITS, [IGNORED] * 3),
        ("token_classification", [LOGITS], [[IGNORED] * 3]),
        ("regression", [[1.0]], np.array([np.nan], np.float32)),
        ("multi_label", LOGITS, np.array([NONE] * 3, np.float32)),
        ("multi_label", LOGITS, np.array([[math.nan]] * 3, np.float32)),
    ],
)
def test_a_batch_without_labels_costs_nothing_and_gives_no_gradient(kind, output, labels):
    output = paddle.to_tensor(np.array(output, np.float32))
    output.stop_gradient = False
    value = KINDS[kind].hard_label(output, paddle.to_tensor(labels))
    value.backward()
    assert float(value) == 0 and not output.grad.numpy().any()

"""Metrics against values worked out by hand."""

import math

import numpy as np
import pytest

from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.kinds.metrics import METRICS, Scored, fidelity, mean_reciprocal_rank, metrics_of
from paddle_ernie_tiny.kinds.reading_scores import Gold

PREDICTED, GOLD = [1, 1, 0, 1, 0], [1, 0, 0, 1, 1]  # 2 true positives, 1 false positive, 1 false negative


def compute(metric, predictions, gold, labels=()):
    return METRICS[metric](Scored.of(predictions, gold, labels))


def test_classification():
    assert compute("accuracy", PREDICTED, GOLD) == pytest.approx(3 / 5)
    assert compute("f1", PREDICTED, GOLD) == pytest.approx(2 / 3)
    assert compute("macro_f1", PREDICTED, GOLD) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert compute("matthews", PREDICTED, GOLD) == pytest.approx((2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2))


def test_no_two_kinds_bring_metrics_of_one_name():
    names = [metric.name for kind in KINDS.values() for metric in kind.own_metrics]
    assert len(set(names)) == len(names)
    for kind in KINDS.values():
        assert all(METRICS[metric.name] is metric for metric in kind.own_metrics)


def test_correlation():
    assert compute("pearson", [1, 2, 3], [2, 4, 7]) == pytest.approx(5 / math.sqrt(2 * 38 / 3))
    assert compute("spearman", [1, 20, 300], [2, 4, 7]) == pytest.approx(1)
    assert compute("spearman", [3, 1, 2], [1, 2, 3]) == pytest.approx(-0.5)


def test_a_correlation_with_a_constant_is_zero():
    assert compute("pearson", [1, 1, 1], [1, 2, 3]) == compute("spearman", [1, 1, 1], [1, 2, 3]) == 0


def test_logits_and_score_columns_are_reduced():
    assert compute("accuracy", [[0.1, 2.0], [3.0, 1.0]], [1, 0]) == 1
    assert compute("pearson", [[1.0], [2.0], [3.0]], [2, 4, 6]) == pytest.approx(1)


def test_every_metric_gives_a_plain_float():
    tagged = Scored([np.eye(2), np.eye(2)[:1]], [[1, 0], [0]], ["O", "B-PER"])
    ranked = Scored.of(np.eye(2)[PREDICTED], GOLD, groups=[0, 0, 1, 1, 1])
    sets = KINDS["multi_label"].scored(np.ones((2, 1, 2)), [(0, 1), (1, 1)], ["a", "b"])
    read = KINDS["reading"].right_answers([Gold("天地", (("地", 1),))], ["start", "end"])
    others = {"entity_f1": tagged, "mrr": ranked, **dict.fromkeys(metrics_of("multi_label"), sets)}
    others |= dict.fromkeys(metrics_of("reading"), read)
    others |= {name: KINDS["embedding"].right_answers([0, 1, 2], []) for name in metrics_of("embedding")[1:]}
    scores = [metric(others.get(name) or Scored.of(PREDICTED, GOLD)) for name, metric in METRICS.items()]
    assert {type(score) for score in scores} == {float}


@pytest.mark.parametrize(
    ("metric", "predicted", "gold", "what"),
    [
        ("accuracy", [], [], "above 0"),
        ("accuracy", [1, 0], [1], "equal lengths"),
        ("pearson", [math.nan, 1], [1, 2], "finite"),
    ],
)
def test_mistakes(metric, predicted, gold, what):
    with pytest.raises(ValueError, match=what):
        compute(metric, predicted, gold)


def test_a_metric_that_is_not_known():
    with pytest.raises(ValueError, match="metric 'bleu' does not score classification; use accuracy"):
        KINDS["classification"].check_labels(None, "bleu")


def test_fidelity():
    teacher = np.array([[0.5, 0.5], [0.9, 0.1]])
    student = np.array([[0.75, 0.25], [0.2, 0.8]])
    first = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    second = 0.9 * math.log(0.9 / 0.2) + 0.1 * math.log(0.1 / 0.8)
    result = fidelity(student, teacher)
    assert result["kl"] == pytest.approx((first + second) / 2)
    assert result["agreement"] == 0.5
    assert fidelity(teacher, teacher) == {"agreement": 1.0, "kl": 0.0}


def test_fidelity_clips_probabilities_of_zero():
    assert fidelity([[1.0, 0.0]], [[0.0, 1.0]])["kl"] == pytest.approx(12 * math.log(10))
    with pytest.raises(ValueError, match="two equal"):
        fidelity([[1.0]], [[0.5, 0.5]])


def test_mean_reciprocal_rank_by_hand():
    scores = [0.1, 0.9, 0.5, 0.7, 0.2, 0.3]
    labels = [1, 0, 0, 1, 0, 0]
    groups = [0, 0, 0, 1, 1, 2]  # ranks 3 and 1; group 2 has no right answer
    assert mean_reciprocal_rank(scores, labels, groups) == pytest.approx((1 / 3 + 1) / 2)
    assert mean_reciprocal_rank([0.5], [0], [0]) == 0

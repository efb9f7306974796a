"""Intervals of scores and of paired differences, against exact and published values."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from paddle_ernie_tiny.kinds.metrics import METRICS, Metric, Scored
from paddle_ernie_tiny.kinds.token_classification import entity_f1
from paddle_ernie_tiny.kinds.uncertainty import difference, interval

RNG = np.random.default_rng(0)
GOLD = RNG.integers(2, size=400)
GOOD = np.where(RNG.random(400) < 0.9, GOLD, 1 - GOLD)
FAIR = np.where(RNG.random(400) < 0.7, GOLD, 1 - GOLD)


def scored(predicted, gold=GOLD):
    return Scored.of(np.eye(2)[predicted], gold, ["a", "b"])


def test_accuracy_has_the_exact_interval():
    eight = interval("accuracy", scored(np.ones(10, int), np.array([1] * 8 + [0] * 2)))
    assert (eight.score, eight.low, eight.high) == pytest.approx((0.8, 0.44390, 0.97479), abs=1e-5)  # Clopper-Pearson


@pytest.mark.parametrize(
    ("metric", "reference"),
    [("f1", metrics.f1_score), ("matthews", metrics.matthews_corrcoef), ("macro_f1", None)],
)
def test_the_bootstrap_is_that_of_scipy(metric, reference):
    reference = reference or (lambda gold, own: metrics.f1_score(gold, own, average="macro"))
    found = interval(metric, scored(FAIR))
    whole = stats.bootstrap(
        (GOLD, FAIR), reference, paired=True, vectorized=False, n_resamples=800, method="percentile", random_state=0
    ).confidence_interval
    assert found.score == pytest.approx(reference(GOLD, FAIR))
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high), abs=0.012)


def test_a_metric_of_an_extension_has_the_same_interval_by_drawing_rows():
    plain = Metric("plain", ("classification",), lambda s: float((s.predictions == s.targets).mean()), lambda s: 0.5)
    METRICS["plain"] = plain
    try:
        found = interval("plain", scored(FAIR))
    finally:
        del METRICS["plain"]
    exact = interval("accuracy", scored(FAIR))
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.01)


def test_a_paired_difference_sees_what_two_intervals_do_not():
    one, other = scored(GOOD), scored(FAIR)
    gain = difference("accuracy", one, other)
    assert gain.score == pytest.approx((GOOD == GOLD).mean() - (FAIR == GOLD).mean()) and 0 < gain.low < gain.high
    assert difference("f1", one, one).low == difference("f1", one, one).high == 0
    few = FAIR.copy()
    few[:1] = GOLD[:1]
    assert difference("accuracy", scored(few), other).low <= 0  # at most one row more


def test_entities_are_drawn_by_sentence():
    gold = [[1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0], [1, 0, 0, 0]] * 10
    own = [[1, 2, 0, 0], [0, 0, 0, 0], [0, 1, 0], [1, 0, 0, 0]] * 10
    tags = ["O", "B-PER", "I-PER"]
    tagged = Scored([np.eye(3)[row] for row in own], gold, tags)
    found = interval("entity_f1", tagged)
    named = [[[tags[tag] for tag in row] for row in side] for side in (own, gold)]
    assert found.score == pytest.approx(entity_f1(*named)) == pytest.approx(2 * 20 / 60)
    assert found.low < found.score < found.high


@pytest.mark.parametrize("metric", ["pearson", "spearman", "pearson_spearman"])
def test_correlations(metric):
    gold = RNG.normal(size=200)
    own = gold + RNG.normal(size=200)
    found = interval(metric, Scored.of(own, gold))
    values = [stats.pearsonr(own, gold)[0], stats.spearmanr(own, gold)[0]]
    wanted = {"pearson": values[0], "spearman": values[1], "pearson_spearman": np.mean(values)}[metric]
    assert found.score == pytest.approx(wanted) and 0.05 < found.high - found.low < 0.25

"""Sets of labels: metrics equal to scikit-learn's, their chance, their resamples, and the thresholds of F1."""

import json

import numpy as np
import paddle
import pytest
from scipy import stats
from sklearn import metrics as sk

from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.kinds.label_sets import MultiHot, best_cuts
from paddle_ernie_tiny.kinds.metrics import METRICS, metrics_of
from paddle_ernie_tiny.kinds.uncertainty import against_chance, could_tell, difference, enough_rows, interval

KIND = KINDS["multi_label"]
LABELS = ["art", "law", "war", "sea"]
NAMES = ("micro_f1", "label_macro_f1", "subset_accuracy", "mean_average_precision")


def drawn(rows=300, seed=0, noise=1.0):
    """Gold sets (label 3 is rare, some rows have none) and logits that know something of them."""
    rng = np.random.default_rng(seed)
    gold = (rng.random((rows, 4)) < [0.5, 0.3, 0.2, 0.05]).astype(int)
    return gold, (2 * gold - 1 + noise * rng.normal(size=gold.shape)).round(1)  # with ties


def scored(gold, logits, **settings):
    return KIND.with_settings(settings).scored(np.asarray(logits, float)[:, None], gold, LABELS[: np.shape(gold)[1]])


def reference(name, gold, logits):
    own = (np.asarray(logits) > 0).astype(int)
    return {
        "micro_f1": lambda: sk.f1_score(gold, own, average="micro", zero_division=0),
        "label_macro_f1": lambda: sk.f1_score(gold, own, average="macro", zero_division=0),
        "subset_accuracy": lambda: sk.accuracy_score(gold, own),
        "mean_average_precision": lambda: sk.average_precision_score(gold, logits, average="macro"),
    }[name]()


def test_the_kind_s_metrics():
    assert metrics_of("multi_label") == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_every_metric_is_that_of_scikit_learn(name, seed):
    gold, logits = drawn(60, seed)
    assert METRICS[name](scored(gold, logits)) == pytest.approx(reference(name, gold, logits))


def test_by_hand():
    gold = [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    logits = [[2.0, -1.0, -1.0], [1.0, 3.0, -2.0], [-1.0, -1.0, -3.0]]
    found = scored(gold, logits)  # right 2, given 3, gold 3
    assert METRICS["micro_f1"](found) == pytest.approx(4 / 6)
    assert METRICS["label_macro_f1"](found) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert METRICS["subset_accuracy"](found) == pytest.approx(1 / 3), "the empty set is right where no label is"
    assert METRICS["mean_average_precision"](found) == 1.0
    assert KIND.scores("subset_accuracy", found) == {name: METRICS[name](found) for name in ("subset_accuracy", *NAMES)}


@pytest.mark.filterwarnings("ignore:No positive class")
def test_a_label_that_no_row_has_scores_zero():
    gold, logits = drawn(40)
    gold[:, 3] = 0
    for name in NAMES:
        assert METRICS[name](scored(gold, logits)) == pytest.approx(reference(name, gold, logits)), name


@pytest.mark.parametrize("name", NAMES)
def test_the_best_constant_answer(name):
    gold, _ = drawn(80)
    every = [np.array([int(bit) for bit in f"{i:04b}"]) for i in range(16)]
    if name == "mean_average_precision":  # of equal scores
        best = reference(name, gold, np.zeros(gold.shape))
    else:
        best = max(reference(name, gold, np.tile(2 * answer - 1, (80, 1))) for answer in every)
    assert METRICS[name].chance(scored(gold, gold)) == pytest.approx(best)


@pytest.mark.parametrize("name", NAMES)
def test_answers_given_to_other_rows(name):
    """What is quick for the permutation test has the distribution of scores of shuffled rows."""
    gold, logits = drawn(50)
    found, rng = scored(gold, logits), np.random.default_rng(0)
    null = METRICS[name].null(found, rng, 400)
    plain = [METRICS[name](found.shuffled(rng)) for _ in range(400)]
    assert stats.ks_2samp(null, plain).pvalue > 0.001
    assert len(set(np.round(plain, 9))) > 5


@pytest.mark.parametrize("name", NAMES)
def test_the_bootstrap_is_that_of_drawn_rows(name):
    gold, logits = (side[:, :3] for side in drawn(120))
    bounds = interval(name, scored(gold, logits))
    rng = np.random.default_rng(1)
    values = [reference(name, gold[rows], logits[rows]) for rows in rng.integers(120, size=(400, 120))]
    low, high = np.quantile(values, [0.025, 0.975])
    assert bounds.score == pytest.approx(reference(name, gold, logits))
    assert (bounds.low, bounds.high) == pytest.approx((low, high), abs=0.02)
    same = difference(name, scored(gold, logits), scored(gold, logits))
    assert same.low == same.high == 0


def test_a_resample_of_average_precision_by_hand():
    gold, logits = drawn(30)
    rows = np.random.default_rng(0).integers(30, size=30)
    found = scored(gold, logits)
    weights = np.bincount(rows, minlength=30)[None]
    own = METRICS["mean_average_precision"].of_weights(found, weights)
    assert own == pytest.approx([METRICS["mean_average_precision"](found.take(rows))])


@pytest.mark.parametrize("name", NAMES)
def test_the_gate_tells_a_teacher_from_chance(name):
    gold, logits = drawn(200)
    good = against_chance(name, scored(gold, logits), interval(name, scored(gold, logits)))
    assert good.verdict == "above" and good.p_value <= 0.002
    blind = scored(gold, np.random.default_rng(5).permutation(logits))
    assert against_chance(name, blind, interval(name, blind)).verdict == "chance"
    one = scored(gold, np.tile([1.0, -1, -1, -1], (200, 1)))
    assert against_chance(name, one, interval(name, one)).p_value == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_a_split_can_tell(name):
    gold, _ = drawn(200)
    assert could_tell(name, KIND.right_answers(gold, LABELS))
    few = KIND.right_answers(gold[:20], LABELS)
    assert (enough_rows(name, few) or 0) <= 200
    same = KIND.right_answers(np.tile([1, 0, 1, 0], (100, 1)), LABELS)
    assert not same.varied and not could_tell(name, same) and enough_rows(name, same) is None


def test_a_fair_teacher_knows_half_of_the_rows_of_each_set():
    gold = np.array([[1, 0]] * 6 + [[0, 1]] * 2 + [[0, 0]] * 4)
    fair = KIND.right_answers(gold, LABELS[:2]).fair()
    right = (fair.predictions == gold).all(-1)
    assert right[:6].all(), "the usual answer is right for the usual set"
    assert right[6:8].sum() == 1 and right[8:].sum() == 2
    assert (fair.predictions[~right] == [1, 0]).all()


def test_one_threshold_has_the_best_micro_f1_and_each_its_own():
    gold, logits = drawn(80, noise=2.0)
    logits = (logits - [1.0, 0, 0, 2.0]).round(1)

    def micro(cut):
        return sk.f1_score(gold, logits > cut, average="micro")

    (cut,) = set(best_cuts(logits, gold))
    assert micro(cut) == pytest.approx(max(micro(value - 1e-9) for value in np.unique(logits)))
    each = best_cuts(logits, gold, each=True)
    for i, cut in enumerate(each):
        possible = [sk.f1_score(gold[:, i], logits[:, i] > value - 1e-9) for value in np.unique(logits[:, i])]
        assert sk.f1_score(gold[:, i], logits[:, i] > cut) == pytest.approx(max(possible))


def test_thresholds_by_hand():
    logits, gold = np.array([[3.0], [1.0], [-2.0], [-4.0]]), np.array([[1], [1], [1], [0]])
    assert best_cuts(logits, gold) == [-3.0], "in the middle between the two"
    gold[:] = 1
    assert best_cuts(logits, gold) == [-4.5], "all are right: half below the last"
    ties, gold = np.array([[1.0], [1.0], [0.5]]), np.array([[1], [0], [0]])
    assert best_cuts(ties, gold) == [0.75], "equal logits are not parted"


def test_a_label_without_gold_rows_has_the_threshold_of_all():
    gold, logits = drawn(60)
    gold[:, 3] = 0
    assert best_cuts(logits, gold, each=True)[3] == best_cuts(logits, gold)[3]


def test_what_is_learnt_from_dev():
    gold, logits = drawn(80, noise=2.0)
    dev = scored(gold, logits)
    one = KIND.fitted(lambda: dev)
    assert isinstance(one.settings.thresholds, float) and 0 < one.settings.thresholds < 1
    each = KIND.with_settings({"thresholds": "each"}).fitted(lambda: dev)
    assert len(each.settings.thresholds) == 4
    again = [KIND.scores("micro_f1", k.scored(dev.outputs, gold, LABELS))["micro_f1"] for k in (KIND, one)]
    assert again[0] < again[1]
    fixed = KIND.with_settings({"thresholds": 0.25})
    assert fixed.fitted(lambda: dev).settings == fixed.settings
    assert fixed.cuts(2) == pytest.approx(np.log([1 / 3, 1 / 3]))
    np.testing.assert_array_equal(fixed.scored(dev.outputs, gold, LABELS).predictions, logits > np.log(1 / 3))


def test_rows_that_are_taken_keep_the_thresholds():
    gold, logits = drawn(30)
    found = scored(gold, logits, thresholds=0.9)
    part = found.take(np.arange(5))
    assert isinstance(part, MultiHot)
    np.testing.assert_array_equal(part.predictions, found.predictions[:5])
    np.testing.assert_array_equal(part.targets, gold[:5])


def test_a_file_of_predictions_gives_them_again():
    gold, logits = drawn(30)
    kind = KIND.with_settings({"thresholds": 0.7})
    found = kind.scored(logits[:, None], [tuple(row) for row in gold], LABELS)
    again = kind.of_arrays(kind.arrays(found), LABELS)
    for name in NAMES:
        assert METRICS[name](again) == METRICS[name](found)


def test_soft_labels_of_files_are_probabilities_of_each_label_or_logits():
    assert KIND.are_probabilities(np.array([0.9, 0.8, 0, 1.0])) and not KIND.are_probabilities(np.array([0.5, -0.1]))
    np.testing.assert_allclose(KIND.soft_logits(np.array([0.75, 0.5])), [np.log(3), 0], atol=1e-12)
    assert np.isfinite(KIND.soft_logits(np.array([0.0, 1.0])).astype(np.float32)).all()
    logits = np.array([2.0, -1.0, 0.5, 0.0])
    given = KIND.soft_values(logits, LABELS)
    np.testing.assert_allclose(KIND.soft_logits(np.array([*given.values()])), logits, atol=1e-6)
    sure = np.array([24.0, 12.0, -24.0, -60.0], dtype=np.float32)  # 1 - p has digits of its own only beyond nine
    read = KIND.soft_logits(KIND.parse_soft(json.loads(json.dumps(KIND.soft_values(sure, LABELS))), LABELS))
    np.testing.assert_allclose(read, sure, atol=1e-4)
    own, teacher, again = (paddle.to_tensor(side.astype(np.float32)[None]) for side in (-sure / 3, sure, read))
    for temperature in (1.0, 4.0):
        online, from_file = (float(KIND.soft_label("kl", own, t, temperature, None, None)) for t in (teacher, again))
        assert from_file == pytest.approx(online, rel=1e-6)
    found = KIND.in_short(np.array([[1.0, -1], [1.0, 1]]), LABELS[:2])
    assert found == {"art": 1.0, "law": 0.5, "labels per row": 1.5}


def test_the_table_of_errors():
    gold, logits = drawn(30)
    lines = scored(gold, logits).errors_table().splitlines()
    assert lines[0].split() == ["label", "gold", "given", "both"] and len(lines) == 5
    assert lines[1].split()[:2] == ["art", str(gold[:, 0].sum())]

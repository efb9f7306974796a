"""What an answer that ignores the text scores, by hand; and the table of gold labels against predicted ones."""

import numpy as np
import pytest

from paddle_ernie_tiny.kinds.metrics import METRICS, Scored, confusion_matrix

GOLD = np.array([0] * 60 + [1] * 40)


def chance(metric, gold, labels, groups=None):
    """Of a task with so many labels; the model's own outputs do not count."""
    names = [str(label) for label in range(labels)]
    return METRICS[metric].chance(Scored.of(np.zeros((len(gold), labels)), gold, names, groups))


def test_chance_of_accuracy_is_the_larger_class():
    assert chance("accuracy", GOLD, 2) == 0.6


def test_chance_of_f1_is_always_saying_yes():
    assert chance("f1", GOLD, 2) == pytest.approx(2 * 0.4 / 1.4)  # precision 0.4, recall 1


def test_chance_of_macro_f1_is_the_larger_class_alone():
    assert chance("macro_f1", GOLD, 2) == pytest.approx((2 * 0.6 / 1.6) / 2)


@pytest.mark.parametrize("metric", ["matthews", "pearson_spearman", "spearman"])
def test_correlations_start_from_zero(metric):
    assert chance(metric, GOLD, 2) == 0.0


def test_chance_of_mrr_is_a_random_order():
    # one right of two: ranks 1 and 2 alike often; one right of one: always first; the third has none
    gold, groups = np.array([1, 0, 1, 0, 0]), np.array([0, 0, 1, 2, 2])
    assert chance("mrr", gold, 2, groups) == pytest.approx(((1 + 1 / 2) / 2 + 1) / 2)
    # two right of three: rank 1 in 2 of 3 orders, else rank 2
    assert chance("mrr", np.array([1, 1, 0]), 2, np.zeros(3)) == pytest.approx(2 / 3 + 1 / 3 / 2)


def test_chance_of_entities_is_one_tag_for_every_word():
    gold = [[1, 0, 1, 0], [0, 2, 3, 0]]  # B-PER for all eight words finds the two entities of one word
    tagged = Scored([np.zeros((4, 4))] * 2, gold, ["O", "B-PER", "B-LOC", "I-LOC"])
    assert METRICS["entity_f1"].chance(tagged) == pytest.approx(2 * 2 / (8 + 3))


def test_the_matrix_counts_rows_of_gold_by_columns_of_predictions():
    matrix = confusion_matrix(Scored.of([0, 1, 1], [0, 0, 1], ["a", "b"])).splitlines()
    assert [line.split()[-2:] for line in matrix[1:]] == [["1", "1"], ["0", "1"]]

"""What a model answers, flattened: one answer a row, or one a word that was not cut off."""

import numpy as np
import pytest

from paddle_ernie_tiny.data.rows import IGNORED, EncodedRows
from paddle_ernie_tiny.kinds.metrics import METRICS, Scored
from paddle_ernie_tiny.training.batches import collate

TAGS = ["O", "B-PER", "I-PER"]


def tagged_rows():
    """Two rows of three and two words; the last word of the first row was cut off."""
    x = IGNORED
    return EncodedRows(
        input_ids=[[2, 10, 11, 12, 3], [2, 13, 14, 3]],
        token_type_ids=[[0] * 5, [0] * 4],
        labels=[np.array([x, 1, x, 2, x]), np.array([x, 0, 1, x])],
        gold=[np.array([1, 2, 1]), np.array([0, 1])],
        places=[np.array([1, 3]), np.array([1, 2])],  # the first word has two pieces
    )


def test_only_first_pieces_carry_a_tag():
    batch = collate([tagged_rows()[0], tagged_rows()[1]], pad_id=0)
    x = IGNORED
    np.testing.assert_array_equal(batch["labels"], [[x, 1, x, 2, x], [x, 0, 1, x, x]])


def scored(rows, answers, labels):
    """What a model answered with one logit vector for each answer of the rows."""
    ends = np.cumsum([1 if rows.places is None else len(places) for places in (rows.places or rows.input_ids)])[:-1]
    return Scored(np.split(np.asarray(answers, dtype=np.float32), ends), rows.gold, labels, rows.groups)


def test_answers_are_the_words_that_were_kept():
    rows = tagged_rows()
    answered = scored(rows, np.eye(3)[[1, 2, 0, 1]], TAGS)
    assert answered.rows.tolist() == [0, 0, 1, 1]
    assert answered.targets.tolist() == [1, 2, 0, 1]
    assert scored(rows.take([1]), np.eye(3)[[0, 1]], TAGS).targets.tolist() == [0, 1]


def test_words_that_were_cut_off_count_as_o():
    right = scored(tagged_rows(), np.eye(3)[[1, 2, 0, 1]], TAGS)
    # gold: PER (words 0-1 of row 0), PER (word 2 of row 0, cut off), PER (word 1 of row 1): recall 2/3
    assert METRICS["entity_f1"](right) == pytest.approx(0.8)
    assert METRICS["entity_f1"](right.take(np.array([False, True]))) == 1


def test_scores_of_rows():
    ids, labels = [[2, 3]] * 4, np.array([0, 1, 1, 0])
    rows = EncodedRows(ids, ids, labels, labels, groups=np.array([0, 0, 1, 1]))
    logits = np.array([[0.0, 2.0], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    assert METRICS["accuracy"](scored(rows, logits, ["a", "b"])) == 0.75
    # question 0: the right answer ranks second; question 1: first
    assert METRICS["mrr"](scored(rows, logits, ["a", "b"])) == pytest.approx((1 / 2 + 1) / 2)


def test_scores_of_a_regressor():
    ids, gold = [[2, 3]] * 4, np.array([0, 1, 2, 4], np.float32)
    rows = EncodedRows(ids, ids, gold, gold)
    logits = np.array([[0.0], [1.0], [2.0], [3.0]])
    pearson = np.corrcoef([0, 1, 2, 4], [0, 1, 2, 3])[0, 1]
    assert METRICS["pearson_spearman"](scored(rows, logits, ["score"])) == pytest.approx((pearson + 1) / 2)

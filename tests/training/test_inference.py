"""What a model answers, flattened: one answer a row, or one a word that was not cut off."""

import numpy as np
import pytest

from paddle_ernie_tiny.data.metrics import IGNORED
from paddle_ernie_tiny.training.batches import EncodedRows, collate
from paddle_ernie_tiny.training.inference import answer_labels, answered_rows, score

TAGS = ["O", "B-PER", "I-PER"]


def tagged_rows():
    """Two rows of three and two words; the last word of the first row was cut off."""
    return EncodedRows(
        input_ids=[[2, 10, 11, 12, 3], [2, 13, 14, 3]],
        token_type_ids=[[0] * 5, [0] * 4],
        labels=[np.array([1, 2, 1]), np.array([0, 1])],
        places=[np.array([1, 3]), np.array([1, 2])],  # the first word has two pieces
    )


def test_only_first_pieces_carry_a_tag():
    batch = collate([tagged_rows()[0], tagged_rows()[1]], pad_id=0)
    x = IGNORED
    np.testing.assert_array_equal(batch["labels"], [[x, 1, x, 2, x], [x, 0, 1, x, x]])


def test_answers_are_the_words_that_were_kept():
    rows = tagged_rows()
    assert rows.kind == "token_classification"
    assert answered_rows(rows).tolist() == [0, 0, 1, 1]
    assert answer_labels(rows).tolist() == [1, 2, 0, 1]
    assert answer_labels(rows.take([1])).tolist() == [0, 1]


def test_words_that_were_cut_off_count_as_o():
    rows = tagged_rows()
    right = np.eye(3)[[1, 2, 0, 1]]
    # gold: PER (words 0-1 of row 0), PER (word 2 of row 0, cut off), PER (word 1 of row 1): recall 2/3
    assert score("entity_f1", right, rows, TAGS) == pytest.approx(0.8)
    assert score("entity_f1", right, rows, TAGS, np.array([False, True])) == 1


def test_scores_of_rows():
    ids = [[2, 3]] * 4
    rows = EncodedRows(ids, ids, np.array([0, 1, 1, 0]), groups=np.array([0, 0, 1, 1]))
    logits = np.array([[0.0, 2.0], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    assert score("accuracy", logits, rows, ["a", "b"]) == 0.75
    # question 0: the right answer ranks second; question 1: first
    assert score("mrr", logits, rows, ["a", "b"]) == pytest.approx((1 / 2 + 1) / 2)


def test_scores_of_a_regressor():
    ids = [[2, 3]] * 4
    rows = EncodedRows(ids, ids, np.array([0, 1, 2, 4], np.float32))
    assert rows.kind == "regression"
    logits = np.array([[0.0], [1.0], [2.0], [3.0]])
    pearson = np.corrcoef([0, 1, 2, 4], [0, 1, 2, 3])[0, 1]
    assert score("pearson_spearman", logits, rows, ["score"]) == pytest.approx((pearson + 1) / 2)

"""Fidelity compares the answers that both models gave, whatever each of them cut off."""

import numpy as np

from paddle_ernie_tiny.pipeline.report import common_answers


def test_of_each_row_the_words_that_both_read():
    one, other = np.array([0, 0, 1, 1, 1, 3]), np.array([0, 1, 1, 1, 1, 2, 3, 3])
    own, theirs = common_answers(one, other)
    assert own.tolist() == [0, 2, 3, 4, 5] and theirs.tolist() == [0, 1, 2, 3, 6]


def test_models_with_the_same_rows_share_every_answer():
    rows = np.array([0, 0, 1, 2, 2])
    assert [places.tolist() for places in common_answers(rows, rows)] == [[0, 1, 2, 3, 4]] * 2

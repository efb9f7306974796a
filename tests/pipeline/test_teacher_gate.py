"""The teacher against chance: who is stopped, and what the refusal shows."""

import numpy as np
import pytest

from paddle_ernie_tiny.errors import GateError
from paddle_ernie_tiny.kinds.metrics import Scored
from paddle_ernie_tiny.pipeline.measure import check_above_chance

GOLD = np.array([0] * 60 + [1] * 40)


def logits_for(predicted):
    return np.eye(2)[predicted]


def test_a_teacher_at_chance_is_stopped_with_the_confusion_matrix():
    predicted = np.zeros(100, dtype=int)
    with pytest.raises(GateError) as error:
        check_above_chance("accuracy", 0.6, Scored.of(logits_for(predicted), GOLD, ["bad", "good"]))
    assert "scores 0.6000" in str(error.value) and "check_above_chance=false" in str(error.value)
    assert "bad" in str(error.value) and "60" in str(error.value)


def test_a_margin_that_a_small_split_cannot_show_is_asked_for():
    check_above_chance("accuracy", 0.75, Scored.of(logits_for(GOLD), GOLD, ["a", "b"]))
    with pytest.raises(GateError):
        check_above_chance("accuracy", 0.75, Scored.of(logits_for(GOLD[::10]), GOLD[::10], ["a", "b"]))

"""The linear probe of a stage without labels."""

import numpy as np
import pytest

from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.kinds.metrics import METRICS, Scored


def test_of_sets_of_labels_each_is_told_by_itself_and_what_all_rows_have_or_none_is_a_constant():
    states = np.array([[0.0, 1.0], [0.0, 2.0], [1.0, 0.0], [2.0, 0.0]])
    gold = np.array([[1, 0, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0]])
    logits = KINDS["multi_label"].probe(states, gold, states, 4)
    assert ((logits > 0) == gold).all() and np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("kind", "metric", "labels"),
    [("classification", "accuracy", ["a", "b", "c"]), ("token_classification", "entity_f1", ["O", "B-X", "I-X"])],
)
def test_a_label_that_the_probe_never_saw_gets_nothing_and_the_rest_is_scored(kind, metric, labels):
    """Of many labels, some may be missing from the rows that the probe is fitted on."""
    states = np.array([[0.0, 1.0], [0.0, 2.0], [1.0, 0.0], [2.0, 0.0]])
    logits = KINDS[kind].probe(states, np.array([0, 0, 1, 1]), states, len(labels))
    assert np.isfinite(logits).all() and logits.argmax(-1).tolist() == [0, 0, 1, 1]
    assert np.exp(logits[:, 2]).tolist() == [0.0] * 4
    rows = [row[None] for row in logits]
    gold = [0, 1, 1, 2] if kind == "classification" else [np.array([i]) for i in (0, 1, 1, 2)]
    assert 0 < METRICS[metric](Scored(rows, gold, labels)) < 1

"""Where a model errs, by hand: labels, entities, scores, and the worst rows."""

import numpy as np
import pytest

from paddle_ernie_tiny.data.rows import Example, TokenExample
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.kinds.breakdown import worst_rows
from paddle_ernie_tiny.kinds.scored import Scored

LABELS = ["bad", "good"]


def logits(probability_of_good):
    return np.log([[1 - probability_of_good, probability_of_good]])


# gold bad, bad, good, good; answers bad, good (90 %), good, bad (60 %)
ROWS = Scored([logits(0.2), logits(0.9), logits(0.8), logits(0.4)], np.array([0, 0, 1, 1]), LABELS)
EXAMPLES = [Example(f"text {i}", "x" * 300 if i == 1 else None, None, i + 2) for i in range(4)]


def test_each_label_has_precision_recall_f1_and_counts():
    found = KINDS["classification"].breakdown(ROWS)
    same = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 2, "answers": 2}
    assert found["labels"] == [{"label": "bad", **same}, {"label": "good", **same}]
    assert found["confusion"] == [[1, 1], [1, 1]] and found["one_answer"] is None


def test_a_model_with_one_answer_is_named():
    constant = Scored([logits(0.9)] * 4, np.array([0, 0, 1, 1]), LABELS)
    assert KINDS["classification"].breakdown(constant)["one_answer"] == "good"


def test_the_surest_wrong_row_comes_first():
    first, second = worst_rows(KINDS["classification"], ROWS, EXAMPLES)
    assert (first["line"], first["gold"], first["answer"], first["by"]) == (3, "bad", "good", pytest.approx(0.9))
    assert first["texts"] == ["text 1", "x" * 196 + " ..."]
    assert (second["line"], second["by"]) == (5, pytest.approx(0.6))


def test_entities_by_type():
    tags = ["O", "B-PER", "I-PER", "B-LOC"]
    # gold: PER at 1-2, LOC at 3; answer: PER at 1-2, LOC at 4
    gold, answer = [1, 2, 3, 0], [1, 2, 0, 3]
    scored = Scored([np.eye(4)[answer]], [np.array(gold)], tags)
    place, person = KINDS["token_classification"].breakdown(scored)["labels"]
    assert person == {"label": "PER", "precision": 1.0, "recall": 1.0, "f1": 1.0, "rows": 1, "answers": 1}
    assert place == {"label": "LOC", "precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 1, "answers": 1}
    (worst,) = worst_rows(KINDS["token_classification"], scored, [TokenExample(tuple("王明在京"), (), 7)])
    assert worst == {
        "line": 7,
        "texts": ["王明在京"],
        "gold": "PER 1-2, LOC 3-3",
        "answer": "PER 1-2, LOC 4-4",
        "by": 2,
    }


def test_errors_of_scores():
    scored = Scored([np.array([[1.0]]), np.array([[4.0]])], np.array([2.0, 1.0]), ["score"])
    found = KINDS["regression"].breakdown(scored)
    assert found["mean_absolute_error"] == 2.0 and found["largest_absolute_error"] == 3.0
    assert found["root_mean_squared_error"] == pytest.approx(5**0.5)
    assert [row["by"] for row in worst_rows(KINDS["regression"], scored, EXAMPLES[2:])] == [3.0, 1.0]

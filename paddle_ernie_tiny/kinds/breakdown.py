"""Where a model is right and where it errs: scores of each label, what is taken for what, and the worst rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .metrics import confusion, softmax
from .scored import Scored
from .uncertainty import interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .kind import Kind

_MOST_LABELS = 30  # of a confusion matrix that is shown
_WORST_ROWS = 10
_CHARACTERS = 200  # of a text that is shown


def by_label(scored: Scored) -> dict[str, Any]:
    """Precision, recall and F1 of each label, with its rows and how many answers are it; and what is taken for what.

    confusion: rows are gold labels, columns are answers; None for more than 30 labels. one_answer: the label that all
    answers are; None: they differ.
    """
    counts = confusion(scored)
    rows, answers, right = counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist(), counts.diagonal().tolist()
    table = [shares_of(name, right[i], rows[i], answers[i]) for i, name in enumerate(scored.labels)]
    given = [row["label"] for row in table if row["answers"]]
    matrix = counts.tolist() if len(table) <= _MOST_LABELS else None
    return {"labels": table, "confusion": matrix, "one_answer": given[0] if len(given) == 1 else None}


def by_entity(scored: Scored) -> dict[str, Any]:
    """Precision, recall and F1 of each type of entity (seqeval), with how many there are and how many were found."""
    from .token_classification import entities

    gold: Counter[str] = Counter()
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for output, tags in zip(scored.outputs, scored.gold):  # noqa: B905 (Python 3.9)
        names = [[scored.labels[i] for i in row] for row in (np.asarray(tags)[: len(output)], output.argmax(-1))]
        true, own = (set(entities(row)) for row in names)
        for counts, members in ((gold, true), (found, own), (right, true & own)):
            counts.update(kind for kind, _, _ in members)
    table = [shares_of(kind, right[kind], gold[kind], found[kind]) for kind in sorted({*gold, *found})]
    return {"labels": table, "confusion": None, "one_answer": "no entity" if gold and not found else None}


def shares_of(label: str, right: int, rows: int, answers: int) -> dict[str, Any]:
    """Precision, recall and F1 of a label; 0 where there is none of it."""
    shares = {
        "precision": right / answers if answers else 0.0,
        "recall": right / rows if rows else 0.0,
        "f1": 2 * right / (rows + answers) if rows + answers else 0.0,
    }
    return {"label": label, **shares, "rows": rows, "answers": answers}


def of_scores(scored: Scored) -> dict[str, Any]:
    """Mean and largest absolute error of scores, and the root of the mean squared one, in the labels' own units."""
    error: np.ndarray = scored.predictions - np.asarray(scored.targets, np.float64)
    values = {
        "mean_absolute_error": float(np.abs(error).mean()),
        "root_mean_squared_error": float(np.sqrt(np.square(error).mean())),
        "largest_absolute_error": float(np.abs(error).max()),
    }
    one = float(scored.predictions[0]) if np.ptp(scored.predictions) < 1e-6 else None
    return {**values, "labels": [], "confusion": None, "one_answer": None if one is None else f"{one:.4g}"}


def of_metrics(scored: Scored, metrics: Sequence[str], part: str = "") -> list[dict[str, Any]]:
    """Each metric with its interval, of all rows or of a named part of them."""
    bounds = {metric: interval(metric, scored) for metric in metrics}
    rows = len(scored.gold)
    return [
        {"name": part + metric, "rows": rows, "score": of.score, "interval": [of.low, of.high]}
        for metric, of in bounds.items()
    ]


def worst_rows(kind: Kind, scored: Scored, examples: Sequence[Any], count: int = _WORST_ROWS) -> list[dict[str, Any]]:
    """The wrong rows of which the model was surest: line, texts (cut), gold and answer, and by how much it is wrong.

    examples: the rows, with `line` and `content`. by: the probability of the wrong label; of a tagger the number of
    words with a wrong tag; of a score the difference.
    """
    wrong = kind.errors(scored)
    order = sorted((i for i, by in enumerate(wrong) if by > 0), key=lambda i: -wrong[i])[:count]
    rows = []
    for i in order:
        texts = [_short(text) for text in kind.texts_of(examples[i])]
        own, right = kind.named(scored.outputs[i], scored.gold[i], scored.labels)
        rows.append({"line": examples[i].line, "texts": texts, "gold": right, "answer": own, "by": round(wrong[i], 4)})
    return rows


def label_error(output: np.ndarray, gold: Any) -> float:
    """The probability of a wrong label, 0 for a right one; output [1, labels]."""
    probabilities = softmax(np.asarray(output))[0]
    best = int(probabilities.argmax())
    return 0.0 if best == int(np.ravel([gold])[0]) else float(probabilities[best])


def _short(text: str) -> str:
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 4] + " ..."

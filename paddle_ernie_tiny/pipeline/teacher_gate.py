"""A teacher that has learnt nothing must not be distilled: its score against chance, before the stages begin."""

from __future__ import annotations

import math

import numpy as np

from ..data.metrics import compute
from ..errors import GateError

# How many standard errors above chance the teacher must be: noise passes three times in two thousand.
_ERRORS = 3.0


def check_above_chance(
    metric: str, score: float, logits: np.ndarray, gold: np.ndarray, labels: list[str], groups: np.ndarray | None
) -> None:
    """Raises GateError, with the confusion matrix, unless the score beats chance by three standard errors.

    logits: [answers, labels]; gold: [answers]; groups: [answers] for mrr. See `chance` for what chance is.
    """
    expected, margin = chance(metric, gold, len(labels), groups)
    if score > expected + margin:
        return
    matrix = "" if logits.shape[1] == 1 else "\n" + confusion_matrix(logits.argmax(-1), gold, labels)
    raise GateError(
        f"the fine-tuned teacher scores {score:.4f} ({metric}) on {len(gold)} answers; chance is {expected:.4f}, and "
        f"more than {expected + margin:.4f} is asked for, three standard errors above it{matrix}",
        "teacher",
        "look at the order of task.labels, the columns, the learning rate and the steps of teacher.finetune; "
        "teacher.check_above_chance=false goes on anyway",
    )


def chance(metric: str, gold: np.ndarray, labels: int, groups: np.ndarray | None = None) -> tuple[float, float]:
    """(score of an answer that does not look at the text, three standard errors of it).

    accuracy, f1, macro_f1: the best constant answer. matthews and correlations: 0. mrr: a random order.
    entity_f1: 0, and any entity found is above it.
    """
    n = len(gold)
    if metric == "entity_f1":
        return 0.0, 0.0
    if metric in ("matthews", "pearson", "spearman", "pearson_spearman"):
        return 0.0, _ERRORS / math.sqrt(n)
    if metric == "mrr":
        expected, n = _random_order(gold, groups)
    else:
        constant = [compute(metric, np.full(n, label), gold) for label in range(labels)]
        expected = max(constant)
    return expected, _ERRORS * math.sqrt(expected * (1 - expected) / n)


def _random_order(gold: np.ndarray, groups: np.ndarray) -> tuple[float, int]:
    """(expected reciprocal rank of the first right answer in a random order, number of questions that have one)."""
    values = []
    for group in np.unique(groups[gold == 1]):
        right = gold[groups == group] == 1
        size, count = len(right), int(right.sum())
        # P(first right answer at rank r) = C(size - r, count - 1) / C(size, count)
        total = math.comb(size, count)
        values.append(sum(math.comb(size - r, count - 1) / total / r for r in range(1, size - count + 2)))
    return (float(np.mean(values)), len(values)) if values else (0.0, 1)


def confusion_matrix(predicted: np.ndarray, gold: np.ndarray, labels: list[str]) -> str:
    """Rows: labels; columns: what was predicted; the twenty most frequent labels where there are more."""
    shown = np.argsort(-np.bincount(gold, minlength=len(labels)), kind="stable")[:20]
    shown = sorted(shown.tolist())
    width = max(8, *(len(labels[i]) for i in shown)) + 1
    lines = ["gold \\ predicted".ljust(18) + "".join(labels[i].rjust(width) for i in shown)]
    for row in shown:
        counts = [int(((gold == row) & (predicted == column)).sum()) for column in shown]
        lines.append(labels[row].ljust(18) + "".join(str(count).rjust(width) for count in counts))
    return "\n".join(lines)

"""Scores of predictions against labels, and of a student's distribution against its teacher's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# The label of what has none: padding, [CLS], [SEP], the later pieces of a word, rows without a label.
IGNORED = -100


def compute(metric: str, predictions, labels) -> float:
    """Score predictions with one of `METRICS`; 1 is best for all of them.

    `predictions` are class ids or regression scores [rows]; [rows, classes] logits are reduced with argmax,
    and [rows, 1] scores flattened. A correlation with a constant is 0.

    Raises:
        ValueError: unknown metric, no rows, unequal lengths, or a prediction that is not finite.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; there are {', '.join(METRICS)}")
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim == 2:
        predictions = predictions[:, 0] if predictions.shape[1] == 1 else predictions.argmax(axis=1)
    if predictions.shape != labels.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(f"expected equal lengths above 0, got {predictions.shape} and {labels.shape}")
    if not np.isfinite(predictions).all():
        raise ValueError("predictions are not all finite numbers")
    return float(METRICS[metric](predictions, labels))


def fidelity(student_probs, teacher_probs) -> dict[str, float]:
    """How close a student's class distributions are to its teacher's, both [rows, classes].

    `agreement` is the share of rows with the same most likely class; `kl` is the mean over rows of
    KL(teacher || student) in nats, with probabilities clipped at 1e-12.
    """
    student, teacher = np.asarray(student_probs, np.float64), np.asarray(teacher_probs, np.float64)
    if student.shape != teacher.shape or student.ndim != 2 or not len(student):
        raise ValueError(f"expected two equal [rows, classes], got {student.shape} and {teacher.shape}")
    ratio = np.log(np.clip(teacher, 1e-12, None)) - np.log(np.clip(student, 1e-12, None))
    return {
        "agreement": float((student.argmax(axis=1) == teacher.argmax(axis=1)).mean()),
        "kl": float((teacher * ratio).sum(axis=1).mean()),
    }


def _accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    return (predictions == labels).mean()


def _f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return f1_score(labels, predictions, average="binary", pos_label=1, zero_division=0)


def _macro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return f1_score(labels, predictions, average="macro", zero_division=0)


def _matthews(predictions: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    return matthews_corrcoef(labels, predictions)


def _pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    from scipy.stats import pearsonr

    return 0.0 if _constant(predictions, labels) else pearsonr(predictions, labels)[0]


def _spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return 0.0 if _constant(predictions, labels) else spearmanr(predictions, labels)[0]


def _pearson_spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    return (_pearson(predictions, labels) + _spearman(predictions, labels)) / 2


def mean_reciprocal_rank(scores, labels, groups) -> float:
    """Mean over groups of 1 / rank of the best-scored right answer (label 1), as NLPCC-DBQA is scored.

    scores, labels, groups: [rows]. Groups without a right answer do not count; equal scores rank in the
    rows' order. 0 where no group has a right answer.
    """
    scores, labels, groups = np.asarray(scores), np.asarray(labels), np.asarray(groups)
    ranks = []
    for group in np.unique(groups[labels == 1]):
        rows = np.flatnonzero(groups == group)
        ranked = labels[rows[np.argsort(-scores[rows], kind="stable")]]
        ranks.append(1.0 / (int(np.argmax(ranked == 1)) + 1))
    return float(np.mean(ranks)) if ranks else 0.0


def _constant(*values: np.ndarray) -> bool:
    return any(np.ptp(value) == 0 for value in values)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
    "pearson_spearman": _pearson_spearman,
}

"""Metrics: scores of a model's outputs against gold labels, with what an answer that ignores the text scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

# How many standard errors above chance a score must be: noise passes three times in two thousand.
ERRORS_ABOVE_CHANCE = 3.0


@dataclass
class Scored:
    """A model's outputs on labelled rows.

    outputs: of each row, logits [answers, labels]; a row has one answer, or one for each word that was not cut off.
    gold: of each row, its label, score, or the tags of all of its words. labels: their names.
    groups: [rows], equal for the answers to one question.
    """

    outputs: list[np.ndarray]
    gold: Sequence[Any] | np.ndarray
    labels: Sequence[str]
    groups: Sequence[Any] | np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.outputs) != len(self.gold):
            raise ValueError(f"{len(self.outputs)} rows with outputs but {len(self.gold)} with gold labels")

    @cached_property
    def logits(self) -> np.ndarray:
        """All answers, one after another: [answers, labels]."""
        return np.concatenate(self.outputs)

    @cached_property
    def targets(self) -> np.ndarray:
        """The gold label of every answer: [answers]."""
        pairs = zip(self.gold, self.outputs)  # noqa: B905 (Python 3.9)
        return np.concatenate([np.atleast_1d(np.asarray(gold))[: len(output)] for gold, output in pairs])

    @cached_property
    def predictions(self) -> np.ndarray:
        """The most likely label's id of every answer, or its score if there is one output: [answers]."""
        return self.logits[:, 0] if self.logits.shape[1] == 1 else self.logits.argmax(axis=1)

    @property
    def rows(self) -> np.ndarray:
        """The row of every answer: int64 [answers]."""
        return np.repeat(np.arange(len(self.outputs)), [len(output) for output in self.outputs])

    def take(self, chosen: np.ndarray) -> Scored:
        """The rows for which bool [rows] is true."""
        places = np.flatnonzero(chosen)
        groups = None if self.groups is None else [self.groups[i] for i in places]
        return Scored([self.outputs[i] for i in places], [self.gold[i] for i in places], self.labels, groups)

    @classmethod
    def of(cls, predictions: Any, gold: Any, labels: Sequence[str] = (), groups: Any = None) -> Scored:
        """From one answer per row: class ids [rows], scores [rows] or logits [rows, labels]."""
        values, targets = np.asarray(predictions), np.asarray(gold)
        if len(values) != len(targets) or not len(targets):
            raise ValueError(f"expected equal lengths above 0, got {values.shape} and {targets.shape}")
        return cls(list(values.reshape([len(values), 1, -1])), targets, labels, groups)


@dataclass(frozen=True)
class Metric:
    """One metric; 1 is best.

    kinds: names of the kinds of task that it scores. chance: (score of an answer that does not look at the text,
    margin that a score must lie above it). label_count: how many labels a task must have for it; None: any number.
    """

    name: str
    kinds: tuple[str, ...]
    value: Callable[[Scored], float]
    chance: Callable[[Scored], tuple[float, float]]
    label_count: int | None = None

    def __call__(self, scored: Scored) -> float:
        """The score. Raises ValueError for outputs that are not finite, or no answers."""
        if not len(scored.outputs):
            raise ValueError("no rows to score")
        if not np.isfinite(scored.logits).all():
            raise ValueError("predictions are not all finite numbers")
        return float(self.value(scored))


def fidelity(student: np.ndarray, teacher: np.ndarray) -> dict[str, float]:
    """How close a student's class distributions are to its teacher's, both probabilities [rows, classes].

    `agreement` is the share of rows with the same most likely class; `kl` is the mean over rows of
    KL(teacher || student) in nats, with probabilities clipped at 1e-12. Raises ValueError for unequal shapes.
    """
    student, teacher = np.asarray(student, np.float64), np.asarray(teacher, np.float64)
    if student.shape != teacher.shape or student.ndim != 2 or not len(student):
        raise ValueError(f"expected two equal [rows, classes], got {student.shape} and {teacher.shape}")
    ratio = np.log(np.clip(teacher, 1e-12, None)) - np.log(np.clip(student, 1e-12, None))
    return {
        "agreement": float((student.argmax(axis=1) == teacher.argmax(axis=1)).mean()),
        "kl": float((teacher * ratio).sum(axis=1).mean()),
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64: [.., labels]."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def mean_reciprocal_rank(scores: Any, labels: Any, groups: Any) -> float:
    """Mean over groups of 1 / rank of the best-scored right answer (label 1), as NLPCC-DBQA is scored.

    scores, labels, groups: [rows]. Groups without a right answer do not count; equal scores rank in the
    rows' order. 0 if no group has a right answer.
    """
    scores, labels, groups = np.asarray(scores), np.asarray(labels), np.asarray(groups)
    ranks = []
    for group in np.unique(groups[labels == 1]):
        rows = np.flatnonzero(groups == group)
        ranked = labels[rows[np.argsort(-scores[rows], kind="stable")]]
        ranks.append(1.0 / (int(np.argmax(ranked == 1)) + 1))
    return float(np.mean(ranks)) if ranks else 0.0


def confusion_matrix(scored: Scored) -> str:
    """Rows: labels; columns: what was predicted; the twenty most frequent labels if there are more."""
    labels, gold = scored.labels, scored.targets
    shown = sorted(np.argsort(-np.bincount(gold, minlength=len(labels)), kind="stable")[:20].tolist())
    width = max(8, *(len(labels[i]) for i in shown)) + 1
    lines = ["gold \\ predicted".ljust(18) + "".join(labels[i].rjust(width) for i in shown)]
    for row in shown:
        counts = [int(((gold == row) & (scored.predictions == column)).sum()) for column in shown]
        lines.append(labels[row].ljust(18) + "".join(str(count).rjust(width) for count in counts))
    return "\n".join(lines)


def _accuracy(scored: Scored) -> float:
    return (scored.predictions == scored.targets).mean()


def _sklearn(scored: Scored, name: str, **options: Any) -> float:
    """A function of sklearn.metrics by name."""
    from sklearn import metrics

    return getattr(metrics, name)(scored.targets, scored.predictions, **options)


def _correlation(scored: Scored, names: Sequence[str]) -> float:
    """The mean of correlations of scipy.stats by name; with a constant it is 0."""
    from scipy import stats

    predicted, gold = scored.predictions, scored.targets
    if np.ptp(predicted) == 0 or np.ptp(gold) == 0:
        return 0.0
    return sum(getattr(stats, name)(predicted, gold)[0] for name in names) / len(names)


def _mrr(scored: Scored) -> float:
    return mean_reciprocal_rank(scored.logits[:, 1] - scored.logits[:, 0], scored.targets, scored.groups)


def _entity_f1(scored: Scored) -> float:
    """Micro F1 over entities; words that were cut off count as O."""
    from .token_classification import entity_f1

    names, tags, gold = scored.labels, [], []
    for output, row in zip(scored.outputs, scored.gold):  # noqa: B905 (Python 3.9)
        known = [names[tag] for tag in output.argmax(-1)]
        gold.append([names[tag] for tag in row])
        tags.append(known + ["O"] * (len(row) - len(known)))
    return entity_f1(tags, gold)


def _best_constant(scored: Scored, value: Callable[[Scored], float]) -> tuple[float, float]:
    """The best answer that is the same for every row."""
    gold, labels = scored.targets, len(scored.labels)
    expected = max(float(value(Scored.of(np.full(len(gold), label), gold))) for label in range(labels))
    return expected, _margin(expected, len(gold))


def _zero(scored: Scored) -> tuple[float, float]:
    return 0.0, ERRORS_ABOVE_CHANCE / math.sqrt(len(scored.targets))


def _random_order(scored: Scored) -> tuple[float, float]:
    """The expected reciprocal rank of the first right answer in a random order."""
    gold, groups, values = scored.targets, np.asarray(scored.groups), []
    for group in np.unique(groups[gold == 1]):
        right = gold[groups == group] == 1
        size, count = len(right), int(right.sum())
        # P(first right answer at rank r) = C(size - r, count - 1) / C(size, count)
        total = math.comb(size, count)
        values.append(sum(math.comb(size - r, count - 1) / total / r for r in range(1, size - count + 2)))
    expected, questions = (float(np.mean(values)), len(values)) if values else (0.0, 1)
    return expected, _margin(expected, questions)


def _margin(expected: float, answers: int) -> float:
    return ERRORS_ABOVE_CHANCE * math.sqrt(expected * (1 - expected) / answers)


_CLASSES, _SCORES = ("classification",), ("regression",)
_F1 = partial(_sklearn, name="f1_score", average="binary", zero_division=0)
_MACRO_F1 = partial(_sklearn, name="f1_score", average="macro", zero_division=0)
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _CLASSES, _accuracy, partial(_best_constant, value=_accuracy)),
        Metric("f1", _CLASSES, _F1, partial(_best_constant, value=_F1), label_count=2),
        Metric("macro_f1", _CLASSES, _MACRO_F1, partial(_best_constant, value=_MACRO_F1)),
        Metric("matthews", _CLASSES, partial(_sklearn, name="matthews_corrcoef"), _zero),
        Metric("mrr", _CLASSES, _mrr, _random_order, label_count=2),
        Metric("pearson_spearman", _SCORES, partial(_correlation, names=("pearsonr", "spearmanr")), _zero),
        Metric("pearson", _SCORES, partial(_correlation, names=("pearsonr",)), _zero),
        Metric("spearman", _SCORES, partial(_correlation, names=("spearmanr",)), _zero),
        # without looking at the text no entity is found; any that is found is above that
        Metric("entity_f1", ("token_classification",), _entity_f1, lambda scored: (0.0, 0.0)),
    )
}


def metrics_of(kind: str) -> tuple[str, ...]:
    """The names of the metrics that score a kind of task; the first is its default."""
    return tuple(metric.name for metric in METRICS.values() if kind in metric.kinds)

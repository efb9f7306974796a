"""Metrics: scores of a model's outputs against gold labels, with what an answer that ignores the text scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .scored import Scored


@dataclass(frozen=True)
class Metric:
    """One metric; 1 is best.

    kinds: names of the kinds of task that it scores. chance: the score of the best answer that does not look at the
    text. label_count: how many labels a task must have for it; None: any number.
    What is optional makes intervals fast. parts: what adds up over rows, [rows, ...] (rows that can only be drawn
    together, such as the answers to one question, are one row here), with of_sums: scores of their sums, [..., parts]
    to [...]. of_answers: scores of predictions and gold labels, both [..., rows], to [...]. null: scores of the same
    answers given to other rows, (scored, rng, times) to [times], where `Scored.shuffled` is slow or not right.
    of_weights: scores of resamples in which each row comes so often, (scored, [times, rows]) to [times].
    """

    name: str
    kinds: tuple[str, ...]
    value: Callable[[Scored], float]
    chance: Callable[[Scored], float]
    label_count: int | None = None
    parts: Callable[[Scored], np.ndarray] | None = None
    of_sums: Callable[[np.ndarray], np.ndarray] | None = None
    null: Callable[[Scored, np.random.Generator, int], np.ndarray] | None = None
    of_answers: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    of_weights: Callable[[Any, np.ndarray], np.ndarray] | None = None

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


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The probability of each label by its logit, in float64."""
    return np.exp(log_sigmoid(logits))


def log_sigmoid(logits: np.ndarray) -> np.ndarray:
    """log(sigmoid(x)) without overflow."""
    return -np.logaddexp(0.0, -np.asarray(logits, np.float64))


def mean_reciprocal_rank(scores: Any, labels: Any, groups: Any) -> float:
    """Mean over groups of 1 / rank of the best-scored right answer (label 1), as NLPCC-DBQA is scored.

    scores, labels, groups: [rows]. Groups without a right answer do not count; equal scores rank in the
    rows' order. 0 if no group has a right answer.
    """
    ranks = _reciprocal_ranks(np.asarray(scores), np.asarray(labels), np.asarray(groups))
    return float(ranks.mean()) if len(ranks) else 0.0


def _reciprocal_ranks(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Of each group with a right answer, in the groups' order."""
    order = np.lexsort((np.arange(len(scores)), -scores, groups))
    _, first, places = np.unique(groups[order], return_index=True, return_inverse=True)
    right = np.flatnonzero(labels[order] == 1)
    found, best = np.unique(places[right], return_index=True)  # the best-ranked one of each group
    return 1.0 / (right[best] - first[found] + 1)


def confusion(scored: Scored) -> np.ndarray:
    """How many answers with each gold label (row) are each label (column): int64 [labels, labels]."""
    counts = np.zeros([len(scored.labels)] * 2, dtype=np.int64)
    np.add.at(counts, (scored.targets.astype(np.int64), scored.predictions), 1)
    return counts


def confusion_matrix(scored: Scored) -> str:
    """Rows: labels; columns: what was predicted; the twenty most frequent labels if there are more."""
    labels, table = scored.labels, confusion(scored)
    shown = sorted(np.argsort(-table.sum(axis=1), kind="stable")[:20].tolist())
    width = max(8, *(len(labels[i]) for i in shown)) + 1
    lines = ["gold \\ predicted".ljust(18) + "".join(labels[i].rjust(width) for i in shown)]
    for row in shown:
        lines.append(labels[row].ljust(18) + "".join(str(table[row, column]).rjust(width) for column in shown))
    return "\n".join(lines)


def _label_sums(scored: Scored) -> np.ndarray:
    """Of each label, how often it is right, predicted, and gold: [3, labels]."""
    gold, predicted = scored.targets.astype(np.int64), scored.predictions.astype(np.int64)
    labels = _width(scored)
    return np.stack([np.bincount(ids, minlength=labels) for ids in (gold[gold == predicted], predicted, gold)])


def _label_parts(scored: Scored) -> np.ndarray:
    """The same of each row: [rows, 3, labels]."""
    eye = np.eye(_width(scored), dtype=np.float32)
    gold, predicted = eye[scored.targets.astype(np.int64)], eye[scored.predictions.astype(np.int64)]
    return np.stack([gold * predicted, predicted, gold], axis=1)


def _label_null(
    scored: Scored, rng: np.random.Generator, times: int, of_sums: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Scores of the same predictions on other rows: tables with these sums of rows and columns, each as likely."""
    from scipy.stats import random_table

    _, predicted, gold = sums = _label_sums(scored)
    tables = random_table(gold, predicted).rvs(times, random_state=rng)
    right = tables.reshape(times, *tables.shape[-2:]).diagonal(axis1=1, axis2=2)
    return of_sums(np.stack([right, *(np.broadcast_to(counts, right.shape) for counts in sums[1:])], axis=1))


def _width(scored: Scored) -> int:
    return 1 + int(max(len(scored.labels) - 1, scored.targets.max(), scored.predictions.max()))


def ratio(above: Any, below: Any) -> np.ndarray:
    """Shares, shaped as both; 0 where there is nothing below."""
    below = np.asarray(below, np.float64)
    return np.where(below > 0, above / np.where(below > 0, below, 1), 0.0)


def share_of_sums(sums: np.ndarray) -> np.ndarray:
    """The share that sums of what is scored and of 1 give: [..., 2] to [...]."""
    return ratio(sums[..., 0], sums[..., 1])


def _accuracy(sums: np.ndarray) -> np.ndarray:
    return ratio(sums[..., 0, :].sum(-1), sums[..., 2, :].sum(-1))


def f1_each(sums: np.ndarray) -> np.ndarray:
    """F1 of each label, of how often it is right, predicted and gold: [..., 3, labels] to [..., labels]."""
    return ratio(2 * sums[..., 0, :], sums[..., 1, :] + sums[..., 2, :])


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    """Over the labels that are gold or predicted."""
    return ratio(f1_each(sums).sum(-1), (sums[..., 1:, :].sum(-2) > 0).sum(-1))


def _matthews(sums: np.ndarray) -> np.ndarray:
    """For any number of labels (Gorodkin 2004); 0 where one label alone is gold or predicted."""
    right, predicted, gold = np.moveaxis(np.asarray(sums, np.float64), -2, 0)
    count = gold.sum(-1)
    spreads = (count**2 - (predicted**2).sum(-1)) * (count**2 - (gold**2).sum(-1))
    return ratio(right.sum(-1) * count - (predicted * gold).sum(-1), np.sqrt(np.maximum(spreads, 0)))


def _correlations(predicted: np.ndarray, gold: np.ndarray, ranked: Sequence[bool]) -> np.ndarray:
    """The mean of the correlations of scores (Pearson) or of their ranks (Spearman), [..., rows]; 0 with a constant."""
    pairs = [(_standard(predicted, ranks), _standard(gold, ranks)) for ranks in ranked]
    return np.mean([(own * known).sum(-1) for own, known in pairs], axis=0)


def _correlation_null(scored: Scored, rng: np.random.Generator, times: int, ranked: Sequence[bool]) -> np.ndarray:
    """Correlations of the same scores in another order."""
    pairs = [(_standard(scored.predictions, ranks), _standard(scored.targets, ranks)) for ranks in ranked]
    orders = (rng.permutation(len(scored.targets)) for _ in range(times))
    return np.array([np.mean([own[order] @ known for own, known in pairs]) for order in orders])


def _standard(values: np.ndarray, ranks: bool) -> np.ndarray:
    """Scores, or their ranks, with mean 0 and length 1 (0 for a constant): [..., rows]."""
    from scipy.stats import rankdata

    values = rankdata(values, axis=-1) if ranks else np.asarray(values, np.float64)
    centred = (values - values.mean(-1, keepdims=True)) * (np.ptp(values, axis=-1, keepdims=True) > 0)
    return ratio(centred, np.linalg.norm(centred, axis=-1, keepdims=True))


def _mrr_parts(scored: Scored) -> np.ndarray:
    """Of each question with a right answer, the reciprocal rank, and 1: [questions, 2]."""
    ranks = _reciprocal_ranks(scored.logits[:, 1] - scored.logits[:, 0], scored.targets, np.asarray(scored.groups))
    return np.stack([ranks, np.ones_like(ranks)], axis=1)


def _mrr_null(scored: Scored, rng: np.random.Generator, times: int) -> np.ndarray:
    """Scores of the answers to each question in another order."""
    scores, groups = scored.logits[:, 1] - scored.logits[:, 0], np.asarray(scored.groups)
    home, values = np.argsort(groups, kind="stable"), np.empty(len(scores))
    found = []
    for _ in range(times):
        values[home] = scores[np.lexsort((rng.random(len(scores)), groups))]
        found.append(mean_reciprocal_rank(values, scored.targets, groups))
    return np.array(found)


def _entity_parts(scored: Scored) -> np.ndarray:
    from .token_classification import entity_parts

    return entity_parts(scored)


def _entity_null(scored: Scored, rng: np.random.Generator, times: int) -> np.ndarray:
    from .token_classification import entity_null

    return entity_null(scored, rng, times)


def _entity_chance(scored: Scored) -> float:
    from .token_classification import best_constant_tag

    return best_constant_tag(scored)


def _best_constant(scored: Scored, of_sums: Callable[[np.ndarray], np.ndarray]) -> float:
    """The best answer that is the same for every row."""
    gold, labels = np.bincount(scored.targets.astype(np.int64), minlength=len(scored.labels)), len(scored.labels)
    eye = np.eye(labels)  # of each label as the answer, what is right, predicted, gold
    sums = np.stack([eye * gold, eye * gold.sum(), np.broadcast_to(gold, eye.shape)], axis=1)
    return float(of_sums(sums).max())


def _random_order(scored: Scored) -> float:
    """The expected reciprocal rank of the first right answer in a random order."""
    gold, groups, values = scored.targets, np.asarray(scored.groups), []
    for group in np.unique(groups[gold == 1]):
        right = gold[groups == group] == 1
        size, count = len(right), int(right.sum())
        # P(first right answer at rank r) = C(size - r, count - 1) / C(size, count)
        total = math.comb(size, count)
        values.append(sum(math.comb(size - r, count - 1) / total / r for r in range(1, size - count + 2)))
    return float(np.mean(values)) if values else 0.0


def _zero(scored: Scored) -> float:
    return 0.0


def _of_labels(name: str, of_sums: Callable[[np.ndarray], np.ndarray], chance: Any = None, count: int | None = None):
    """A metric of how often each label is right, predicted and gold."""

    def value(scored: Scored) -> float:
        return float(of_sums(_label_sums(scored)))

    chance = chance or partial(_best_constant, of_sums=of_sums)
    null = partial(_label_null, of_sums=of_sums)
    return Metric(name, ("classification",), value, chance, count, _label_parts, of_sums, null)


def of_parts(
    name: str, kind: str, parts: Any, of_sums: Any, chance: Any, null: Any, count: int | None = None
) -> Metric:
    """A metric of sums over rows: `Metric` with the value that they give."""

    def value(scored: Scored) -> float:
        return float(of_sums(parts(scored).sum(0, dtype=np.float64)))

    return Metric(name, (kind,), value, chance, count, parts, of_sums, null)


def _of_scores(name: str, ranked: Sequence[bool]) -> Metric:
    of_answers = partial(_correlations, ranked=ranked)

    def value(scored: Scored) -> float:
        return float(of_answers(scored.predictions, scored.targets))

    null = partial(_correlation_null, ranked=ranked)
    return Metric(name, ("regression",), value, _zero, null=null, of_answers=of_answers)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _of_labels("accuracy", _accuracy),
        _of_labels("f1", lambda sums: f1_each(sums)[..., 1], count=2),
        _of_labels("macro_f1", _macro_f1),
        _of_labels("matthews", _matthews, _zero),
        of_parts("mrr", "classification", _mrr_parts, share_of_sums, _random_order, _mrr_null, 2),
        _of_scores("pearson_spearman", (False, True)),
        _of_scores("pearson", (False,)),
        _of_scores("spearman", (True,)),
        of_parts(
            "entity_f1",
            "token_classification",
            _entity_parts,
            lambda sums: f1_each(sums)[..., 0],
            _entity_chance,
            _entity_null,
        ),
    )
}


def metrics_of(kind: str) -> tuple[str, ...]:
    """The names of the metrics that score a kind of task; the first is its default."""
    return tuple(metric.name for metric in METRICS.values() if kind in metric.kinds)

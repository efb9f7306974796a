"""Sets of labels: a model's outputs on rows with any number of labels, their metrics, and the thresholds of F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from .metrics import Metric, f1_each, of_parts, ratio, share_of_sums, sigmoid
from .ngrams import TextModel
from .scored import Scored

KIND = "multi_label"


@dataclass
class MultiHot(Scored):
    """A model's outputs on rows with any number of labels each.

    gold: of each row, 1 for the labels that it has and 0 for the others. cuts: the logit of each label above which it
    is given, [labels], or one for all; 0 is a probability of one half.
    """

    cuts: np.ndarray | float = 0.0

    @cached_property
    def targets(self) -> np.ndarray:
        """What of each label is right: int8 [rows, labels]."""
        return np.asarray(self.gold).astype(np.int8).reshape(len(self.gold), -1)

    @cached_property
    def predictions(self) -> np.ndarray:
        """Which labels are given: int8 [rows, labels]."""
        return (self.logits > self.cuts).astype(np.int8)

    @cached_property
    def _one_each(self) -> bool:
        return True

    @property
    def varied(self) -> bool:
        return bool((self.targets != self.targets[0]).any())

    def right(self, places: Sequence[int] | np.ndarray, groups: Any = None) -> MultiHot:
        known = self.targets[np.asarray(places)]
        return MultiHot((2.0 * known - 1)[:, None], known, self.labels, groups)

    def fair(self) -> MultiHot:
        """Of right answers, those of a fair teacher: half of the rows with each set of labels, the usual set else."""
        sets = sets_of(self.targets)
        order, usual = np.argsort(sets, kind="stable"), self.logits[sets == np.bincount(sets).argmax()][0]
        known = (np.argsort(order) - np.searchsorted(sets[order], sets)) % 2 == 1  # every second row of a set
        if not known.any():  # every set is there once
            known = np.argsort(order) % 2 == 1
        return replace(self, outputs=np.where(known[:, None], self.logits, usual)[:, None])

    def errors_table(self) -> str:
        """A line for each label: how often it is gold, given, and both; the twenty most frequent labels."""
        gold, own = self.targets.astype(np.int64), self.predictions.astype(np.int64)
        width = max(8, *map(len, self.labels)) + 1
        lines = ["label".ljust(width) + "".join(name.rjust(8) for name in ("gold", "given", "both"))]
        for i in np.argsort(-gold.sum(0), kind="stable")[:20]:
            counts = gold[:, i].sum(), own[:, i].sum(), (gold[:, i] & own[:, i]).sum()
            lines.append(self.labels[i].ljust(width) + "".join(str(count).rjust(8) for count in counts))
        return "\n".join(lines)


def sets_of(targets: np.ndarray) -> np.ndarray:
    """A number for each row, the same for rows with the same labels: [rows]."""
    return np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1)


def _each_sums(scored: Scored) -> np.ndarray:
    """Of each row and label, whether it is right, given, and gold: [rows, 3, labels]."""
    gold, own = scored.targets.astype(np.float32), scored.predictions.astype(np.float32)
    return np.stack([gold * own, own, gold], axis=1)


def _all_sums(scored: Scored) -> np.ndarray:
    """The same of all labels of a row together: [rows, 3, 1]."""
    return _each_sums(scored).sum(-1, keepdims=True)


def _hits(scored: Scored) -> np.ndarray:
    """Of each row, whether its set of labels is right, and 1: [rows, 2]."""
    right = (scored.targets == scored.predictions).all(-1).astype(np.float32)
    return np.stack([right, np.ones_like(right)], axis=1)


def _mean_f1(sums: np.ndarray) -> np.ndarray:
    """Over all labels; 0 for one that is neither gold nor given."""
    return f1_each(sums).mean(-1)


def _f1_null(scored: Scored, rng: np.random.Generator, times: int, together: bool) -> np.ndarray:
    """F1 of the same answers given to other rows."""
    gold, own = scored.targets.astype(np.float32), scored.predictions.astype(np.float32)
    orders = (rng.permutation(len(gold)) for _ in range(times))
    right = np.stack([np.einsum("ij,ij->j", own[order], gold) for order in orders])
    sums = np.stack([right, *(np.broadcast_to(side.sum(0), right.shape) for side in (own, gold))], axis=1)
    return _mean_f1(sums.sum(-1, keepdims=True) if together else sums)


def _hits_null(scored: Scored, rng: np.random.Generator, times: int) -> np.ndarray:
    """The share of right sets of the same answers given to other rows."""
    own, gold = np.split(sets_of(np.concatenate([scored.predictions, scored.targets])), 2)
    return np.array([(own[rng.permutation(len(own))] == gold).mean() for _ in range(times)])


def _best_constant_all(scored: Scored) -> float:
    """Micro F1 of the best set of labels if every row got it: the most frequent labels, as many as pay."""
    counts = np.sort(scored.targets.sum(0, dtype=np.int64))[::-1]
    given = len(scored.targets) * np.arange(1, len(counts) + 1)
    return float(ratio(2 * counts.cumsum(), given + counts.sum()).max())


def _best_constant_each(scored: Scored) -> float:
    """The mean F1 of all labels given to every row: a label that is not given scores 0."""
    counts = scored.targets.sum(0, dtype=np.int64)
    return float(ratio(2 * counts, len(scored.targets) + counts).mean())


def _most_frequent_set(scored: Scored) -> float:
    return float(np.bincount(sets_of(scored.targets)).max() / len(scored.targets))


def _mean_share(scored: Scored) -> float:
    """The mean share of rows of a label: the average precision of equal scores."""
    return float(scored.targets.mean())


def _places(scored: Scored) -> np.ndarray:
    """The number of rows with a score as high as this one's, or higher, of each label: [rows, labels]."""
    from scipy.stats import rankdata

    return rankdata(-scored.logits, method="max", axis=0).astype(np.int64)


def _precision(places: np.ndarray, rights: Sequence[np.ndarray]) -> float:
    """The mean over labels of average precision, of the places of right rows alone; 0 without any."""
    total = 0.0
    for label, rows in enumerate(rights):
        found = np.sort(places[rows, label])
        total += float((np.searchsorted(found, found, side="right") / found).mean()) if len(found) else 0.0
    return total / len(rights)


def _rights(scored: Scored) -> list[np.ndarray]:
    return [np.flatnonzero(column) for column in scored.targets.T]


def _average_precision(scored: Scored) -> float:
    """Mean over labels of sum_n (R_n - R_n-1) P_n, over the different scores of a label, as scikit-learn has it."""
    return _precision(_places(scored), _rights(scored))


def _precision_null(scored: Scored, rng: np.random.Generator, times: int) -> np.ndarray:
    places, rights = _places(scored), _rights(scored)
    orders = (rng.permutation(len(places)) for _ in range(times))
    return np.array([_precision(places, [order[rows] for rows in rights]) for order in orders])


def _weighted_precision(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """The same of resamples in which each row comes so often: weights [times, rows] to [times]."""
    total = np.zeros(len(weights))
    for label, places in enumerate(_places(scored).T):
        order = np.argsort(places, kind="stable")
        gold = scored.targets[order, label]
        drawn, last, at = weights[:, order].astype(np.float64), places[order] - 1, np.flatnonzero(gold)
        above, right = drawn.cumsum(1)[:, last[at]], (drawn * gold).cumsum(1)
        total += ratio((drawn[:, at] * ratio(right[:, last[at]], above)).sum(1), right[:, -1])
    return total / scored.targets.shape[1]


METRICS_OF_SETS = (
    of_parts("micro_f1", KIND, _all_sums, _mean_f1, _best_constant_all, partial(_f1_null, together=True)),
    of_parts("label_macro_f1", KIND, _each_sums, _mean_f1, _best_constant_each, partial(_f1_null, together=False)),
    of_parts("subset_accuracy", KIND, _hits, share_of_sums, _most_frequent_set, _hits_null),
    Metric(
        "mean_average_precision",
        (KIND,),
        _average_precision,
        _mean_share,
        null=_precision_null,
        of_weights=_weighted_precision,
    ),
)


def best_cuts(logits: np.ndarray, gold: np.ndarray, each: bool = False) -> np.ndarray:
    """The logits above which labels are given so that F1 is best, in the middle between two logits: [labels].

    logits, gold: [rows, labels]. One cut for all labels, by micro F1; or with `each` every label's own, by its F1, but
    for labels without gold rows, which have the one for all. Of cuts that are as good, the one nearest to 0, a
    probability of one half.
    """
    if each:
        own = [best_cuts(logits[:, [i]], gold[:, [i]])[0] for i in range(logits.shape[1])]
        return np.where(gold.any(0), own, best_cuts(logits, gold))
    values = logits.astype(np.float64).ravel()
    order = np.argsort(-values, kind="stable")
    falling, right = values[order], gold.ravel()[order].cumsum(dtype=np.int64)
    scores = ratio(2 * right, np.arange(1, len(right) + 1) + gold.sum(dtype=np.int64))
    middles = (falling + np.append(falling[1:], falling[-1] - 1)) / 2
    possible = (middles < falling) & np.append(falling[1:] <= middles[:-1], True)
    best = middles[possible & (scores >= scores[possible].max() - 1e-12)]
    return np.full(logits.shape[1], best[np.abs(best).argmin()])


def by_label_of_sets(scored: Any) -> dict[str, Any]:
    """Precision, recall and F1 of each label, how many rows have it and how many are given it, and its threshold.

    one_answer: the labels that every row is given; None: they differ.
    """
    from .breakdown import shares_of

    sums, table = _each_sums(scored).sum(0, dtype=np.float64).astype(np.int64), []
    chances = np.broadcast_to(sigmoid(scored.cuts), len(scored.labels))
    for i, label in enumerate(scored.labels):
        right, given, rows = sums[:, i].tolist()
        table.append({**shares_of(label, right, rows, given), "threshold": round(float(chances[i]), 6)})
    one = None
    if (scored.predictions == scored.predictions[0]).all():
        one = ", ".join(scored.labels[i] for i in np.flatnonzero(scored.predictions[0])) or "no label"
    return {"labels": table, "confusion": None, "one_answer": one}


class SetModel(TextModel):
    """A linear model on n-grams for each label, of texts or pairs of texts."""

    def fit(self, rows: Sequence[Any]) -> None:
        from sklearn.svm import LinearSVC

        values, targets = self.prepared(rows), self.targets(rows)
        self._models = [
            LinearSVC(C=0.5, random_state=0).fit(values, column) if 0 < column.sum() < len(column) else None
            for column in targets.T
        ]
        self._usual = np.where(targets.mean(0) > 0.5, 1.0, -1.0)  # of a label that all rows have, or none

    def decisions(self, rows: Sequence[Any]) -> np.ndarray:
        values = self.weighted(self.features(rows))
        logits = self._usual * np.ones((values.shape[0], 1))
        for i, model in enumerate(self._models):
            if model is not None:
                logits[:, i] = model.decision_function(values)
        return logits

    @property
    def weights(self) -> int:
        return sum(int(np.count_nonzero(model.coef_)) for model in self._models if model is not None)

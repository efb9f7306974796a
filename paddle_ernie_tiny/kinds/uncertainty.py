"""How sure a score is: intervals, paired differences, and the test of a model's answers against chance.

All of it is deterministic: random numbers come from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .metrics import METRICS, Metric
from .scored import Scored

LEVEL = 0.95  # of intervals
ALPHA = 0.01  # answers that ignore the text pass as better than chance at most this often
SHUFFLES = 999
FEWEST_ROWS = 20  # of a split that can tell: below, one answer is more than five points
_RESAMPLES = 1000
_SURE = 0.002  # p-value of a fair teacher on a split that can tell
_MOST_CELLS = 4_000_000  # random numbers at once
_LARGE = 2000  # rows that are looked at first: if they can tell, all can
_MOST_ROWS = 100_000  # or words, that anybody is asked for


@dataclass(frozen=True)
class Interval:
    """A score, or a difference of scores, and the bounds that hold it with probability `LEVEL`."""

    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Chance:
    """A model's answers against answers that do not look at the text.

    constant: the score of the best constant answer. p_value: how often the same answers, given to other rows, score as
    much. verdict: "above"; "constant" (the answers do depend on the text, but the score is not above the best constant
    answer's beyond noise); "chance" (no better than chance, on a split that `could_tell`); "unknown" (the same, but the
    split is too small or lopsided to tell).
    """

    interval: Interval
    constant: float
    p_value: float
    verdict: str


def interval(metric: str, scored: Scored) -> Interval:
    """The score and its interval: exact (Clopper-Pearson) for accuracy, else by bootstrap over rows.

    Rows are what can be drawn by itself: sentences of a tagger, the questions of mean reciprocal rank.
    """
    row = METRICS[metric]
    score = row(scored)
    if metric == "accuracy":
        from scipy.stats import binomtest

        count = len(scored.targets)
        bounds = binomtest(int(round(score * count)), count).proportion_ci(LEVEL, method="exact")
        return Interval(score, float(bounds.low), float(bounds.high))
    return bounds_of(score, resampled_scores(metric, [scored])[0])


def difference(metric: str, one: Scored, other: Scored) -> Interval:
    """The score of `one` minus that of `other` on the same rows, by a paired bootstrap over rows."""
    row = METRICS[metric]
    values = resampled_scores(metric, [one, other])
    return bounds_of(row(one) - row(other), values[0] - values[1])


def bounds_of(score: float, values: np.ndarray) -> Interval:
    """A value with the bounds that its resamples [resamples] give."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(score, float(low), float(high))


def resampled_scores(name: str, models: Sequence[Scored]) -> np.ndarray:
    """Scores of the models by a metric, all on the same resamples of their rows: [models, resamples]."""
    metric = METRICS[name]
    rng, rows = np.random.default_rng(0), len(models[0].outputs)
    if metric.parts is None or metric.of_sums is None:
        found = []
        for size in _chunks(_RESAMPLES, rows):
            if metric.of_weights is not None:
                weights = rng.multinomial(rows, np.full(rows, 1 / rows), size=size)
                found.append([metric.of_weights(model, weights) for model in models])
                continue
            drawn, of_answers = rng.integers(rows, size=(size, rows)), metric.of_answers
            if of_answers is not None:
                found.append([of_answers(model.predictions[drawn], model.targets[drawn]) for model in models])
            else:
                found.append([np.array([metric.value(model.take(row)) for row in drawn]) for model in models])
        return np.concatenate(found, axis=1)
    parts = np.stack([metric.parts(model) for model in models], axis=1)  # [rows, models, ...]
    if not len(parts):
        return np.zeros((len(models), _RESAMPLES))
    # rows with the same parts are one sort, and a resample is how many it has of each sort
    sorts, counts = np.unique(parts.reshape(len(parts), -1), axis=0, return_counts=True)
    scores = []
    for size in _chunks(_RESAMPLES, len(sorts)):
        weights = rng.multinomial(len(parts), counts / len(parts), size=size)
        sums = (weights.astype(np.float64) @ sorts.astype(np.float64)).reshape(size, *parts.shape[1:])
        scores.append(metric.of_sums(sums))
    return np.concatenate(scores).T


def _chunks(total: int, width: int) -> Iterator[int]:
    most = max(1, _MOST_CELLS // max(1, width))
    for start in range(0, total, most):
        yield min(most, total - start)


def against_chance(metric: str, scored: Scored, bounds: Interval) -> Chance:
    """Tests a model's answers: are they better than the same answers given to other rows, and than a constant one?

    bounds: their `interval`.
    """
    row = METRICS[metric]
    constant, p_value = float(row.chance(scored)), _p_value(row, scored, bounds.score)
    if p_value <= ALPHA:
        verdict = "above" if bounds.low > constant else "constant"
    else:
        verdict = "chance" if could_tell(metric, scored) else "unknown"
    return Chance(bounds, constant, p_value, verdict)


def _null(metric: Metric, scored: Scored, rng: np.random.Generator, times: int) -> np.ndarray:
    """Scores of the same answers given to other rows: [times]."""
    if metric.null is not None:
        return metric.null(scored, rng, times)
    return np.array([metric.value(scored.shuffled(rng)) for _ in range(times)])


def _p_value(metric: Metric, scored: Scored, score: float) -> float:
    """Of a permutation test, which is exact; a model with one answer for everything has 1."""
    rng, first = np.random.default_rng(0), 99
    values = _null(metric, scored, rng, first)
    if (values >= score - 1e-12).sum() <= ALPHA * (SHUFFLES + 1):  # else the rest cannot change the verdict
        values = np.concatenate([values, _null(metric, scored, rng, SHUFFLES - first)])
    return float((1 + (values >= score - 1e-12).sum()) / (1 + len(values)))


def could_tell(metric: str, scored: Scored) -> bool:
    """Would the test surely find a fair teacher on these rows? Only the gold labels count.

    A fair teacher answers half of the rows of each label right and gives the usual answer (the most frequent label, or
    the mean score) to the others. It is surely found if its p-value is well below `ALPHA`.
    """
    row, rows = METRICS[metric], len(scored.gold)
    if rows < FEWEST_ROWS or not scored.varied:
        return False
    some = [np.random.default_rng(0).permutation(rows)[:_LARGE]] if rows > _LARGE and scored.groups is None else []
    for places in [*some, np.arange(rows)]:  # if a part can tell, all can
        teacher = _gold(scored, places)
        if teacher.varied:
            fair = teacher.fair()
            if _p_value(row, fair, row(fair)) <= _SURE:
                return True
    return False


def enough_rows(metric: str, scored: Scored) -> int | None:
    """About how many rows like these could tell; None: not even 100,000, as where all have the same label."""
    rng, rows = np.random.default_rng(0), len(scored.gold)
    if len({np.asarray(gold).tobytes() for gold in scored.gold}) == 1:
        return None  # shuffled answers are the same answers
    count, answers = max(rows, FEWEST_ROWS), max(1.0, len(scored.targets) / rows)
    while count * answers <= _MOST_ROWS:
        # whole copies, and a part of one: no label is lost
        places = np.concatenate([rng.permutation(rows) for _ in range(-(-count // rows))])[:count]
        if could_tell(metric, _gold(scored, np.sort(places))):
            return count
        count = int(count * 1.25) + 1 if count < _LARGE else count * 2
    return None


def _gold(scored: Scored, places: np.ndarray) -> Scored:
    """A model that is right, on the rows at `places`; copies of a question are questions of their own."""
    seen: dict[Any, int] = {}
    copy = np.array([seen.update({p: seen.get(p, -1) + 1}) or seen[p] for p in places.tolist()])
    groups = None
    if scored.groups is not None:
        pairs = np.stack([np.unique(scored.groups, return_inverse=True)[1][places], copy], axis=1)
        groups = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    return scored.right(places, groups)

"""Scores of sentence vectors: how alike two texts are, and which documents are found for a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from .breakdown import of_metrics
from .metrics import METRICS, Metric, share_of_sums
from .ngrams import TextModel
from .scored import Scored

_NEAREST = 10  # documents that are looked at for each query


class ScoredPairs(Scored):
    """Vectors of pairs, each row's [2, width], and their gold scores. The answers are their cosines."""

    shown: tuple[str, ...] = ()  # metrics, beside the task's

    @cached_property
    def predictions(self) -> np.ndarray:
        """The cosine of each row's two vectors: [rows]."""
        return cosines(*self.sides)

    @cached_property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """All first and all second vectors: [rows, width] twice."""
        stacked = np.stack([np.asarray(output)[:2] for output in self.outputs]).astype(np.float64)
        return stacked[:, 0], stacked[:, 1]

    @cached_property
    def targets(self) -> np.ndarray:
        """What is right for each row: [rows]."""
        return np.asarray(self.gold)


class FoundDocuments(ScoredPairs):
    """Vectors of queries and their documents. gold: the numbers of the documents; equal texts are one document.

    The answers to a query are the numbers of its nearest documents. All documents of the rows are searched, also for a
    part of the rows.
    """

    shown = ("recall_at_1", "recall_at_10", "mrr_at_10")

    @cached_property
    def nearest(self) -> np.ndarray:
        """The numbers of the documents nearest to each row's query, at most 10, -1 behind them: int64 [rows, 10]."""
        queries, documents = map(_unit, self.sides)
        numbers, first = np.unique(self.targets, return_index=True)
        documents, found = documents[first], np.full((len(queries), _NEAREST), -1, dtype=np.int64)
        for start in range(0, len(queries), 1000):  # memory stays bounded
            order = np.argsort(-(queries[start : start + 1000] @ documents.T), axis=1, kind="stable")[:, :_NEAREST]
            found[start : start + 1000, : order.shape[1]] = numbers[order]
        return found

    @cached_property
    def ranks(self) -> np.ndarray:
        """The rank of each row's document for its query, from 1; 0: not among the nearest: int64 [rows]."""
        hits = self.nearest == self.targets[:, None]
        return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)

    @property
    def breakdown(self) -> dict[str, Any]:
        """Every metric of the search with its interval; one_answer: all similarities are the same."""
        one = "one similarity" if np.ptp(self.predictions) < 1e-6 else None
        return {"labels": [], "confusion": None, "one_answer": one, "scores": of_metrics(self, self.shown)}

    @cached_property
    def misses(self) -> np.ndarray:
        """By how much another document is nearer to each row's query than its own; 0: the nearest is right: [rows].

        Of all rows together, not of a part.
        """
        queries, documents = map(_unit, self.sides)
        numbers, first = np.unique(self.targets, return_index=True)
        best = documents[first[np.searchsorted(numbers, self.nearest[:, 0])]]
        known = set(zip(self.queries, self.targets))  # noqa: B905 (Python 3.9)
        right = [pair in known for pair in zip(self.queries, self.nearest[:, 0])]  # noqa: B905
        return np.where(right, 0.0, (queries * best).sum(-1) - self.predictions)

    @cached_property
    def queries(self) -> np.ndarray:
        """The number of each row's query, int64 [rows]: rows with the same first text have the same."""
        groups = np.arange(len(self.gold)) if self.groups is None else np.asarray(self.groups)
        return np.unique(groups, return_inverse=True)[1].reshape(-1)

    def take(self, chosen: np.ndarray) -> FoundDocuments:
        taken = super().take(chosen)
        taken.__dict__["nearest"] = self.nearest[chosen]
        return taken

    def with_nearest(self, nearest: np.ndarray) -> FoundDocuments:
        """The same rows with other answers: int64 [rows, 10]."""
        other = type(self)(self.outputs, self.gold, self.labels, self.groups)
        other.__dict__["nearest"] = nearest
        return other

    def right(self, places: Sequence[int] | np.ndarray, groups: Any = None) -> Scored:
        """A model that finds the document of every row first, on the rows at `places`."""
        gold = self.targets[np.asarray(places)]
        found = FoundDocuments(np.zeros((len(gold), 2, 1)), gold, self.labels, groups)
        nearest = np.full((len(gold), _NEAREST), -1, dtype=np.int64)
        for of_query in map(np.flatnonzero, found.queries == np.arange(found.queries.max() + 1)[:, None]):
            own = gold[of_query][:_NEAREST]  # of a query with several
            nearest[of_query, : len(own)] = own
        return found.with_nearest(nearest)

    def fair(self) -> Scored:
        """Of right answers those of a fair teacher: half are right, the others are what suits most queries."""
        usual, chosen = most_frequent(self.targets), self.queries % 2 == 1
        return self.with_nearest(np.where(chosen[:, None], self.nearest, usual))


def most_frequent(documents: np.ndarray) -> np.ndarray:
    """The numbers that occur most often, at most 10, -1 behind them: int64 [10]."""
    numbers, counts = np.unique(documents, return_counts=True)
    best = numbers[np.argsort(-counts, kind="stable")][:_NEAREST]
    return np.pad(best, (0, _NEAREST - len(best)), constant_values=-1)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The cosine of vectors side by side, [rows, width] twice to [rows]; 0 with a vector of zeros."""
    return (_unit(one) * _unit(other)).sum(-1)


def mean_cosine(vectors: np.ndarray) -> float:
    """The mean cosine of two of the vectors [texts, width]; 1 of one alone."""
    count, total = len(vectors), float(np.square(_unit(np.asarray(vectors, np.float64)).sum(0)).sum())
    return (total - count) / (count * (count - 1)) if count > 1 else 1.0


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def vector_fidelity(own: np.ndarray, teacher: np.ndarray) -> dict[str, Any]:
    """How alike both models' vectors are (`cosine`, if they are as wide), and the similarities of rows of two texts.

    own, teacher: [texts, width], the two texts of a row side by side.
    """
    ours, theirs = (cosines(vectors[::2], vectors[1::2]) for vectors in (own, teacher))
    alike = Scored.of(ours, theirs)
    return {
        "agreement": None,
        "kl": None,
        "reason": "vectors are no labels; pearson, spearman and mse are of the similarities of the rows' two texts",
        "cosine": float(cosines(own, teacher).mean()) if own.shape == teacher.shape else None,
        "mse": float(np.square(ours - theirs).mean()),
        **{name: METRICS[name](alike) for name in ("pearson", "spearman")},
    }


class VectorModel(TextModel):
    """Of the texts of rows, each by itself: TF-IDF in its strongest directions (latent semantic analysis).

    It learns from no labels. `outputs` are the vectors of a row's texts, [texts, directions].
    """

    directions = 256  # at most

    def __init__(self, rows: Sequence[Any]):
        super().__init__(1, rows)

    def size(self, row: Any) -> int:
        return 3 * sum(len(text or "") for text in row.content)

    def features(self, rows: Sequence[Any]) -> Any:
        return self._counts([text for row in rows for text in row.content if text is not None])

    def fit(self, rows: Sequence[Any]) -> None:
        from sklearn.decomposition import TruncatedSVD

        values = self.prepared(rows)
        self._model = TruncatedSVD(max(1, min(self.directions, min(values.shape) - 1)), random_state=0).fit(values)

    def outputs(self, rows: Sequence[Any]) -> list[np.ndarray]:
        counts = [sum(text is not None for text in row.content) for row in rows]
        vectors = self._model.transform(self.weighted(self.features(rows)))
        return np.split(vectors, np.cumsum(counts)[:-1])

    @property
    def weights(self) -> int:
        return int(self._model.components_.size)


def _sort(row: Any) -> str:
    if row.text_b is None:
        return "single texts"
    if row.text_c is not None:
        return "triples with a margin" if isinstance(row.label, float) else "triples"
    names = {int: "queries with a document", float: "pairs with a score"}
    return names.get(type(row.label), "pairs without a label")


def sorts_of(rows: Sequence[Any]) -> Iterator[str]:
    """How many rows of each sort there are, the range of their scores, and how many documents."""
    yield ", ".join(f"{count} {name}" for name, count in Counter(map(_sort, rows)).items())
    scores, found = ([row.label for row in rows if isinstance(row.label, sort)] for sort in (float, int))
    if scores:
        yield f"scores from {min(scores):g} to {max(scores):g}, mean {np.mean(scores):.3g}"
    if found:
        yield f"{len(set(found))} documents"


def _recall(scored: Any, k: int) -> np.ndarray:
    """Of each query, the share of its documents among the k nearest, and 1: [queries, 2]."""
    queries, hits = scored.queries, (scored.ranks > 0) & (scored.ranks <= k)
    shares = np.bincount(queries, hits) / np.bincount(queries)
    return np.stack([shares, np.ones_like(shares)], axis=1)


def _reciprocal_rank(scored: Any) -> np.ndarray:
    """Of each query, 1 / rank of its nearest document (0: not among the first 10), and 1: [queries, 2]."""
    best = np.zeros(scored.queries.max() + 1)
    np.maximum.at(best, scored.queries, np.where(scored.ranks > 0, 1 / np.maximum(scored.ranks, 1), 0.0))
    return np.stack([best, np.ones_like(best)], axis=1)


def _of_queries(name: str, parts: Callable[[Any], np.ndarray]) -> Metric:
    """A metric of the documents that are found, a mean over queries."""

    def value(scored: Any) -> float:
        return float(parts(scored)[:, 0].mean())

    def chance(scored: Any) -> float:
        """One order of the documents for all queries, the most frequent ones first."""
        return value(scored.with_nearest(np.broadcast_to(most_frequent(scored.targets), scored.nearest.shape)))

    def null(scored: Any, rng: np.random.Generator, times: int) -> np.ndarray:
        """What is found for one query is given to another."""
        nearest = scored.nearest[np.unique(scored.queries, return_index=True)[1]]
        orders = (rng.permutation(len(nearest)) for _ in range(times))
        return np.array([value(scored.with_nearest(nearest[order][scored.queries])) for order in orders])

    return Metric(name, ("embedding",), value, chance, None, parts, share_of_sums, null)


VECTOR_METRICS = (
    replace(METRICS["spearman"], kinds=(*METRICS["spearman"].kinds, "embedding")),
    _of_queries("recall_at_1", partial(_recall, k=1)),
    _of_queries("recall_at_10", partial(_recall, k=10)),
    _of_queries("mrr_at_10", _reciprocal_rank),
)

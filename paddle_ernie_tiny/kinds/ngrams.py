"""The floor: linear models on n-grams, trained in seconds, that a distilled student should be better than.

Texts: TF-IDF of character 1- to 3-grams where the text is written without blanks between words (Chinese), else of
words, pairs of words, and character 3- to 5-grams inside of words. Pairs: the n-grams that both texts have, those of
each alone, and how much of them is shared. Tags: the words around a word, pairs of them, and what a word begins and
ends with. N-grams are hashed, so memory has a bound whatever the data.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..data.rows import Example, TokenExample

NGRAMS = 12_000_000  # that are trained on, at most; of more rows a part is drawn
WORDS = 300_000  # the same of a tagger's words
_COLUMNS, _FEWER_COLUMNS, _MANY_LABELS = 1 << 20, 1 << 18, 8
_CHINESE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


class LinearModel:
    """A linear model on hashed n-grams: `fit`, then `outputs`.

    labels: how many; 1: scores, not labels.
    """

    def __init__(self, labels: int):
        self.labels, self._columns = labels, _COLUMNS if labels <= _MANY_LABELS else _FEWER_COLUMNS

    def size(self, row: Any) -> int:
        """About how many n-grams a row has, for `part`."""
        raise NotImplementedError

    def features(self, rows: Sequence[Any]) -> Any:
        """Counts of n-grams: a sparse matrix [answers, columns]."""
        raise NotImplementedError

    def targets(self, rows: Sequence[Any]) -> np.ndarray:
        """The gold label or score of every answer: [answers]."""
        return np.array([row.label for row in rows])

    most = NGRAMS

    def part(self, rows: Sequence[Any], seed: int) -> list[Any]:
        """The rows, or if there are too many a part of them by chance, in their order."""
        order = np.random.default_rng(seed).permutation(len(rows))
        fitting = np.cumsum([self.size(rows[i]) for i in order]) <= self.most
        return [rows[i] for i in np.sort(order[: max(2, int(fitting.sum()))])]

    def fit(self, rows: Sequence[Any]) -> None:
        """Trains on labelled rows."""
        from sklearn.linear_model import Ridge
        from sklearn.svm import LinearSVC

        values, targets = self.prepared(rows), self.targets(rows)
        if self.labels == 1:
            self._model = Ridge(alpha=1.0, solver="sparse_cg").fit(values, targets)
        elif len(np.unique(targets)) < 2:
            self._model = None  # the only label there is
        else:
            self._model = LinearSVC(C=0.5, random_state=0).fit(values, targets)
        self._classes = np.unique(targets).astype(np.int64)

    def prepared(self, rows: Sequence[Any]) -> Any:
        """The matrix that is trained on: of n-grams that come more than once, if there are some."""
        counts = self.features(rows)
        often = np.flatnonzero(np.bincount(counts.indices, minlength=counts.shape[1]) > 1)
        self._kept = often if len(often) else np.unique(counts.indices)
        return self.weighted(counts, fit=True)

    def weighted(self, counts: Any, fit: bool = False) -> Any:
        """The matrix that is trained on, of counts."""
        from sklearn.feature_extraction.text import TfidfTransformer

        kept = counts[:, self._kept]
        if fit:
            self._tfidf = TfidfTransformer(sublinear_tf=True).fit(kept)
        return self._tfidf.transform(kept)

    def decisions(self, rows: Sequence[Any]) -> np.ndarray:
        """What is largest for the answer: [answers, labels]; of scores [answers, 1]."""
        counts = self.features(rows)
        if self.labels == 1:
            return self._model.predict(self.weighted(counts))[:, None]
        logits = np.full((counts.shape[0], self.labels), -1e9)
        if self._model is None:
            logits[:, self._classes] = 0.0
            return logits
        values = self._model.decision_function(self.weighted(counts))
        logits[:, self._classes] = values if values.ndim > 1 else np.stack([-values, values], axis=1) / 2
        return logits

    def outputs(self, rows: Sequence[Any]) -> list[np.ndarray]:
        """Each row's answers, [answers, labels], in parts that bound memory."""
        return [
            row[None] for start in range(0, len(rows), 10_000) for row in self.decisions(rows[start : start + 10_000])
        ]

    @property
    def weights(self) -> int:
        """How many numbers the model has that are not 0."""
        return 0 if self._model is None else int(np.count_nonzero(self._model.coef_))


class TextModel(LinearModel):
    """Of texts, or pairs of texts."""

    def __init__(self, labels: int, rows: Sequence[Any]):
        super().__init__(labels)
        self._analyzers = _analyzers(row.text for row in rows)

    def size(self, row: Example) -> int:
        return 3 * (len(row.text) + len(row.text_b or ""))

    def features(self, rows: Sequence[Example]) -> Any:
        from scipy.sparse import csr_matrix, hstack

        first = self._counts([row.text for row in rows])
        if rows[0].text_b is None:
            return first
        second = self._counts([row.text_b or "" for row in rows])
        shared = first.minimum(second)
        alone = [first - shared, second - shared]
        for counts in alone:
            counts.eliminate_zeros()
        # the share of n-grams in both, in tenths: such columns have the same weight as an n-gram
        total = np.asarray(first.sum(1) + second.sum(1)).ravel()
        share = np.rint(20 * np.asarray(shared.sum(1)).ravel() / np.maximum(total, 1)).astype(np.int64)
        tenths = csr_matrix((np.ones(len(rows)), (np.arange(len(rows)), share)), shape=(len(rows), 11))
        return hstack([shared, *alone, tenths], format="csr")

    def _counts(self, texts: list[str]) -> Any:
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import HashingVectorizer

        options: dict[str, Any] = {"n_features": self._columns, "alternate_sign": False, "norm": None}
        made = [HashingVectorizer(**options, **analyzer).transform(texts) for analyzer in self._analyzers]
        return hstack(made, format="csr")


def _analyzers(texts: Iterable[str]) -> list[dict[str, Any]]:
    """How scikit-learn cuts texts like these into n-grams."""
    sample = "".join(islice(texts, 2000))
    if len(_CHINESE.findall(sample)) > 0.2 * len(sample):
        return [{"analyzer": "char", "ngram_range": (1, 3)}]
    words = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"}
    return [words, {"analyzer": "char_wb", "ngram_range": (3, 5)}]


class TagModel(LinearModel):
    """Of the words of tagged rows, each by itself."""

    most = WORDS

    def size(self, row: TokenExample) -> int:
        return len(row.words)

    def targets(self, rows: Sequence[TokenExample]) -> np.ndarray:
        return np.concatenate([row.tags for row in rows])

    def features(self, rows: Sequence[TokenExample]) -> Any:
        from sklearn.feature_extraction import FeatureHasher

        hasher = FeatureHasher(self._columns, input_type="string", alternate_sign=False)
        return hasher.transform(found for row in rows for found in _around(row.words))

    def weighted(self, counts: Any, fit: bool = False) -> Any:
        return counts[:, self._kept]  # each word has as many: there is nothing to weight

    def outputs(self, rows: Sequence[TokenExample]) -> list[np.ndarray]:
        made: list[np.ndarray] = []
        for start in range(0, len(rows), 2000):
            some = rows[start : start + 2000]
            made += np.split(self.decisions(some), np.cumsum([len(row.words) for row in some])[:-1])
        return made


def _around(words: Sequence[str]) -> Iterable[list[str]]:
    """Of each word, what its tag is decided by: itself and its neighbours."""
    padded = ["", "", *words, "", ""]
    for place in range(2, len(words) + 2):
        a, b, c, d, e = padded[place - 2 : place + 3]
        found = [f"-2{a}", f"-1{b}", f"0{c}", f"1{d}", f"2{e}", f"<{b} {c}", f">{c} {d}", f"<<{a} {b}", f">>{d} {e}"]
        if len(c) > 1:
            found += [f"^{c[:3]}", f"${c[-3:]}", f"#{c.istitle()}{c.isupper()}{c.isdigit()}"]
        yield found


def train_floor(model: LinearModel, rows: Sequence[Any], scored: Sequence[Any]) -> tuple[list, dict[str, Any]]:
    """Trains on labelled rows; returns the answers to `scored` and what it took, on one thread.

    The latter: seconds of training, texts per second, weights, and their size in MB as float32.
    """
    from sklearn import feature_extraction, linear_model, svm  # noqa: F401 (loading them is not training)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        start = time.perf_counter()
        model.fit(rows)
        fitted = time.perf_counter()
        outputs = [row.astype(np.float32) for row in model.outputs(scored)]
        answered = time.perf_counter() - fitted
    facts = {"seconds": round(fitted - start, 2), "texts_per_second": round(len(scored) / max(answered, 1e-9), 1)}
    return outputs, {**facts, "params": model.weights, "mb": round(4e-6 * model.weights, 3)}

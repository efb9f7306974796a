"""Answers of extractive reading: the best span of a row's outputs, and how right it is (CMRC2018's and SQuAD's F1)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property, lru_cache, partial
from typing import Any, Optional

import numpy as np

from .metrics import Metric, of_parts, share_of_sums
from .scored import Scored

START, END, FIRST, LAST = range(4)  # columns of a row's outputs: two logits, and the characters that a token covers
STARTS, ENDS = 1, 2  # bits of a token's label; 0: an answer may be there
_SHOWN = 120  # characters of a context before and behind an answer
_MASKED = -1e9  # a logit where no answer may be; finite in float32
_PAIRS = 20_000  # of an answer and another row, at most, that the gate's test draws from
# what CMRC2018's evaluation takes out (cmrc2018_evaluate.py), one character each
_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_UNITS = re.compile(r"[\u4e00-\u9fa5]|[^\W\u4e00-\u9fa5]+(?:[.,]\d+)*|[^\w\s]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True)
class ReadingSettings:
    """Settings of reading, `task.settings`.

    stride: tokens that neighbouring windows of a context share; None: a quarter of the room. max_answer_tokens: the
    longest answer. n_best: how many answers a prediction lists. null_threshold: "no answer" is given where its score is
    above the best answer's by more; None: never. The run finds it on dev, if that has unanswerable questions.
    language: how answers are compared, "zh" as CMRC2018 does or "en" as SQuAD does.
    """

    stride: Optional[int] = None  # noqa: UP045 (Python 3.9)
    max_answer_tokens: int = 50
    n_best: int = 3
    null_threshold: Optional[float] = None  # noqa: UP045
    language: str = "zh"

    def __post_init__(self) -> None:
        for name, least in (("max_answer_tokens", 1), ("n_best", 1), ("stride", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value <= 65_536:
                raise ValueError(f"{name} is {value}, expected {least} to 65536")
        if self.null_threshold is not None and not abs(self.null_threshold) < 1e9:
            raise ValueError(f"null_threshold is {self.null_threshold}, expected a number")
        if self.language not in ("zh", "en"):
            raise ValueError(f"language is {self.language!r:.20}, expected zh or en")


@dataclass(frozen=True)
class Gold:
    """What is right for a question: its context, and (text, first character) of every answer; none: unanswerable.

    A first character of None: the text is not in the context, and counts for the scores alone.
    """

    context: str
    answers: tuple[tuple[str, int | None], ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The answers' texts."""
        return tuple(text for text, _ in self.answers)


@lru_cache(maxsize=1 << 16)
def row_scores(answer: str, gold: tuple[str, ...], language: str = "zh") -> tuple[float, float]:
    """(exact match, F1) of an answer, the best over the right ones; without a right one "" scores 1, as in SQuAD 2.0.

    "zh", as CMRC2018's evaluation: lower case, its marks taken out; F1 of the longest run of units that both have,
    where a unit is a Chinese character, a word, a number or another mark. (There NLTK cuts what is not Chinese.)
    "en", as SQuAD's: lower case, no marks, no articles; F1 of the bags of words.
    """
    if not gold or not answer:
        return (float(not gold and not answer),) * 2
    plain, cut = (_plain_en, _words) if language == "en" else (_plain_zh, _units)
    own, units = plain(answer), cut(answer)
    shared = _shared_words if language == "en" else _longest_run
    values = [_f1(shared(units, other), len(units), len(other)) for other in map(cut, gold)]
    return float(any(own == plain(text) for text in gold)), max(values)


def _f1(shared: int, own: int, other: int) -> float:
    if not own or not other:
        return float(own == other)  # of marks alone
    return 2 * shared / (own + other)


def _plain_zh(text: str) -> str:
    return "".join(character for character in text.lower().strip() if character not in _MARKS)


def _units(text: str) -> list[str]:
    return _UNITS.findall(_plain_zh(text))


def _longest_run(one: list[str], other: list[str]) -> int:
    return SequenceMatcher(None, one, other, autojunk=False).find_longest_match(0, len(one), 0, len(other)).size


def _plain_en(text: str) -> str:
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def _words(text: str) -> list[str]:
    return _plain_en(text).split()


def _shared_words(one: list[str], other: list[str]) -> int:
    return sum((Counter(one) & Counter(other)).values())


def windows_of(output: np.ndarray) -> Iterator[np.ndarray]:
    """A row's windows, each [1 + tokens, 4]: its first token ([CLS], "no answer"), and the tokens of its context."""
    heads = np.flatnonzero(output[:, FIRST] < 0)
    return iter(np.split(output, heads[1:]))


def rows_of(outputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of each row, of rows one after another: the first window of each has the number 0."""
    return np.split(outputs, np.flatnonzero((outputs[:, FIRST] < 0) & (outputs[:, LAST] == 0))[1:])


def span_scores(tokens: np.ndarray, most: int) -> np.ndarray:
    """start + end of every span of at most `most` tokens, float64 [tokens, width]: from token i to token i + j.

    -inf where there is no such span, or one of its ends is a blank.
    """
    count, width = len(tokens), min(most, len(tokens))
    if not count:
        return np.zeros((0, 0))
    ends = np.arange(count)[:, None] + np.arange(width)
    there = ends < count
    ends = np.minimum(ends, count - 1)
    shown = tokens[:, LAST] > tokens[:, FIRST]
    there &= shown[:, None] & shown[ends]
    logits = tokens[:, [START, END]].astype(np.float64)
    return np.where(there, logits[:, 0, None] + logits[ends, 1], -np.inf)


def all_spans(output: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Every span of a row once, int64 [spans, 2] (characters), its best score in any window, and that of no answer."""
    found, nothing = [np.zeros((0, 3))], np.inf
    for window in windows_of(output):
        nothing, tokens = min(nothing, float(window[0, START]) + float(window[0, END])), window[1:]
        scores = span_scores(tokens, most)
        first, more = np.nonzero(scores > -np.inf)
        found.append(np.stack([tokens[first, FIRST], tokens[first + more, LAST], scores[first, more]], axis=1))
    table = np.concatenate(found)
    keys = table[:, 0].astype(np.int64) << 32 | table[:, 1].astype(np.int64)
    order = np.argsort(keys, kind="stable")  # they come nearly sorted
    begin = np.flatnonzero(np.diff(keys[order], prepend=-1))
    best = np.maximum.reduceat(table[order, 2], begin) if len(begin) else table[:, 2]
    return table[order[begin], :2].astype(np.int64), best, nothing


def best_span(output: np.ndarray, most: int) -> tuple[tuple[int, int] | None, float]:
    """The best span of a row's windows, and how far "no answer" (the lowest of the windows') is above it.

    None, and infinity, where the context holds no token.
    """
    best, span, nothing = -np.inf, None, np.inf
    for window in windows_of(output):
        nothing, tokens = min(nothing, float(window[0, START]) + float(window[0, END])), window[1:]
        scores = span_scores(tokens, most)
        if scores.size and scores.max() > best:
            best, (i, j) = float(scores.max()), divmod(int(scores.argmax()), scores.shape[1])
            span = int(tokens[i, FIRST]), int(tokens[i + j, LAST])
    return span, nothing - best


@dataclass
class ReadScored(Scored):
    """A reader's outputs on labelled rows: of each row [1 + tokens of each window, 4], beside its `Gold`.

    settings: of the kind of task.
    """

    settings: Any = None

    @cached_property
    def best(self) -> list[tuple[tuple[int, int] | None, float]]:
        """Of each row `best_span`, whether or not "no answer" is above it."""
        return [best_span(output, self.settings.max_answer_tokens) for output in self.outputs]

    @cached_property
    def spans(self) -> list[tuple[int, int] | None]:
        """The answer to each row; None: no answer."""
        most = self.settings.null_threshold
        return [None if most is not None and above > most else span for span, above in self.best]

    @cached_property
    def values(self) -> np.ndarray:
        """Exact match and F1 of each row: [rows, 2]."""
        return self.scores_of(self.spans, list(self.gold))

    def scores_of(self, spans: Sequence[tuple[int, int] | None], gold: Sequence[Gold]) -> np.ndarray:
        """Exact match and F1 of spans as the answers to rows: [rows, 2]."""
        pairs = zip(spans, gold)  # noqa: B905 (Python 3.9)
        texts = [("" if span is None else row.context[slice(*span)].strip(), row.texts) for span, row in pairs]
        return np.array([row_scores(*pair, self.settings.language) for pair in texts]).reshape(-1, 2)

    @cached_property
    def targets(self) -> np.ndarray:
        """Has each row an answer? int64 [rows]."""
        return np.array([bool(gold.answers) for gold in self.gold], dtype=np.int64)

    @property
    def varied(self) -> bool:
        """Do the right answers differ?"""
        return len({gold.answers for gold in self.gold}) > 1

    def take(self, chosen: np.ndarray) -> ReadScored:
        taken = super().take(chosen)
        taken.__dict__["best"] = [self.best[i] for i in np.arange(len(self.best))[chosen]]
        return taken

    def right(self, places: Sequence[int] | np.ndarray, groups: Any = None) -> ReadScored:
        """A model whose every answer is right, on the rows at `places`."""
        return self.answering([self.gold[i] for i in places], [right_span(self.gold[i]) for i in places], groups)

    def fair(self) -> ReadScored:
        """Of right answers, those of a fair teacher: every second row is right, the others are the whole context."""
        spans = [span if i % 2 else (0, len(self.gold[i].context)) for i, span in enumerate(self.spans)]
        return self.answering(list(self.gold), spans, self.groups)

    def answering(self, gold: Sequence[Gold], spans: Sequence[tuple[int, int] | None], groups: Any) -> ReadScored:
        """A model that gives these answers."""
        outputs = []
        for span in spans:
            nothing = 9.0 * (span is None)
            outputs.append(np.array([[nothing, nothing, -1, 0], [9 - nothing, 9 - nothing, *(span or (0, 1))]]))
        return ReadScored(outputs, gold, self.labels, groups, replace(self.settings, null_threshold=0.0))


def right_span(gold: Gold) -> tuple[int, int] | None:
    """Where the first answer that is in the context stands."""
    return next(((start, start + len(text)) for text, start in gold.answers if start is not None), None)


def window_labels(windows: Sequence[Any], gold: Gold | None) -> list[np.ndarray]:
    """Labels for the loss of each of a row's windows, (its length, its places): int64 [length].

    0 where an answer may be, IGNORED elsewhere; bit 1 where it starts, bit 2 where it ends, both at the first token of
    a window that does not hold it whole. None of these bits: no label, as where no window holds the answer.
    """
    from ..data.rows import IGNORED

    found, inside = [], []
    for length, place in windows:
        labels = np.full(length, IGNORED, dtype=np.int64)
        labels[place[:, 0]] = 0
        found.append(labels)
    if gold is None or (gold.answers and right_span(gold) is None):
        return found
    start, end = right_span(gold) or (0, 0)
    for _, place in windows:
        at = np.flatnonzero((place[:, 2] > start) & (place[:, 1] < end) & (place[:, 1] >= 0)).tolist()
        inside.append((place[at[0], 1], place[at[-1], 2], place[at[0], 0], place[at[-1], 0]) if at else None)
    parts = [part for part in inside if part is not None]
    whole = (min(part[0] for part in parts), max(part[1] for part in parts)) if parts else None
    if gold.answers and whole not in [part[:2] for part in parts]:
        return found
    for labels, part in zip(found, inside):  # noqa: B905 (Python 3.9)
        first, last = part[2:] if part is not None and part[:2] == whole else (0, 0)
        labels[first] |= STARTS
        labels[last] |= ENDS
    return found


def best_threshold(dev: ReadScored) -> float:
    """Of "no answer" against the best answer, with the highest mean F1; the middle between two rows' differences."""
    gold = list(dev.gold)
    spans, above = [span for span, _ in dev.best], np.array([above for _, above in dev.best])
    answered, nothing = dev.scores_of(spans, gold)[:, 1], dev.scores_of([None] * len(spans), gold)[:, 1]
    order = np.argsort(above, kind="stable")
    # with the threshold behind the first k of them, these k are answered
    totals = np.concatenate([[0], np.cumsum(answered[order])]) + np.concatenate(
        [[nothing.sum()], nothing.sum() - np.cumsum(nothing[order])]
    )
    edges = np.clip(above[order], -1e6, 1e6)
    between = np.concatenate([[edges[0] - 1], (edges[1:] + edges[:-1]) / 2, [edges[-1] + 1]])
    distinct = np.concatenate([[True], edges[1:] > edges[:-1], [True]])
    return round(float(between[int(np.where(distinct, totals, -1.0).argmax())]), 4)


def over_places(output: Any, labels: Any) -> Any:
    """Logits of start and end over the places where an answer may be: [batch, length, 2] to float32 [batch, 2, length].

    Elsewhere far below any logit.
    """
    hidden = (labels < 0).astype("float32").unsqueeze(1) * _MASKED
    return output.astype("float32").transpose([0, 2, 1]) + hidden


def excerpt(context: str, gold: Gold | None) -> str:
    """The part of a context around its answer, or its beginning."""
    span = None if gold is None else right_span(gold)
    first = max(0, (span or (0, 0))[0] - _SHOWN // 2)
    return "... " * (first > 0) + context[first : first + 2 * _SHOWN]


def _chance(scored: Any, column: int) -> float:
    """The better of two answers that need no reading: "no answer" to every question, and the whole context."""
    whole = scored.scores_of([(0, len(gold.context)) for gold in scored.gold], scored.gold)
    return float(
        max(scored.scores_of([None] * len(scored.gold), scored.gold)[:, column].mean(), whole[:, column].mean())
    )


def _null(scored: Any, rng: np.random.Generator, times: int, column: int) -> np.ndarray:
    """Scores of the same places in other rows' contexts, [times]: a mean over rows, each of a pair drawn at random."""
    rows = len(scored.gold)
    own = rng.integers(rows, size=_PAIRS)
    other = (own + rng.integers(1, max(2, rows), size=_PAIRS)) % rows
    values = scored.scores_of([scored.spans[i] for i in own], [scored.gold[i] for i in other])[:, column]
    return np.array([values[rng.integers(_PAIRS, size=rows)].mean() for _ in range(times)])


def _metric(name: str, column: int) -> Metric:
    def parts(scored: Any) -> np.ndarray:
        return np.stack([scored.values[:, column], np.ones(len(scored.values))], axis=1)

    chance, null = partial(_chance, column=column), partial(_null, column=column)
    return of_parts(name, "reading", parts, share_of_sums, chance, null)


READING_METRICS = (_metric("answer_f1", 1), _metric("exact_match", 0))

"""The units that augmentation replaces: words of a text, what kind they are, and their word pieces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.tokenization import WordPieceTokenizer
from ..data.words import cut_words

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
# A word is replaced by one of its own kind; what is of no kind (punctuation, symbols, `T恤`) is left alone.
_KINDS = {
    "chinese": re.compile(f"[{_CHINESE}]+"),
    "letters": re.compile("[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]+"),
    "number": re.compile("[0-9]+"),
}
_ENGLISH = re.compile(r"[^\W_](?:\S*[^\W_])?")  # between spaces, from the first letter or digit to the last
_MAX_PIECES = 8  # longer words (links, serial numbers) are not predicted


@dataclass(frozen=True)
class Word:
    """A replaceable word: text[start:end], of a kind; its pieces are ids[first:last], or it is not predicted."""

    start: int
    end: int
    kind: str
    first: int
    last: int

    @property
    def predictable(self) -> bool:
        return self.first < self.last


@dataclass(frozen=True)
class Text:
    """A text, its token ids without special tokens, and its replaceable words in order."""

    text: str
    ids: list[int]
    words: list[Word]

    def with_words(self, replacements: dict[int, str]) -> str:
        """The text with the words at the given places replaced; everything else stays as it is."""
        parts, end = [], 0
        for index in sorted(replacements):
            word = self.words[index]
            parts += [self.text[end : word.start], replacements[index]]
            end = word.end
        return "".join([*parts, self.text[end:]])


def kind_of(word: str) -> str | None:
    """The kind of a word: "chinese", "letters" or "number"; None for all others."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(word)), None)


def analyse(texts: Sequence[str], tokenizer: WordPieceTokenizer, language: str) -> list[Text]:
    """Cuts texts into words: as jieba cuts them (zh), or at spaces, without the punctuation around them (en).

    English words of several pieces are not predicted (TinyBERT, arXiv 1909.10351, algorithm 1).
    """
    if not texts:
        return []
    spans = _chinese_spans(texts) if language == "zh" else [_english_spans(text) for text in texts]
    most = _MAX_PIECES if language == "zh" else 1
    continues = np.array([token.startswith("##") for token in tokenizer.tokens])
    result = []
    for text, words, encoding in zip(texts, spans, tokenizer.encode_with_offsets(texts), strict=True):
        words = [(start, end, kind_of(text[start:end])) for start, end in words]
        pieces = _pieces([(start, end) for start, end, _ in words], encoding, continues)
        found = [
            Word(start, end, kind, first, last if last - first <= most else first)
            for (start, end, kind), (first, last) in zip(words, pieces, strict=True)
            if kind is not None
        ]
        result.append(Text(text, encoding.ids, found))
    return result


def word_texts(texts: Sequence[str], language: str) -> set[str]:
    """The different replaceable words of the texts, in lower case."""
    spans = _chinese_spans(texts) if language == "zh" else [_english_spans(text) for text in texts]
    words = {text[start:end] for text, row in zip(texts, spans, strict=True) for start, end in row}
    return {word.lower() for word in words if kind_of(word)}


def _chinese_spans(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    spans = []
    for lengths in cut_words(list(texts)):
        ends = np.cumsum(lengths, dtype=np.int64).tolist()
        spans.append(list(zip([0, *ends], ends, strict=False)))
    return spans


def _english_spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in _ENGLISH.finditer(text)]


def _pieces(spans: list[tuple[int, int]], encoding, continues: np.ndarray) -> list[tuple[int, int]]:
    """The range of pieces that make up each span; an empty one where pieces and words have other borders."""
    starts_at, ends_at = {}, {}
    for index, (start, end) in enumerate(encoding.offsets):
        starts_at.setdefault(start, index)
        ends_at[end] = index + 1
    result = []
    for start, end in spans:
        first, last = starts_at.get(start, len(encoding.ids)), ends_at.get(end, 0)
        ids = encoding.ids
        whole = first < last and not continues[ids[first]] and (last == len(ids) or not continues[ids[last]])
        result.append((first, last) if whole else (0, 0))
    return result

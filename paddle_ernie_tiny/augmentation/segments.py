"""The words of a text that augmentation replaces: their places, their scripts and their word pieces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ..data.tokenization import WordPieceTokenizer
from ..data.words import cut_words

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
# A word is replaced by one of its own script; what has none (punctuation, symbols, `T恤`) is left alone.
_SCRIPTS = {
    "chinese": re.compile(f"[{_CHINESE}]+"),
    "letters": re.compile("[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]+"),
    "number": re.compile("[0-9]+"),
}
_ENGLISH = re.compile(r"[^\W_](?:\S*[^\W_])?")  # between spaces, from the first letter or digit to the last
_MAX_PIECES = 8  # longer words (links, serial numbers) are not predicted


@dataclass(frozen=True, eq=False)
class Word:
    """A replaceable word, where it starts in its text, its script, and the token ids of the whole text.

    Its pieces are ids[first:last]; a word that is not predicted has none.
    """

    text: str
    start: int
    script: str
    ids: list[int]
    first: int
    last: int

    @property
    def pieces(self) -> int:
        """How many pieces it has; 0 if it is not predicted."""
        return self.last - self.first


@dataclass(frozen=True)
class Text:
    """A text and its replaceable words in order."""

    text: str
    words: list[Word]

    def with_words(self, replacements: dict[Word, str]) -> str:
        """The text with the given ones of its words replaced; everything else stays as it is."""
        text = self.text
        for word in reversed(self.words):
            if word in replacements:
                text = text[: word.start] + replacements[word] + text[word.start + len(word.text) :]
        return text


def script_of(word: str) -> str | None:
    """The script of a word: "chinese", "letters" or "number"; None for all others."""
    return next((script for script, pattern in _SCRIPTS.items() if pattern.fullmatch(word)), None)


def analyse(texts: Sequence[str], tokenizer: WordPieceTokenizer, language: str) -> list[Text]:
    """Cuts texts into words: as jieba cuts them (zh), or at spaces, without the punctuation around them (en).

    English words of several pieces are not predicted (TinyBERT, arXiv 1909.10351, algorithm 1), nor are words whose
    borders are not those of their pieces.
    """
    most = _MAX_PIECES if language == "zh" else 1
    cuts, encodings, result = cut_texts(texts, language), tokenizer.encode_with_offsets(texts), []
    for text, cut, encoding in zip(texts, cuts, encodings, strict=True):
        ids, words = encoding.ids, []
        first_at = {start: index for index, (start, _) in reversed(list(enumerate(encoding.offsets)))}
        last_at = {end: index + 1 for index, (_, end) in enumerate(encoding.offsets)}
        for start, word, script in cut:
            first, last = first_at.get(start, len(ids)), last_at.get(start + len(word), 0)
            borders = [tokenizer.tokens[piece] for piece in (*ids[first : first + 1], *ids[last : last + 1])]
            if not first < last <= first + most or any(piece.startswith("##") for piece in borders):
                first = last = 0
            words.append(Word(word, start, script, ids, first, last))
        result.append(Text(text, words))
    return result


def cut_texts(texts: Sequence[str], language: str) -> list[list[tuple[int, str, str]]]:
    """(start, word, script) of each text's words that have a script, as `analyse` cuts them."""
    if language == "en":
        cut = [[(match.start(), match.group()) for match in _ENGLISH.finditer(text)] for text in texts]
    else:
        spans = [pairwise(accumulate(lengths, initial=0)) for lengths in cut_words(list(texts))]
        cut = [[(start, text[start:end]) for start, end in row] for text, row in zip(texts, spans, strict=True)]
    return [[(start, word, script) for start, word in row if (script := script_of(word))] for row in cut]

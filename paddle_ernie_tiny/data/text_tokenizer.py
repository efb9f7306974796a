"""What every tokenizer does: texts to rows of ids with special tokens, cut to a length, and words with their places.

Built on Rust `tokenizers`. `tokenization.py` has the word pieces of BERT, `byte_level.py` the byte pairs of RoBERTa.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tokenizers import Encoding, Tokenizer

from ..errors import InputError
from .windows import numbered, windows

ROLES = ("pad", "unk", "cls", "sep", "mask")
_CHARACTERS = 1 << 16  # of a row's text that are looked at: far more than its tokens need, and memory stays bounded


@dataclass
class Encoded:
    """Token ids without padding: a list for each row, or for each window of a row that is longer.

    cut: bool of each row, was a part of it left out? rows: int64 [windows], which row each window is of; None: every
    row is one window.
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    cut: list[bool]
    rows: np.ndarray | None = None

    @property
    def truncated(self) -> int:
        """How many rows were cut."""
        return sum(self.cut)


class TextTokenizer:
    """Text to token ids, by a backend of `tokenizers` that adds no special tokens. Instances can be pickled.

    `tokens` is the vocabulary by id. Special tokens in a text count as themselves.
    """

    special: ClassVar[tuple[str, ...]]  # the tokens of ROLES
    between: ClassVar[int] = 1  # separators between the texts of a pair
    segments: ClassVar[int] = 2  # of a pair; 1: its second text has the same token type as the first
    blank: ClassVar[str] = ""  # what a token begins with that follows a blank; empty: tokens do not show it

    def __init__(self, backend: Tokenizer, tokens: Sequence[str]):
        self.tokens, self.vocab_size = list(tokens), len(tokens)
        self._backend = backend
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = map(self.tokens.index, self.special)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the ids: equal means equal ids for any text."""
        raise NotImplementedError

    @property
    def never_cut(self) -> set[str]:
        """Special tokens, and words that were added to the vocabulary."""
        raise NotImplementedError

    @property
    def pieces(self) -> list[str]:
        """Each token as a part of a word's text, with `##` before one that continues a word."""
        return self.tokens

    def save(self, folder: str | Path) -> None:
        """Writes `tokenizer.json` and the vocabulary's own files, each atomically."""
        raise NotImplementedError

    def options(self, classes: str) -> dict[str, Any]:
        """The content of `tokenizer_config.json`, for PaddleNLP; `classes`: how the model's class begins ("Bert")."""
        return {f"{role}_token": name for role, name in zip(ROLES, self.special)}  # noqa: B905 (Python 3.9)

    def keep(self, ids: Sequence[int]) -> TextTokenizer:
        """A tokenizer with these of its tokens, ascending, under new ids."""
        raise NotImplementedError

    def needed(self, ids: set[int]) -> set[int]:
        """The ids without which those of `ids` would not come about; these among them."""
        return ids

    def encode(
        self,
        texts: Sequence[str],
        texts_b: Sequence[str] | None = None,
        max_length: int = 128,
        long_text: str = "truncate",
    ) -> Encoded:
        """`[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, at most `max_length` tokens per row, not padded.

        A second text is cut at its end to half of the room, or to what the first leaves free. `long_text` says what
        becomes of a first text that is longer than the rest of the room: "truncate" cuts it at its end; "head_tail"
        keeps its first quarter and last three quarters of that room; "windows" makes several rows, each with the
        whole second text. Of a text, only 65,536 characters are looked at: the first, or the first and last half.
        Raises InputError for a `max_length` without room for text, ValueError for lists of unequal length.
        """
        room = _room(max_length, 2 + (0 if texts_b is None else self.between))
        if texts_b is not None and len(texts) != len(texts_b):
            raise ValueError(f"{len(texts)} first texts but {len(texts_b)} second texts")
        first = self.encode_plain(self._begin(texts, ends=long_text == "head_tail"))
        second = None if texts_b is None else self.encode_plain(self._begin(texts_b))
        input_ids, token_types, cut, counts = [], [], [], []
        for row, a in enumerate(first):
            b = [] if second is None else second[row]
            keep_b = min(len(b), max(room // 2, room - len(a)))  # half of the room, or what a leaves free
            parts = _parts(a, room - keep_b, long_text)
            tail = [] if second is None else [self.sep_id] * (self.between - 1) + [*b[:keep_b], self.sep_id]
            for part in parts:
                input_ids.append([self.cls_id, *part, self.sep_id, *tail])
                token_types.append([0] * (len(part) + 2) + [self.segments - 1] * len(tail))
            counts.append(len(parts))
            left_out = keep_b < len(b) or (long_text != "windows" and len(a) > room - keep_b)
            cut.append(left_out or self._too_long(texts[row]) or (texts_b is not None and self._too_long(texts_b[row])))
        return Encoded(input_ids, token_types, cut, numbered(counts))

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens and uncut."""
        return [row.ids for row in self._backend.encode_batch_fast(encodable(texts), add_special_tokens=False)]

    def encode_words(
        self, rows: Sequence[Sequence[str]], max_length: int = 128, beside: TextTokenizer | None = None
    ) -> tuple[Encoded, list[np.ndarray]]:
        """`[CLS] words [SEP]` for the windows of rows of words, and the places of first pieces: int64 [words] each.

        A row that is too long has several windows that overlap; a window has places for the words that it answers
        for, so that a row's windows together have one for every word. Every word has at least one piece ([UNK] for
        one that the tokenizer drops, such as a control character); one that is longer than a window is cut. With
        `beside`, the windows are over the same words as those of that tokenizer beside this one.
        Raises InputError for a `max_length` without room for text.
        """
        room = _room(max_length, 2)
        flat = [word for words in rows for word in words]
        pieces, others = (
            iter(() if side is None else side._encode_each_word(side._begin(flat))) for side in (self, beside)
        )
        input_ids, places, cut, counts = [], [], [], []
        for words in rows:
            whole = [next(pieces) or [self.unk_id] for _ in words]
            sizes = [min(room, len(ids)) for ids in whole]
            fitting = sizes if beside is None else [max(size, min(room, len(next(others)))) for size in sizes]
            spans = windows(fitting, room)
            for span in spans:
                kept = [ids[:room] for ids in whole[span.first : span.end]]
                starts = np.cumsum([1, *sizes[span.first : span.end]], dtype=np.int64)
                input_ids.append([self.cls_id, *chain.from_iterable(kept), self.sep_id])
                places.append(starts[span.own - span.first : span.own_end - span.first])
            counts.append(len(spans))
            cut.append(any(len(ids) > room for ids in whole))
        return Encoded(input_ids, [[0] * len(ids) for ids in input_ids], cut, numbered(counts)), places

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoding]:
        """As `encode_plain`, but with `.ids` and `.offsets`: each token's (start, end) in the text, without blanks."""
        return self._backend.encode_batch(encodable(texts), add_special_tokens=False)

    def _encode_each_word(self, words: Sequence[str]) -> list[list[int]]:
        return self.encode_plain(words)

    def _begin(self, texts: Sequence[str], ends: bool = False) -> Sequence[str]:
        if isinstance(texts, str) or all(len(text) <= _CHARACTERS for text in texts):
            return texts
        return [text if len(text) <= _CHARACTERS else self._shortened(text, ends) for text in texts]

    def _shortened(self, text: str, ends: bool) -> str:
        text, half = self._stripped(text), _CHARACTERS // 2
        return f"{text[:half]} {text[-half:]}" if ends and len(text) > _CHARACTERS else text[:_CHARACTERS]

    def _too_long(self, text: str) -> bool:
        return len(text) > _CHARACTERS and len(self._stripped(text)) > _CHARACTERS

    def _stripped(self, text: str) -> str:
        return text if self.blank else text.strip()  # where blanks are no tokens


def _room(max_length: int, special: int) -> int:
    if max_length <= special:
        raise InputError(f"max_length {max_length} leaves no room for text", remedy="give at least 8 tokens")
    return max_length - special


def _parts(ids: list[int], room: int, long_text: str) -> list[list[int]]:
    """What is read of a text's ids where there is room for `room` of them: one list, or one for each window."""
    if len(ids) <= room or long_text == "truncate":
        return [ids[:room]]
    if long_text == "head_tail":
        return [ids[: room // 4] + ids[len(ids) - room + room // 4 :]]
    return [ids[span.first : span.end] for span in windows([1] * len(ids), room)]


def encodable(texts: Sequence[str]) -> list[str]:
    """Texts that can be passed to Rust: half a surrogate pair (JSON can carry one) is dropped, as PaddleNLP does."""
    if isinstance(texts, str):
        raise TypeError("expected a list of texts, got one string")
    return [text.encode(errors="ignore").decode() for text in texts]

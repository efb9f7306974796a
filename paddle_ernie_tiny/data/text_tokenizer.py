"""What every tokenizer does: texts to rows of ids with special tokens, cut to a length, and words with their places.

Built on Rust `tokenizers`. `tokenization.py` has the word pieces of BERT, `byte_level.py` the byte pairs of RoBERTa.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tokenizers import Encoding, Tokenizer

from ..errors import InputError

ROLES = ("pad", "unk", "cls", "sep", "mask")
_CHARACTERS = 1 << 16  # of a row's text that are looked at: far more than its tokens need, and memory stays bounded


@dataclass
class Encoded:
    """Rows of token ids without padding; `truncated` counts the rows that were cut."""

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    truncated: int


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

    def encode(self, texts: Sequence[str], texts_b: Sequence[str] | None = None, max_length: int = 128) -> Encoded:
        """`[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, at most `max_length` tokens per row, not padded.

        A pair loses tokens from the end of whichever is longer, from b if they are equally long. Of a text, only the
        first 65,536 characters are looked at.
        Raises InputError for a `max_length` without room for text, ValueError for lists of unequal length.
        """
        room = max_length - 2 - (0 if texts_b is None else self.between)
        if room < 1:
            raise InputError(f"max_length {max_length} leaves no room for text", remedy="give at least 8 tokens")
        if texts_b is not None and len(texts) != len(texts_b):
            raise ValueError(f"{len(texts)} first texts but {len(texts_b)} second texts")
        first, second = (
            self.encode_plain(self._begin(texts)),
            None if texts_b is None else self.encode_plain(self._begin(texts_b)),
        )
        encoded = Encoded([], [], 0)
        for row, a in enumerate(first):
            b = [] if second is None else second[row]
            keep_b = min(len(b), max(room // 2, room - len(a)))  # half of the room, or what a leaves free
            keep_a = min(len(a), room - keep_b)
            encoded.truncated += keep_a + keep_b < len(a) + len(b)
            head = [self.cls_id, *a[:keep_a], self.sep_id]
            tail = [] if second is None else [self.sep_id] * (self.between - 1) + [*b[:keep_b], self.sep_id]
            encoded.input_ids.append(head + tail)
            encoded.token_type_ids.append([0] * len(head) + [self.segments - 1] * len(tail))
        return encoded

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens and uncut."""
        return [row.ids for row in self._backend.encode_batch_fast(encodable(texts), add_special_tokens=False)]

    def encode_words(self, rows: Sequence[Sequence[str]], max_length: int = 128) -> tuple[Encoded, list[np.ndarray]]:
        """`[CLS] words [SEP]` for rows of words, and the place of each word's first piece: int64 [words].

        Every word has at least one piece ([UNK] for one that the tokenizer drops, such as a control
        character). A row that is too long loses whole words from its end; those have no place.
        """
        pieces = iter(self._encode_each_word(self._begin([word for words in rows for word in words])))
        input_ids, places, truncated = [], [], 0
        for words in rows:
            row, starts = [self.cls_id], []
            of_words = [next(pieces) or [self.unk_id] for _ in words]
            for ids in of_words:
                if len(row) + len(ids) >= max_length:
                    break
                starts.append(len(row))
                row += ids
            truncated += len(starts) < len(words)
            input_ids.append([*row, self.sep_id])
            places.append(np.array(starts, dtype=np.int64))
        return Encoded(input_ids, [[0] * len(row) for row in input_ids], truncated), places

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoding]:
        """As `encode_plain`, but with `.ids` and `.offsets`: each token's (start, end) in the text, without blanks."""
        return self._backend.encode_batch(encodable(texts), add_special_tokens=False)

    def _encode_each_word(self, words: Sequence[str]) -> list[list[int]]:
        return self.encode_plain(words)

    def _begin(self, texts: Sequence[str]) -> Sequence[str]:
        if isinstance(texts, str) or all(len(text) <= _CHARACTERS for text in texts):
            return texts
        return [text if len(text) <= _CHARACTERS else self._stripped(text)[:_CHARACTERS] for text in texts]

    def _stripped(self, text: str) -> str:
        return text if self.blank else text.strip()  # where blanks are no tokens


def encodable(texts: Sequence[str]) -> list[str]:
    """Texts that can be passed to Rust: half a surrogate pair (JSON can carry one) is dropped, as PaddleNLP does."""
    if isinstance(texts, str):
        raise TypeError("expected a list of texts, got one string")
    return [text.encode(errors="ignore").decode() for text in texts]

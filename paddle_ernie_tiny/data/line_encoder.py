"""Lines of text to arrays of token ids, by several processes if asked."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np

from ..processes import Workers
from .tokenization import WordPieceTokenizer
from .words import cut_words, word_starts

_AHEAD = 4  # batches per process that wait or are worked on; they bound memory


@dataclass
class Block:
    """Encoded lines.

    tokens: [tokens], all sequences one after another; lengths: int64 [sequences].
    starts: bool [tokens], whether each starts a word, or None. lines, size: how many lines and UTF-8 bytes.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray | None
    lines: int
    size: int


@dataclass
class LineEncoder:
    """Cuts lines into sequences [CLS] tokens [SEP] of at most `max_length` tokens. Can be pickled."""

    tokenizer: WordPieceTokenizer
    max_length: int
    word_boundaries: bool = False

    @property
    def dtype(self) -> type:
        """Of the token ids: two bytes if the vocabulary fits."""
        return np.uint16 if self.tokenizer.vocab_size <= 1 << 16 else np.int32

    def __call__(self, lines: list[str]) -> Block:
        """One batch of lines. A line that is too long becomes several sequences."""
        if self.word_boundaries:
            encoded = self.tokenizer.encode_with_offsets(lines)
            ids = [encoding.ids for encoding in encoded]
            flags = map(word_starts, encoded, cut_words(lines))
            # a sequence's first token starts a word, even if the line was cut inside one
            marks = [[True, True, *piece[1:], True] for line in flags for piece in self._pieces(line)]
            starts = np.fromiter(chain.from_iterable(marks), dtype=np.bool_)
        else:
            ids, starts = self.tokenizer.encode_plain(lines), None
        first, last = self.tokenizer.cls_id, self.tokenizer.sep_id
        rows = [[first, *piece, last] for line in ids for piece in self._pieces(line)]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        tokens: np.ndarray = np.fromiter(chain.from_iterable(rows), dtype=self.dtype, count=int(lengths.sum()))
        size = sum(len(line.encode(errors="ignore")) + 1 for line in lines)
        return Block(tokens, lengths, starts, len(lines), size)

    def _pieces(self, line: list) -> Iterator[list]:
        room = self.max_length - 2
        for start in range(0, len(line), room):
            yield line[start : start + room]


def encode_in_order(
    batches: Iterable[list[str]], encoder: LineEncoder, processes: int | None = None
) -> Iterator[Block]:
    """The block of every batch, in the batches' order; with `processes` above 1, that many share the work."""
    if not processes or processes < 2:
        yield from map(encoder, batches)
        return
    pickled = pickle.dumps(encoder)
    with Workers(processes, {"TOKENIZERS_PARALLELISM": "false"}) as workers:  # the processes are the parallelism
        waiting: deque[Future[Block]] = deque()
        for batch in batches:
            waiting.append(workers.submit(_encode, pickled, batch))
            if len(waiting) >= _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_unpickled = lru_cache(maxsize=1)(pickle.loads)


def _encode(encoder: bytes, lines: list[str]) -> Block:
    return _unpickled(encoder)(lines)

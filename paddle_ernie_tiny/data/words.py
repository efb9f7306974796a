"""Which tokens start a word of jieba's, for whole-word masking of Chinese."""

from __future__ import annotations

import logging
import multiprocessing
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice

from tokenizers import Encoding

from .tokenization import WordPieceTokenizer


def word_starts(
    batches: Iterable[list[str]], tokenizer: WordPieceTokenizer, num_proc: int | None = None
) -> Iterator[tuple[list[Encoding], list[list[bool]]]]:
    """Yield, for every batch of texts, its encodings and for each token whether it starts a word.

    With `num_proc` above 1, jieba runs in that many processes; the order stays.
    """
    if not num_proc or num_proc < 2:
        yield from (_flag(tokenizer, batch, cut_words(batch)) for batch in batches)
        return
    # Fresh processes: forking one that has Paddle's or the tokenizer's threads can lock up.
    batches = iter(batches)
    with multiprocessing.get_context("spawn").Pool(num_proc) as pool:
        # Pool.imap would read all batches ahead; a few at a time keep memory small.
        while group := list(islice(batches, 4 * num_proc)):
            for batch, words in zip(group, pool.map(cut_words, group, chunksize=1), strict=True):
                yield _flag(tokenizer, batch, words)


def cut_words(texts: list[str]) -> list[list[int]]:
    """The lengths in characters of each text's words, from jieba's dictionary.

    Its model for unknown words is off: it is slow, and what is in no dictionary is masked by character.
    """
    jieba = _jieba()
    return [[len(word) for word in jieba.cut(text, HMM=False)] for text in texts]


def word_counts() -> dict[str, int]:
    """jieba's dictionary: how often each word occurs; beginnings of words stand in it too, with a count of 0."""
    jieba = _jieba()
    jieba.initialize()
    return jieba.dt.FREQ


def jieba_version() -> str:
    """Which dictionary the words are from."""
    return _jieba().__version__


def _flag(tokenizer, batch, words) -> tuple[list[Encoding], list[list[bool]]]:
    encodings = tokenizer.encode_with_offsets(batch)
    return encodings, [_flags(encoding, lengths) for encoding, lengths in zip(encodings, words, strict=True)]


def _flags(encoding: Encoding, lengths: list[int]) -> list[bool]:
    word_of = [index for index, length in enumerate(lengths) for _ in range(length)]
    words = [word_of[start] for start, _ in encoding.offsets]
    return [index == 0 or word != words[index - 1] for index, word in enumerate(words)]


def _jieba():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba imports the deprecated pkg_resources
        import jieba
    jieba.setLogLevel(logging.WARNING)
    return jieba

"""Words of Chinese as jieba cuts them, and which tokens start one, for whole-word masking of Chinese."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from types import ModuleType

from tokenizers import Encoding


def cut_words(texts: Sequence[str]) -> list[list[tuple[str, int, int]]]:
    """(word, start, end) of each text's words, from jieba's dictionary.

    Its model for unknown words is off: it is slow, and what is in no dictionary is masked by character.
    """
    jieba = _jieba()
    return [list(jieba.tokenize(text, HMM=False)) for text in texts]


def word_counts() -> dict[str, int]:
    """jieba's dictionary: how often each word occurs; beginnings of words are in it too, with a count of 0."""
    jieba = _jieba()
    jieba.initialize()
    return jieba.dt.FREQ


def word_starts(encoding: Encoding, words: list[tuple[str, int, int]]) -> list[bool]:
    """For each token of a text whether it starts a word; `words` are the text's as `cut_words` gives them."""
    word_of = [index for index, (word, _, _) in enumerate(words) for _ in word]
    of_tokens = [word_of[start] for start, _ in encoding.offsets]
    return [before != word for before, word in zip([-1, *of_tokens], of_tokens, strict=False)]


def _jieba() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba imports the deprecated pkg_resources
        import jieba
    jieba.setLogLevel(logging.WARNING)
    return jieba

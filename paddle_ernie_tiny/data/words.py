"""Words of Chinese as jieba cuts them, and which tokens start one, for whole-word masking of Chinese."""

from __future__ import annotations

import logging
import warnings
from types import ModuleType

from tokenizers import Encoding


def cut_words(texts: list[str]) -> list[list[int]]:
    """The lengths in characters of each text's words, from jieba's dictionary.

    Its model for unknown words is off: it is slow, and what is in no dictionary is masked by character.
    """
    jieba = _jieba()
    return [[len(word) for word in jieba.cut(text, HMM=False)] for text in texts]


def word_counts() -> dict[str, int]:
    """jieba's dictionary: how often each word occurs; beginnings of words are in it too, with a count of 0."""
    jieba = _jieba()
    jieba.initialize()
    return jieba.dt.FREQ


def word_starts(encoding: Encoding, lengths: list[int]) -> list[bool]:
    """For each token of a text whether it starts a word; `lengths` are its words' as `cut_words` gives them."""
    word_of = [index for index, length in enumerate(lengths) for _ in range(length)]
    words = [word_of[start] for start, _ in encoding.offsets]
    return [index == 0 or word != words[index - 1] for index, word in enumerate(words)]


def _jieba() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba imports the deprecated pkg_resources
        import jieba
    jieba.setLogLevel(logging.WARNING)
    return jieba

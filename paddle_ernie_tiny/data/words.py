"""Words of Chinese text, by jieba's dictionary."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from types import ModuleType


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


def _jieba() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba imports the deprecated pkg_resources
        import jieba
    jieba.setLogLevel(logging.WARNING)
    return jieba

"""A reader's outputs, which tests write by hand: a token for each character of a short context."""

import numpy as np

from paddle_ernie_tiny.kinds import KINDS

READING = KINDS["reading"]
LABELS = ["start", "end"]
CONTEXT = "甲乙丙丁戊己"


def outputs(*windows):
    """Of windows (null, [(start, end)] of the tokens from `first` on): a token for each character."""
    parts = []
    for number, (null, first, logits) in enumerate(windows):
        parts.append([null / 2, null / 2, -1, number])
        parts += [[start, end, first + i, first + i + 1] for i, (start, end) in enumerate(logits)]
    return np.array(parts, dtype=np.float32)


def reading(**settings):
    return READING.with_settings(settings)

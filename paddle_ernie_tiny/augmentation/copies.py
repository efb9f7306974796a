"""Copies of rows that differ from their original and from one another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..data.tokenization import WordPieceTokenizer
from .segments import script_of

_ATTEMPTS = 4
_SAMPLES = 20


@dataclass(frozen=True)
class AugmentationTeacher:
    """What an augmenter may ask: `masked_lm` loads the teacher's masked language model, or gives None without one."""

    masked_lm: Callable[[], Any | None]
    tokenizer: WordPieceTokenizer
    model_fingerprint: str


@dataclass
class Augmented:
    """Augmented rows, without their originals, in the originals' order.

    origin: for each row, the place of its original among the given rows. given_up: copies that were asked for
    and not made. samples: twenty before/after pairs, spread over the rows, as mappings of strings.
    """

    examples: list
    origin: list[int]
    given_up: int
    samples: list[dict[str, str]]

    @classmethod
    def of(cls, originals: Sequence, copies: Sequence[list], fields: Sequence[str], wanted: int) -> Augmented:
        """From the copies of each original, of which there should be `wanted`: values of some of its fields."""
        origin = [index for index, values in enumerate(copies) for _ in values]
        made = [
            replace(original, **dict(zip(fields, copy, strict=False)))
            for original, values in zip(originals, copies, strict=True)
            for copy in values
        ]
        firsts = np.unique(origin, return_index=True)[1]  # one copy of each original
        picked = np.unique(np.linspace(0, len(firsts) - 1, min(_SAMPLES, len(firsts))).round().astype(int))
        samples = [_sample(originals[origin[i]], made[i]) for i in firsts[picked]]
        return cls(made, origin, wanted * len(originals) - len(made), samples)


def distinct_copies(
    originals: Sequence[Hashable],
    copies: int,
    probability: float,
    draw: Callable[[list[tuple[int, int]], float, int], Sequence[Any]],
) -> list[list]:
    """Up to `copies` values for each original, all different from it and from one another.

    `draw([(row, copy)], probability, attempt)` proposes values. What is a repetition is drawn again, up to three
    times, with a probability that rises to 1 in equal steps; then the copy is given up.
    """
    made: list[dict[int, Any]] = [{} for _ in originals]
    pending = [(row, copy) for row in range(len(originals)) for copy in range(copies)]
    for attempt in range(_ATTEMPTS):
        raised = probability + (1 - probability) * attempt / (_ATTEMPTS - 1)
        repeated = []
        for (row, copy), value in zip(pending, draw(pending, raised, attempt), strict=True):
            if value == originals[row] or value in made[row].values():
                repeated.append((row, copy))
            else:
                made[row][copy] = value
        pending = repeated
    return [[values[copy] for copy in sorted(values)] for values in made]


def _sample(before: Any, after: Any) -> dict[str, str]:
    sample = {"before": _shown(before.text), "after": _shown(after.text)}
    return sample if before.text_b is None else {**sample, "before_b": before.text_b, "after_b": after.text_b}


def _shown(text: str | list[str]) -> str:
    words = [text] if isinstance(text, str) else text
    return ("" if any(script_of(word) == "chinese" for word in words) else " ").join(words)

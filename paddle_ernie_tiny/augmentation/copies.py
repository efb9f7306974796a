"""Copies of rows that differ from their original and from one another, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_ATTEMPTS = 4
_SAMPLES = 20


@dataclass
class Augmented:
    """Augmented rows, without their originals, in the originals' order.

    origin: for each row, the place of its original among the given rows. given_up: copies that were asked for
    and not made. samples: twenty before/after pairs, spread over the rows, as mappings of strings.
    """

    examples: list
    origin: list[int]
    given_up: int
    samples: list[dict]


def distinct_copies(
    originals: Sequence[Hashable],
    copies: int,
    probability: float,
    draw: Callable[[int, int, float, int], Hashable],
    prepare: Callable[[list[tuple[int, int]], float, int], Any] | None = None,
) -> list[list]:
    """Up to `copies` values for each original, all different from it and from one another.

    `draw(row, copy, probability, attempt)` proposes a value. What is a repetition is drawn again, up to three
    times, with a probability that rises to 1 in equal steps; then the copy is given up. Before each attempt,
    `prepare` is told of the copies [(row, copy)] that will be drawn.
    """
    made = [{} for _ in originals]
    pending = [(row, copy) for row in range(len(originals)) for copy in range(copies)]
    for attempt in range(_ATTEMPTS):
        raised = probability + (1 - probability) * attempt / (_ATTEMPTS - 1)
        if prepare and pending:
            prepare(pending, raised, attempt)
        repeated = []
        for row, copy in pending:
            value = draw(row, copy, raised, attempt)
            if value == originals[row] or value in made[row].values():
                repeated.append((row, copy))
            else:
                made[row][copy] = value
        pending = repeated
    return [[values[copy] for copy in sorted(values)] for values in made]


def spread_samples(origin: Sequence[int], describe: Callable[[int], dict]) -> list[dict]:
    """`describe(i)` of twenty augmented rows i: one of each of twenty originals from first to last, or of all."""
    first = {}
    for index, row in enumerate(origin):
        first.setdefault(row, index)
    places = list(first.values())
    picked = np.unique(np.linspace(0, len(places) - 1, min(_SAMPLES, len(places))).round().astype(int))
    return [describe(places[i]) for i in picked]

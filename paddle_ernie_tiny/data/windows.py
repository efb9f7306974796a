"""Overlapping windows of what is longer than a model takes at once, and which window answers for which part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LONG_TEXTS = ("truncate", "head_tail", "windows")  # what becomes of a text that is too long


@dataclass(frozen=True)
class Span:
    """A window over the words `first` to before `end`; it answers for those from `own` to before `own_end`."""

    first: int
    end: int
    own: int
    own_end: int


@dataclass(frozen=True)
class Window:
    """The token ids of a row for a forward pass, or of a part of one that is too long.

    places: of a tagger, the first pieces of the words that this window answers for.
    """

    input_ids: list[int]
    token_type_ids: list[int]
    places: np.ndarray | None = None


@dataclass(frozen=True)
class Row:
    """A tokenised row of raw text, by its windows; of a tagger also its unit. `truncated`: something was left out."""

    text: str
    windows: list[Window]
    truncated: bool = False
    unit: str | None = None


def windows(sizes: Sequence[int], room: int) -> list[Span]:
    """The windows over words of so many tokens each, at least 1 and at most `room`; one if they all fit into `room`.

    Neighbours overlap by up to a quarter of the room; the last window begins early enough to be full. An overlap is
    divided in its middle, so every word has one window, the one where it has most words around it.
    """
    count = len(sizes)
    if sum(sizes) <= room:
        return [Span(0, count, 0, count)]
    before = np.concatenate([[0], np.cumsum(sizes)])  # tokens before each word
    bounds, first = [], 0
    while before[count] - before[first] > room:
        end = int(np.searchsorted(before, before[first] + room, "right")) - 1
        bounds.append((first, end))
        overlap = min(room // 4, room - sizes[end])  # the next word has to fit in beside it
        first = int(np.searchsorted(before, before[end] - overlap))
    bounds.append((int(np.searchsorted(before, before[count] - room)), count))
    seams = [0, *((begin + end) // 2 for (_, end), (begin, _) in zip(bounds, bounds[1:])), count]  # noqa: B905 (3.9)
    return [Span(*bound, *own) for bound, own in zip(bounds, zip(seams, seams[1:]))]  # noqa: B905


def by_row(rows: np.ndarray | None, values: Any, join: Callable[[list[Any]], Any]) -> Any:
    """The values of whole rows, a list, joined from those of their windows, in the order in which the rows appear.

    rows: int64 [windows], which row each window is of; None: every row is one window, and `values` are given back.
    """
    if rows is None:
        return values
    parts: dict[int, list[Any]] = {}
    for row, value in zip(rows.tolist(), values):  # noqa: B905 (Python 3.9)
        parts.setdefault(row, []).append(value)
    return [join(of_row) for of_row in parts.values()]


def numbered(counts: Sequence[int]) -> np.ndarray | None:
    """Which row each window is of, for rows with so many windows each, int64; None: every row has one."""
    return np.repeat(np.arange(len(counts)), counts) if any(count > 1 for count in counts) else None

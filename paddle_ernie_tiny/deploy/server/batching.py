"""Which of the waiting rows go together: the oldest, and those that are about as long."""

from __future__ import annotations

from collections.abc import Sequence

MAX_PADDING = 0.15  # share of a batch that may be padding: a forward pass costs about as much as its tokens
LENGTH_MULTIPLE = 8  # lengths are rounded up to it: an engine prepares itself again for every shape


def rounded_length(tokens: int, longest: int) -> int:
    """The length that a row of so many tokens is padded to, where the model takes at most `longest`."""
    return min(-(-tokens // LENGTH_MULTIPLE) * LENGTH_MULTIPLE, longest)


def pick_batch(lengths: Sequence[int], max_rows: int) -> list[int]:
    """Places of the rows of the next batch, shortest first; `lengths` are in order of arrival.

    The first row, which has waited longest, is always among them, so that none waits for ever. Its neighbours in
    length join while there is room and at most MAX_PADDING of the batch is padding.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    low = high = order.index(0)
    tokens, rows = lengths[0], 1
    while rows < max_rows:
        neighbours = []
        for place in (low - 1, high + 1):
            if 0 <= place < len(order):
                longest = lengths[order[max(high, place)]]
                padding = 1 - (tokens + lengths[order[place]]) / (longest * (rows + 1))
                neighbours.append((padding, place))
        padding, place = min(neighbours, default=(1.0, -1))
        if padding > MAX_PADDING:
            break
        low, high = min(low, place), max(high, place)
        tokens, rows = tokens + lengths[order[place]], rows + 1
    return order[low : high + 1]

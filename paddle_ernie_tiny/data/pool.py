"""The pool: task text without labels, which takes part in the stages on task data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .rows import text_key


@dataclass(frozen=True)
class Pool:
    """Rows of task text without labels, in the order of their files.

    removed: how many rows were left out because their text occurs in a split, by its name, or earlier in the pool
    ("unlabelled"). fingerprint: a short SHA-256 of the rows.
    """

    rows: Sequence[Any]
    removed: dict[str, int]
    fingerprint: str = ""

    @property
    def read(self) -> int:
        """How many rows the files hold."""
        return len(self.rows) + sum(self.removed.values())


def pool_of(rows: Sequence[Any], splits: Mapping[str, Sequence[Any]]) -> Pool:
    """The rows whose text, without regard to blanks, occurs in no split and not earlier in the pool.

    splits: by name; one that comes first has the row counted. Raises InputError if none is left.
    """
    known: dict[tuple[str, ...], str] = {}
    for name, examples in splits.items():
        for example in examples:
            known.setdefault(text_key(example), name)
    kept, removed = [], Counter[str]()
    for row in rows:
        where = known.setdefault(text_key(row), "")
        if where:
            removed[where] += 1
        else:
            known[text_key(row)] = "unlabelled"
            kept.append(row)
    if not rows:
        raise InputError(
            "no row is left that teaches something", "data.unlabelled", "give soft labels, or leave it out"
        )
    if not kept:
        what = f"none of its {len(rows)} rows is left: their texts occur in {', '.join(removed)}"
        raise InputError(what, "data.unlabelled", "give text that no split holds, or leave it out")
    return Pool(kept, dict(removed))

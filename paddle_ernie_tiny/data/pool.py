"""The pool: task text without labels, which takes part in the stages on task data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError, Problems
from ..kinds import Kind
from .formats import Paths
from .raw_rows import unlabelled_rows
from .rows import Example, text_key
from .soft_labels import SoftLabels
from .tables import TableFormat


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
    if not kept:
        what = f"none of its {len(rows)} rows is left: their texts occur in {', '.join(removed)}"
        raise InputError(what, "data.unlabelled", "give text that no split holds, or leave it out")
    return Pool(kept, dict(removed))


def unlabelled_examples(
    kind: Kind, files: Paths, table: TableFormat, labels: list[str], problems: Problems, soft: SoftLabels | None
) -> Any:
    """The rows of files without their labels, of a kind whose rows are texts: see `Kind.read_unlabelled`."""
    if not kind.needs_label:  # its training files are no different
        read = kind.read(files, replace(table, label=None), labels, False, problems)
        return [replace(row, **kind.no_label) for row in read]
    how = None, kind.label_cells(len(labels)), soft
    rows = unlabelled_rows(files, table, problems, lambda name: kind.parse_label(name, labels), *how)
    return [Example(row.text, row.text_b, None, row.line, row.soft) for row in rows]

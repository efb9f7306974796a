"""Rows to predict, one by one: files in the layout of the training data, or of texts alone; standard input too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, Problems, shown
from ..text_rule import text_fault
from . import tables
from .decoding import decoded_lines, first_text
from .formats import Paths, Source, files_of, names_no_format, open_source, require_file
from .label_cells import OneLabel
from .readers import Parse, checked_text, header_test, is_label
from .soft_labels import SoftLabels
from .tables import TableFormat
from .token_rows import JOINED, split_words, tagged_rows

_ONE = OneLabel()
_JSON_START = re.compile(r'\s*(?:\[\s*)?\{\s*(?:"|$)|\s*\[\s*$')
_CONLL_LINE = re.compile(r".*[ \t](?:O|[BIMES]-\S+)\s*")


@dataclass(frozen=True)
class RawRow:
    """A row to predict: its line (or number), its text or texts, and the id that the file gives it, if any.

    label, soft: the cells or fields of its label and of its soft labels; None: it has none.
    """

    line: int
    text: str
    text_b: str | None = None
    id: Any = None
    label: Any = None
    soft: Any = None


def raw_rows(
    path: Path,
    table: TableFormat,
    problems: Problems,
    parse: Parse,
    join: Callable[[list[str]], str] | None = None,
    reading: OneLabel = _ONE,
) -> Iterator[RawRow]:
    """Rows to predict, in the layout of the training data (`table`) or as texts alone; a label is passed over.

    What is refused here is refused in training too, by the same rule (text_rule.py), and a row that is refused is a
    problem and does not come. `join` makes text of a tagger's words. Raises InputError for a file that cannot be read,
    also for a single text whose label is none: it may be a second text.
    """
    return rows_of(open_raw(path, table, problems), table, parse, join, reading)


def unlabelled_rows(
    given: Paths,
    table: TableFormat,
    problems: Problems,
    parse: Parse,
    join: Callable[[list[str]], str] | None = None,
    reading: OneLabel = _ONE,
    soft: SoftLabels | None = None,
) -> Iterator[RawRow]:
    """As `raw_rows`, of one or several files to train on without their labels, whatever these are.

    soft: what soft labels mean; a row has them as logits. Raises InputErrors for a file with bad rows, unless so many
    may be left out.
    """
    for path in files_of(given):
        rows = 0
        for row in rows_of(open_raw(path, table, problems), table, parse, join, reading, to_predict=False):
            where = f"{path}:{row.line}"
            logits = None if soft is None else soft.read(row.soft, where, problems)
            if not problems.is_bad(where):
                rows += 1
                yield replace(row, soft=logits)
        problems.finish(rows, str(path))


def rows_of(
    source: Source,
    table: TableFormat,
    parse: Parse,
    join: Callable[[list[str]], str] | None = None,
    reading: OneLabel = _ONE,
    to_predict: bool = True,
) -> Iterator[RawRow]:
    """As `raw_rows`, of a file that is open. Without `to_predict` a blank line is passed over, and so is any label."""
    path, problems, rows = source.path, source.problems, 0
    if source.format == "conll":
        if join is None:
            raise InputError("a file of tagged words", str(path), "give texts: this bundle is no tagger")
        for line, words, _, _ in tagged_rows(source, table):
            rows += 1
            yield RawRow(line, join(words))
        return
    by_place = to_predict and not source.named and isinstance(table.text, int) and table.text_b is None
    for line, cells in tables.raw_rows(source, table, header_test(table, parse, reading), to_predict):
        where, label = f"{path}:{line}", cells.get("label")
        if by_place and not rows and label and not is_label(label, table, parse, reading):
            what = f"two columns, and in the label's is {shown(label)}, which is no label"
            raise InputError(what, where, "give one text per line, or the columns of the training data")
        rows += 1
        text = _text(cells["text"], "text", where, problems, join)
        text_b = _text(cells["text_b"], "second text", where, problems, None) if "text_b" in cells else None
        if not problems.is_bad(where):
            yield RawRow(line, text, text_b, cells.get(tables.ID), label, cells.get(tables.SOFT))
    if not rows and not problems:
        raise InputError("no rows besides the header", str(path), "give a file with at least one row")


def _text(value: Any, name: str, where: str, problems: Problems, join: Callable[[list[str]], str] | None) -> str:
    if join is not None and (isinstance(value, list) or JOINED in str(value)):
        value = join(split_words(value))
    elif isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = " ".join(value)
    if isinstance(value, str) and (fault := text_fault(value)):
        problems.add(fault[0] + ("" if name == "text" else f" ({name})"), where, fault[1])
        return ""
    return checked_text(value, name, where, problems)


def _seen_format(table: TableFormat, first: str) -> str:
    """The layout of a file whose suffix leaves it open, from its first line with text, and the training data's."""
    if _JSON_START.match(first):
        return "jsonl"
    if table.format == "conll":
        return "conll" if _CONLL_LINE.fullmatch(first) else "tsv"
    if table.format in ("tsv", "csv"):
        return table.format
    if isinstance(table.text, str) and "\t" not in first:
        names = [cell.strip() for cell in first.split(",")]
        return "csv" if len(names) > 1 and table.text in names else "tsv"
    return "tsv"


def open_raw(path: Path, table: TableFormat, problems: Problems) -> Source:
    """A file of rows to predict: its suffix says the format, or its first line; it is read once. Raises InputError."""
    require_file(path)
    if not names_no_format(path):
        return open_source(path, "auto", problems, table.separator)
    first, lines = first_text(decoded_lines(path, problems))
    return Source(path, _seen_format(table, first.rstrip("\r\n")), problems, lines, table.separator)

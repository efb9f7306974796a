"""Rows to predict: files in the layout of the training data, or of texts alone; standard input too."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError, Problems, shown
from ..text_rule import text_fault
from . import tables
from .readers import JOINED, Parse, checked_text, header_test, is_label, label_name, split_words, tagged_rows
from .tables import Lines, TableFormat

_JSON_START = re.compile(r'\s*\{\s*(?:"|$)')
_CONLL_LINE = re.compile(r".*[ \t](?:O|[BIMES]-\S+)\s*")


def read_raw(
    path: str | Path, table: TableFormat, parse: Parse, join: Callable[[list[str]], str] | None = None
) -> tuple[list[str], list[str] | None]:
    """Rows to predict, in the layout of the training data (`table`) or as texts alone; a label is passed over.

    Gives the texts, and the second texts of pairs. `join` makes text of a tagger's words. Raises InputError and
    InputErrors as `read_examples` does, also for a single text whose label is none: it may be a second text.
    """
    path, problems = Path(path), Problems()
    layout, lines = _layout_and_lines(path, table, problems)
    if layout == "conll" and join is not None:
        tagged = [join(words) for _, words, _ in tagged_rows(path, table, problems, lines)]
        problems.finish()
        return tagged, None
    if layout == "conll":
        raise InputError("a file of tagged words", str(path), "give texts: this bundle is no tagger")
    rows = tables.raw_rows(path, table, problems, header_test(table, parse), layout, lines)
    texts: list[str] = []
    texts_b: list[str] = []
    by_place = layout != "jsonl" and isinstance(table.text, int) and table.text_b is None
    for line, cells in rows:
        where, label = f"{path}:{line}", label_name(cells.get("label"))
        if by_place and not texts and label and not is_label(label, table, parse):
            what = f"two columns, and in the label's is {shown(label)}, which is no label"
            raise InputError(what, where, "give one text per line, or the columns of the training data")
        texts.append(_text(cells["text"], "text", where, problems, join))
        if "text_b" in cells:
            texts_b.append(_text(cells["text_b"], "second text", where, problems, None))
    problems.finish()
    if not texts:
        raise InputError("no rows besides the header", str(path), "give a file with at least one row")
    return texts, texts_b if table.text_b is not None else None


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
    if table.format == "auto" and isinstance(table.text, str) and "\t" not in first:
        names = [cell.strip() for cell in first.split(",")]
        return "csv" if len(names) > 1 and table.text in names else "tsv"
    return "tsv" if table.format == "auto" else table.format


def _layout_and_lines(path: Path, table: TableFormat, problems: Problems) -> tuple[str, Lines]:
    """The layout of a file of rows to predict, and its lines as `decoded_lines` gives them; it is read once.

    The suffix says it, or else the file's first line and the format of the training data. Raises InputError.
    """
    tables.require_file(path)
    lines = tables.decoded_lines(path, problems)
    if not tables.names_no_format(path):
        return tables.file_format(path, "auto"), lines
    begin = list(itertools.islice(lines, 1))
    while begin and not begin[-1][1].strip() and (line := next(lines, None)):
        begin.append(line)
    first = begin[-1][1].rstrip("\r\n") if begin else ""
    return _seen_format(table, first), itertools.chain(begin, lines)

"""Tables in tsv, csv and jsonl files: their columns, and their rows with the line that each starts on."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError, Problems
from ..files import utf8_lines
from .json_rows import json_rows

_FORMATS = {
    **dict.fromkeys((".tsv", ".txt"), "tsv"),
    ".csv": "csv",
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".conll", ".bio", ".bmes", ".bioes", ".iob"), "conll"),
}
_LISTED = 20  # how many names are worth showing

TEXT_NAMES = (
    "text", "text_a", "sentence", "sentence1", "query", "premise", "content", "review", "title", "question",
    "文本", "句子", "内容", "评论", "标题",
)  # fmt: skip
TEXT_B_NAMES = ("text_b", "sentence2", "title", "hypothesis", "question2", "文本2", "句子2")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "score", "sentiment", "标签", "类别", "情感")
_TYPICAL_NAMES = {*TEXT_NAMES, *TEXT_B_NAMES, *LABEL_NAMES}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.#-]{0,39}")
Cells = dict[str, Any]  # the cells or fields of a row that are used, by what they hold: "text", "text_b", "label"
Lines = Iterator[tuple[int, str]]


@dataclass
class TableFormat:
    """How a file is laid out. Columns are names (of the header, or JSON fields) or positions from 0.

    With `header="auto"`, columns given by name need a header. For positions the first row is a header when
    its label is neither a label nor an id, and either one of the usual names (label, text_a, 标签 ...) or,
    like every cell that is used, a single ASCII name. Anything else is data: a misspelt label in the first
    row is an error and not a header. `label_aliases` maps labels as files write them to their names.
    """

    format: Literal["auto", "tsv", "csv", "jsonl", "conll"] = "auto"
    header: bool | Literal["auto"] = "auto"
    text: str | int = 0
    text_b: str | int | None = None
    label: str | int | None = None
    label_aliases: dict[str, str] = field(default_factory=dict)


def check_aliases(table: TableFormat, labels: Sequence[str]) -> None:
    """Raises InputError for an alias of something that is not a label."""
    for written, name in table.label_aliases.items():
        if name not in labels:
            what = f"{written!r} stands for {name!r}, but {name!r} is no label"
            raise InputError(what, "data.label_aliases", f"use one of {', '.join(labels[:_LISTED])}")


def require_file(path: Path) -> None:
    """Raises an InputError that lists what is there instead, unless `path` is a file with something in it."""
    if path.is_dir():
        raise InputError("a folder, not a file", str(path), f"name a file in it; {listing(path)}")
    if not path.exists():
        raise InputError("no such file", str(path), f"check the path; {listing(path.parent)}")
    if path.is_file() and path.stat().st_size == 0:  # a pipe's size is not known before it is read
        raise InputError("the file is empty", str(path), "give a file with at least one row")


def listing(folder: Path) -> str:
    """What the folder holds, or the nearest above it that exists, in words: the first names."""
    while not folder.is_dir():
        folder = folder.parent
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{folder.absolute()} holds {', '.join(names[:_LISTED]) + more or 'nothing'}"


def file_format(path: Path, given: str) -> str:
    """`tsv`, `csv`, `jsonl` or `conll`: as given, or for `auto` by the suffix. Raises InputError as `require_file`."""
    require_file(path)
    suffix = path.suffix.lower()
    if given == "auto" and suffix not in _FORMATS:
        remedy = f"use one of {', '.join(_FORMATS)}, or say which format"
        raise InputError(f"unknown file type {path.suffix!r}", str(path), remedy)
    return _FORMATS[suffix] if given == "auto" else given


def names_no_format(path: Path) -> bool:
    """Does the file's suffix leave open how it is laid out? `.txt` does, and none."""
    return path.suffix.lower() in ("", ".txt") or path.suffix.lower() not in _FORMATS


def decoded_lines(path: Path, problems: Problems) -> Lines:
    """(number, text) of every line; a line that is not UTF-8 is a problem, and blank. Raises InputError for UTF-16."""
    for number, line in utf8_lines(path):
        if isinstance(line, InputError):
            problems.add(line.what, line.where, line.remedy)
        yield number, "\n" if isinstance(line, InputError) else line


def _tsv_rows(path: Path, lines: Lines) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        cut = line.removesuffix("\n").removesuffix("\r")
        if cut.strip(" "):
            yield number, cut.split("\t")
        if number == 1 and "\r" in cut and not line.endswith("\n"):
            raise InputError("its lines end in CR alone", f"{path}:1", "save the file with LF as the line end")


def _csv_rows(path: Path, lines: Lines, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line for _, line in lines), strict=True)
    while True:
        first, before = reader.line_num + 1, len(problems)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(f"not csv: {error}", f"{path}:{first}", "close every quote; write a quote in a field twice")
            continue
        if cells and len(problems) == before:  # else one of its lines is not UTF-8
            yield first, cells


def labelled_rows(
    path: Path, table: TableFormat, problems: Problems, is_header: Callable[[Cells], bool], require_label: bool
) -> Iterator[tuple[int, Cells]]:
    """(line, cells) of every data row, with the columns that `table` gives; blank lines are skipped.

    Lines end at LF or CRLF only, and a byte order mark is dropped. In tsv a quote is text like any other; csv follows
    the standard library's strict dialect, with quoted fields over several lines. Without `require_label` the label is
    None if it is not there. `is_header` is asked about the first row if the table is read by position. Raises
    InputError for a file that cannot be read and for columns that do not fit; a row's faults go to `problems`.
    """
    layout = file_format(path, table.format)
    if require_label and table.label is None:
        raise InputError("no label column is given", str(path), "say which column holds the label")
    optional = None if require_label else "label"
    lines = decoded_lines(path, problems)
    if layout == "jsonl":
        yield from _object_rows(path, lines, _columns(table), optional, problems)
    else:
        yield from _cell_rows(path, layout, lines, table, problems, is_header, optional)


def raw_rows(
    path: Path, table: TableFormat, problems: Problems, is_header: Callable[[Cells], bool], layout: str, lines: Lines
) -> Iterator[tuple[int, Cells]]:
    """As `labelled_rows`, rows to predict; `layout` and `lines` are those of `raw_lines`.

    The label may be missing. A table may hold the texts alone, in their order. Fields of jsonl that `table` does not
    name have a usual name. A blank line in tsv is a problem: every line has its answer.
    """
    if layout == "jsonl":
        yield from _object_rows(path, lines, _columns(table), "label", problems, find=True)
        return
    if layout == "tsv":
        lines = _without_blank(path, lines, problems)
    yield from _cell_rows(path, layout, lines, table, problems, is_header, "label", alone=True)


def _without_blank(path: Path, lines: Lines, problems: Problems) -> Lines:
    for number, line in lines:
        if not line.strip() and not (problems and problems[-1].where == f"{path}:{number}"):  # else it is not UTF-8
            problems.add("empty line", f"{path}:{number}", "take the line out")
        yield number, line


def _columns(table: TableFormat) -> dict[str, str | int]:
    given = {"text": table.text, "text_b": table.text_b, "label": table.label}
    return {key: column for key, column in given.items() if column is not None}


def _cell_rows(
    path: Path,
    layout: str,
    lines: Lines,
    table: TableFormat,
    problems: Problems,
    is_header: Callable[[Cells], bool],
    optional: str | None,
    alone: bool = False,
) -> Iterator[tuple[int, Cells]]:
    columns, header_given = _columns(table), table.header
    rows = _csv_rows(path, lines, problems) if layout == "csv" else _tsv_rows(path, lines)
    first = next(rows, None)
    if first is None:
        problems.finish()
        raise InputError("the file holds only blank lines", str(path), "give a file with at least one row")
    line, header = first
    texts = [key for key in columns if key != "label"]
    if alone and len(header) == len(texts) and not {columns[key] for key in texts} <= {cell.strip() for cell in header}:
        columns = {key: place for place, key in enumerate(texts)}
        header_given = header_given and "auto"  # the training data's header says nothing of such a file
    named = any(isinstance(column, str) for column in columns.values())
    if named and header_given is False:
        what = "columns are given by name, but the file is said to have no header"
        raise InputError(what, str(path), "give positions from 0, or set header to true")
    places = {key: _position(column, header, f"{path}:{line}", key == optional) for key, column in columns.items()}

    def cells(row: list[str]) -> Cells:
        return {key: None if place is None else row[place] for key, place in places.items()}

    has_header = (named or is_header(cells(header))) if header_given == "auto" else header_given
    for number, row in rows if has_header else itertools.chain([first], rows):
        if len(row) == len(header):
            yield number, cells(row)
        else:
            what = f"expected {len(header)} columns as on line {line}, found {len(row)}: {_shorten(row)}"
            problems.add(what, f"{path}:{number}", "give every row the same columns; no text may hold the separator")


def _object_rows(
    path: Path,
    lines: Lines,
    columns: dict[str, Any],
    optional: str | None,
    problems: Problems,
    find: bool = False,
) -> Iterator[tuple[int, Cells]]:
    rows = json_rows(path, lines, problems)
    if find:
        if (first := next(rows, None)) is None:
            return  # with the problems that it has
        rows, usual = itertools.chain([first], rows), {"text": TEXT_NAMES, "text_b": TEXT_B_NAMES, "label": LABEL_NAMES}
        for key, name in columns.items():
            taken = columns["text"] if key == "text_b" else None
            found = (known for known in usual[key] if known in first[1] and known != taken)
            columns[key] = name if isinstance(name, str) else next(found, key)
    for key, name in columns.items():
        if not isinstance(name, str):
            raise InputError(f"{key} is column {name}, but jsonl has names", str(path), "give the fields' names")
    for line, fields in rows:
        missing = [name for key, name in columns.items() if name not in fields and key != optional]
        if missing:
            what = f"no field {missing[0]!r}; found {_shorten(list(fields), ', ')}"
            problems.add(what, f"{path}:{line}", _nearest(missing[0], fields))
        else:
            yield line, {key: fields.get(name) for key, name in columns.items()}


def _position(column: str | int, header: list[str], where: str, optional: bool) -> int | None:
    """The place in a row of a column that is given by name or position; None if it is optional and not there."""
    names = [cell.strip() for cell in header]
    found = [place for place, name in enumerate(names) if column in (place, name)]
    if len(found) == 1:
        return found[0]
    if optional and not found:
        return None
    if isinstance(column, int):
        what, remedy = f"there is no column {column}: {len(names)} columns, counted from 0", "correct the position"
    elif found:
        what, remedy = f"{len(found)} columns are called {column!r}", "give the position, from 0"
    else:
        what, remedy = f"no column {column!r} in the header {_shorten(header)}", _nearest(column, names)
    raise InputError(what, where, remedy)


def looks_like_header(first: Cells) -> bool:
    """Are the first row's cells names of columns, as `TableFormat` says?"""
    used = [cell for cell in first.values() if cell is not None]
    if first.get("label") is None:
        return all(map(is_typical_name, used))
    return is_typical_name(first["label"]) or all(
        _NAME.fullmatch(cell.strip()) or is_typical_name(cell) for cell in used
    )


def is_typical_name(cell: str) -> bool:
    """Is this one of the usual names of a column?"""
    return cell.strip().lower() in _TYPICAL_NAMES


def _nearest(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), n=1)
    return f"did you mean {close[0]!r}?" if close else "correct the column's name"


def _shorten(cells: list[str], between: str = " | ") -> str:
    joined = between.join(cell[:81] for cell in cells[:81])
    return repr(joined[:80] + "..." if len(joined) > 80 else joined)

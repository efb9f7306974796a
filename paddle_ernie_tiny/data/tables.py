"""Tables in tsv, csv and jsonl files: their columns, and their rows with the line that each starts on."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError, Problems
from ..files import utf8_lines

_FORMATS = {
    **dict.fromkeys((".tsv", ".txt"), "tsv"),
    ".csv": "csv",
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".conll", ".bio", ".bmes", ".bioes", ".iob"), "conll"),
}
_JSON_REMEDY = "write one JSON object per line"
_JSON_LINES = 1000  # an object over more lines than that is an unclosed brace
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
    if not path.is_file():
        raise InputError("no such file", str(path), f"check the path; {listing(path.parent)}")
    if path.stat().st_size == 0:
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


def decoded_lines(path: Path, problems: Problems) -> Iterator[tuple[int, str]]:
    """(number, text) of every line; a line that is not UTF-8 is a problem, and blank. Raises InputError for UTF-16."""
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError("UTF-16, not UTF-8", str(path), "save the file as UTF-8")
    for number, line in utf8_lines(path):
        if isinstance(line, InputError):
            problems.add(line.what, line.where, line.remedy)
        yield number, "\n" if isinstance(line, InputError) else line


def _tsv_rows(path: Path, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    for number, line in decoded_lines(path, problems):
        line = line.removesuffix("\n").removesuffix("\r")
        if line.strip(" "):
            yield number, line.split("\t")


def _csv_rows(path: Path, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line for _, line in decoded_lines(path, problems)), strict=True)
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


def _json_rows(path: Path, problems: Problems) -> Iterator[tuple[int, dict]]:
    """One object per line, or objects one after another: several on a line, or one over several lines."""
    decoder, pending, start = json.JSONDecoder(), "", 1
    for number, line in decoded_lines(path, problems):
        if not pending:
            start = number
        pending += line
        while pending := pending.lstrip():
            try:
                value, end = decoder.raw_decode(pending)
            except json.JSONDecodeError as error:
                # an object that is not closed yet fails where its text ends; a string may not hold the line's end
                goes_on = pending.startswith("{") and error.pos >= len(pending.rstrip())
                if goes_on and number - start < _JSON_LINES:
                    break  # with the next line
                problems.add(f"not JSON: {error}", f"{path}:{start}", _JSON_REMEDY)
                # what was not closed may have swallowed the beginning of the next object
                pending = line if number > start and line.lstrip().startswith("{") else ""
                start = number
                continue
            if isinstance(value, dict):
                yield start, value
            else:
                problems.add(f"a JSON {type(value).__name__}, not an object", f"{path}:{start}", _JSON_REMEDY)
            pending, start = pending[end:], number
    if pending:
        problems.add("not JSON: the file ends inside an object", f"{path}:{start}", _JSON_REMEDY)


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
    given = {"text": table.text, "text_b": table.text_b, "label": table.label}
    columns = {key: column for key, column in given.items() if column is not None}
    if require_label and "label" not in columns:
        raise InputError("no label column is given", str(path), "say which column holds the label")
    optional = None if require_label else "label"
    if layout == "jsonl":
        yield from _object_rows(path, columns, optional, problems)
        return
    rows = _csv_rows(path, problems) if layout == "csv" else _tsv_rows(path, problems)
    first = next(rows, None)
    if first is None:
        problems.finish()
        raise InputError("the file holds only blank lines", str(path), "give a file with at least one row")
    named = any(isinstance(column, str) for column in columns.values())
    if named and table.header is False:
        what = "columns are given by name, but the file is said to have no header"
        raise InputError(what, str(path), "give positions from 0, or set header to true")
    line, header = first
    places = {key: _position(column, header, f"{path}:{line}", key == optional) for key, column in columns.items()}

    def cells(row: list[str]) -> Cells:
        return {key: None if place is None else row[place] for key, place in places.items()}

    has_header = (named or is_header(cells(header))) if table.header == "auto" else table.header
    for number, row in rows if has_header else itertools.chain([first], rows):
        if len(row) == len(header):
            yield number, cells(row)
        else:
            what = f"expected {len(header)} columns as on line {line}, found {len(row)}: {_shorten(row)}"
            problems.add(what, f"{path}:{number}", "give every row the same columns; no text may hold the separator")


def _object_rows(
    path: Path, columns: dict[str, Any], optional: str | None, problems: Problems
) -> Iterator[tuple[int, Cells]]:
    for key, name in columns.items():
        if not isinstance(name, str):
            raise InputError(f"{key} is column {name}, but jsonl has names", str(path), "give the fields' names")
    for line, fields in _json_rows(path, problems):
        missing = [name for key, name in columns.items() if name not in fields and key != optional]
        if missing:
            what = f"no field {missing[0]!r}; found {', '.join(map(repr, fields)) or 'none'}"
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


def _shorten(cells: list[str]) -> str:
    shown = " | ".join(cells)
    return repr(shown[:80] + "..." if len(shown) > 80 else shown)

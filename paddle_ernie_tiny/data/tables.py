"""Tables in data files: which of their columns or fields are used, and their rows with the line that each starts on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError, Problems
from .decoding import Lines
from .formats import FormatName, Source, open_source
from .label_cells import Signs

_LISTED = 20  # how many names are worth showing
_SEPARATORS = {"\t": "a tab", ",": "','", ";": "';'", "|": "'|'"}

TEXT_NAMES = (
    "text", "text_a", "sentence", "sentence1", "query", "premise", "content", "review", "title", "question",
    "文本", "句子", "内容", "评论", "标题",
)  # fmt: skip
TEXT_B_NAMES = ("text_b", "sentence2", "title", "hypothesis", "question2", "文本2", "句子2")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "score", "sentiment", "标签", "类别", "情感")
_TYPICAL_NAMES = {*TEXT_NAMES, *TEXT_B_NAMES, *LABEL_NAMES}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.#-]{0,39}")
ID = "id"  # a column or field that prediction takes along
MISSING = object()  # no such field
SOFT = "soft_labels"  # a column or field that no row has to have, and that says nothing of how a table is laid out
Cells = dict[str, Any]  # the cells or fields of a row that are used, by what they hold: "text", "text_b", "label" ...


@dataclass
class TableFormat:
    """How a file is laid out. Columns are names (of the header, or JSON fields) or positions from 0.

    With `header="auto"`, columns given by name need a header. For positions the first row is a header when
    its label is neither a label nor an id, and either one of the usual names (label, text_a, 标签 ...) or,
    like every cell that is used, a single ASCII name. Anything else is data: a misspelt label in the first
    row is an error and not a header. `label_aliases` maps labels as files write them to their names. A position
    below 0 counts from the last column; a field inside another is `data.text`, an item of a list `choices.0`.
    A list of names as `label`: each is a column of 0 and 1, whose cells are `Signs`.
    separator: between the columns of tsv and csv; None: a tab, a comma. Rows with a label of `drop_labels` are left
    out; `max_bad_rows` is the share of a file's rows that may be left out as bad (None: a bad row is an error).
    soft_labels: a column that a row, or a file, may lack.
    """

    format: FormatName = "auto"
    header: bool | Literal["auto"] = "auto"
    text: str | int = 0
    text_b: str | int | None = None
    text_c: str | int | None = None
    label: str | int | list[str] | None = None
    label_aliases: dict[str, str] = field(default_factory=dict)
    separator: str | None = None
    drop_labels: list[str] = field(default_factory=list)
    max_bad_rows: float | None = None
    soft_labels: str | int | None = None


def check_aliases(table: TableFormat, labels: Sequence[str]) -> None:
    """Raises InputError for an alias of something that is not a label, and for a label whose rows are left out."""
    for name in table.drop_labels:
        if name in labels:
            raise InputError(f"{name!r} is a label", "data.drop_labels", "take it out there, or out of task.labels")
    for written, name in table.label_aliases.items():
        if name not in labels:
            what = f"{written!r} stands for {name!r}, but {name!r} is no label"
            raise InputError(what, "data.label_aliases", f"use one of {', '.join(labels[:_LISTED])}")


def labelled_rows(
    path: Path,
    table: TableFormat,
    problems: Problems,
    is_header: Callable[[Cells], bool],
    require_label: bool,
    optional: Set[str] = frozenset(),
) -> Iterator[tuple[int, Cells]]:
    """(line, cells) of every data row, with the columns that `table` gives; blank lines are skipped.

    Lines end at LF or CRLF only, and a byte order mark is dropped. In tsv a quote is text like any other; csv follows
    the standard library's strict dialect, with quoted fields over several lines. Without `require_label` the label is
    None if it is not there, and so is what is `optional`. `is_header` is asked about the first row if the table is
    read by position. Raises InputError for a file that cannot be read and for columns that do not fit; a row's faults
    go to `problems`.
    """
    source = open_source(path, table.format, problems, table.separator)
    return source_rows(source, table, is_header, require_label, optional)


def source_rows(
    source: Source,
    table: TableFormat,
    is_header: Callable[[Cells], bool],
    require_label: bool,
    optional: Set[str] = frozenset(),
) -> Iterator[tuple[int, Cells]]:
    """As `labelled_rows`, of a file that is open."""
    if require_label and table.label is None:
        raise InputError("no label column is given", str(source.path), "say which column holds the label")
    optional = {SOFT, *optional} if require_label else {SOFT, "label", *optional}
    if source.named:
        yield from _object_rows(source, _columns(table), optional)
    else:
        yield from _cell_rows(source, table, is_header, optional)


def raw_rows(
    source: Source, table: TableFormat, is_header: Callable[[Cells], bool], each_line: bool = True
) -> Iterator[tuple[int, Cells]]:
    """As `labelled_rows`, rows to predict.

    The label may be missing, and a column or field `id` is taken along. A table may hold the texts alone, in their
    order. Fields that `table` does not name have a usual name. With `each_line`, a blank line in tsv is a problem:
    every line has its answer.
    """
    optional = {"label", ID, SOFT}
    if source.named:
        yield from _object_rows(source, _columns(table), optional, find=True)
        return
    if source.format == "tsv" and each_line:
        source = replace(source, lines=_without_blank(source))
    yield from _cell_rows(source, table, is_header, optional, alone=True)


def _without_blank(source: Source) -> Lines:
    for number, line in source.lines:
        where = f"{source.path}:{number}"
        if not line.strip() and not source.problems.is_bad(where):  # else it cannot be decoded
            source.problems.add("empty line", where, "take the line out")
        yield number, line


def _columns(table: TableFormat) -> dict[str, Any]:
    given = {"text": table.text, "text_b": table.text_b, "text_c": table.text_c, "label": table.label}
    given[SOFT] = table.soft_labels
    return {key: column for key, column in given.items() if column is not None}


def _cell_rows(
    source: Source, table: TableFormat, is_header: Callable[[Cells], bool], optional: set[str], alone: bool = False
) -> Iterator[tuple[int, Cells]]:
    if source.format == "conll":
        raise InputError("a file of tagged words", str(source.path), "give a table of texts and labels")
    columns, header_given, path, problems = _columns(table), table.header, source.path, source.problems
    rows = source.rows
    first = next(rows, None)
    if first is None:
        problems.finish()
        raise InputError("the file holds only blank lines", str(path), "give a file with at least one row")
    line, header = first
    texts = [key for key in columns if key not in ("label", SOFT)]
    if alone and len(header) == len(texts) and not any(cell.strip() in columns.values() for cell in header):
        columns = {key: place for place, key in enumerate(texts)}
        header_given = header_given and "auto"  # the training data's header says nothing of such a file
    named = any(isinstance(column, (str, list)) for key, column in columns.items() if key != SOFT)
    if named and header_given is False:
        what = "columns are given by name, but the file is said to have no header"
        raise InputError(what, str(path), "give positions from 0, or set header to true")
    hint = _separator_hint(source, header)
    where = f"{path}:{line}"

    def place_of(key: str, column: Any) -> Any:
        if isinstance(column, list):
            return {name: place_of(key, name) for name in column}
        return _position(column, header, where, key in optional, hint)

    def cell(row: list[str], place: Any) -> Any:
        if isinstance(place, dict):
            return Signs({name: cell(row, own) for name, own in place.items()})
        return None if place is None else row[place]

    places = {key: place_of(key, column) for key, column in columns.items()}

    def cells(row: list[str]) -> Cells:
        return {key: cell(row, place) for key, place in places.items()}

    named = named or (isinstance(columns.get(SOFT), str) and places[SOFT] is not None)
    plain = {key: cell for key, cell in cells(header).items() if key != SOFT}
    has_header = (named or is_header(plain)) if header_given == "auto" else header_given
    if has_header and ID in optional and [cell.strip() for cell in header].count(ID) == 1:
        places[ID] = place_of(ID, ID)
    for number, row in rows if has_header else itertools.chain([first], rows):
        if len(row) == len(header):
            yield number, cells(row)
        else:
            what = f"expected {len(header)} columns as on line {line}, found {len(row)}: {_shorten(row)}"
            problems.add(what, f"{path}:{number}", "give every row the same columns; no text may hold the separator")


def _separator_hint(source: Source, header: list[str]) -> str | None:
    """The remedy for a table of one column whose first row holds another separator; None: it does not."""
    used = source.separator or ("," if source.format == "csv" else "\t")
    found = [mark for mark in _SEPARATORS if mark != used and len(header) == 1 and mark in header[0]]
    if not found or source.format == "xlsx":
        return None
    mark = max(found, key=header[0].count)
    own = {"\t": "tsv", ",": "csv"}.get(mark)
    return f"is {_SEPARATORS[mark]} the separator? then set " + (f"format: {own}" if own else f"separator: '{mark}'")


def _object_rows(
    source: Source, columns: dict[str, Any], optional: set[str], find: bool = False
) -> Iterator[tuple[int, Cells]]:
    rows, path = source.rows, source.path
    if (first := next(rows, None)) is None:
        return  # with the problems that it has
    rows = itertools.chain([first], rows)
    if find:
        usual = {"text": TEXT_NAMES, "text_b": TEXT_B_NAMES, "label": LABEL_NAMES}
        for key, name in columns.items():
            taken = columns["text"] if key == "text_b" else None
            found = (known for known in usual.get(key, ()) if known in first[1] and known != taken)
            columns[key] = next(found, key) if isinstance(name, int) else name
    for key, name in columns.items():
        if isinstance(name, int):
            remedy = f"give the fields' names: the first row has {_shorten(list(first[1]), ', ')}"
            raise InputError(f"{key} is column {name}, but {source.format} has names", str(path), remedy)
    columns = {**columns, **({ID: ID} if ID in optional else {})}
    for line, fields in rows:
        values = {key: _value_in(fields, name) for key, name in columns.items()}
        missing = [columns[key] for key, value in values.items() if value is MISSING and key not in optional]
        if missing:
            missing = [name for key in missing for name in (key if isinstance(key, list) else [key])]
            missing = [name for name in missing if field_in(fields, name) is MISSING]
            what = f"no field {missing[0]!r}; found {_shorten(list(fields), ', ')}"
            source.problems.add(what, f"{path}:{line}", _nearest(missing[0], fields))
        else:
            yield line, {key: None if value is MISSING else value for key, value in values.items()}


def _value_in(fields: dict[str, Any], name: Any) -> Any:
    if not isinstance(name, list):
        return field_in(fields, name)
    signs = Signs({part: field_in(fields, part) for part in name})
    return MISSING if MISSING in signs.values() else signs


def field_in(fields: Any, name: str) -> Any:
    """The value of a field, or of one inside others (`data.text`, `choices.0`); MISSING if it is not there."""
    if isinstance(fields, dict) and name in fields:
        return fields[name]
    for part in name.split("."):
        if isinstance(fields, dict) and part in fields:
            fields = fields[part]
        elif isinstance(fields, list) and part.isdecimal() and int(part) < len(fields):
            fields = fields[int(part)]
        else:
            return MISSING
    return fields


def _position(column: str | int, header: list[str], where: str, optional: bool, hint: str | None) -> int | None:
    """The place in a row of a column that is given by name or position; None if it is optional and not there."""
    names = [cell.strip() for cell in header]
    if isinstance(column, int) and column < 0:
        column += len(names)
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
        if not any(map(is_typical_name, names)) and not any(map(_NAME.fullmatch, names)):
            remedy = "if that is a row and no header, give the columns by position, from 0"
    raise InputError(what, where, hint or remedy)


def looks_like_header(first: Cells) -> bool:
    """Are the first row's cells names of columns, as `TableFormat` says?"""
    used = [cell for cell in first.values() if cell is not None]
    if first.get("label") is None or isinstance(first["label"], Signs):
        return all(is_typical_name(cell) for cell in used if isinstance(cell, str))
    return is_typical_name(first["label"]) or all(
        _NAME.fullmatch(cell.strip()) or is_typical_name(cell) for cell in used
    )


def is_typical_name(cell: str) -> bool:
    """Is this one of the usual names of a column?"""
    return cell.strip().lower() in _TYPICAL_NAMES


def _nearest(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), n=1)
    return f"did you mean {close[0]!r}?" if close else "correct the column's name, or rename the column in the file"


def _shorten(cells: list[str], between: str = " | ") -> str:
    joined = between.join(str(cell)[:61] for cell in cells[:61])
    return repr(joined[:57] + "..." if len(joined) > 60 else joined)

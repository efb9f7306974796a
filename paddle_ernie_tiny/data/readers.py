"""Labelled rows: from files, and from PaddleNLP's data sets by name."""

from __future__ import annotations

import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import InputError, Problems, shown
from ..text_rule import DAMAGED_REMEDY, is_blank, refused_character
from . import tables
from .formats import FORMATS, Paths, file_format, files_of, open_source
from .label_cells import OneLabel
from .rows import Example
from .soft_labels import SoftLabels
from .tables import Cells, TableFormat

_HEADER = "; if this row is a header, set header to true, or name its columns in data.columns"
LABEL_CHARACTERS = 200  # a longer one is a text
_LABELS = 1000  # more that no one listed are the values of another column
_FEW_LABELS = 20  # so many need not be looked at
_COUNTED = 100_000  # rows of which columns' values are counted
_FEW_ROWS = 10  # say nothing of what a column is
_ONE = OneLabel()
Parse = Callable[..., int | float]  # a label's name to the label; raises InputError, without a place


def read_examples(
    given: Paths,
    table: TableFormat,
    parse: Parse,
    labels: Sequence[str] | None = None,
    require_label: bool = True,
    problems: Problems | None = None,
    reading: OneLabel = _ONE,
    optional: Set[str] = frozenset(),
    soft: SoftLabels | None = None,
) -> list[Example]:
    """Reads the rows of a file, or of several; `parse` turns a label's name into the label.

    labels: the names that aliases stand for. Without `require_label` the label, or its whole column, may be missing
    (None); so may what is `optional` ("text_b", "text_c"). problems: takes what is to be said of the files. reading:
    how a cell holds labels. soft: what soft labels in the files mean. Raises InputError for a file without rows or with
    columns that do not fit, and InputErrors for bad rows, all of a file at once.
    """
    problems, examples = Problems(table.max_bad_rows) if problems is None else problems, list[Example]()
    if labels is not None:
        tables.check_aliases(table, labels)
    for path in files_of(given):
        is_header = header_test(table, parse, reading)
        rows = tables.labelled_rows(path, table, problems, is_header, require_label, optional)
        named = FORMATS[file_format(path, table.format)].named
        how = table, require_label, "" if named else _HEADER, reading, optional, soft
        read = _examples(rows, f"{path}:", parse, problems, *how)
        if len(problems) and (guess := _guess(path, table, len(read), problems.bad_rows)):
            problems.add(guess, str(path), "correct data.columns")
        problems.finish(len(read), str(path))
        if not read:
            raise InputError("no rows besides the header", str(path), "give a file with at least one row")
        examples += read
    return examples


def header_test(table: TableFormat, parse: Parse, reading: OneLabel = _ONE) -> Callable[[Cells], bool]:
    """Whether a table's first row is a header: it is not if it has a label, which `parse` says."""

    def is_header(first: Cells) -> bool:
        return not is_label(first.get("label"), table, parse, reading) and tables.looks_like_header(first)

    return is_header


def is_label(value: Any, table: TableFormat, parse: Parse, reading: OneLabel = _ONE) -> bool:
    """Is a cell a label, or an alias of one?"""
    try:
        names = reading.names(value)
        for name in names or ():
            if name not in table.drop_labels:
                parse(table.label_aliases.get(name, name))
    except InputError:
        return False
    return names is not None


def infer_labels(
    given: Paths, table: TableFormat, problems: Problems | None = None, reading: OneLabel = _ONE
) -> list[str]:
    """The label names of files, sorted (as numbers if all of them are). Raises as `read_examples` does."""
    problems, names = Problems(table.max_bad_rows) if problems is None else problems, set[str]()
    for path in files_of(given):
        names |= _names_in(path, table, problems, reading)
    if all(re.fullmatch(r"-?[0-9]+", name) for name in names):
        return sorted(names, key=lambda name: (Decimal(name), name))  # 1 and 01 are equal numbers, and two labels
    return sorted(names)


def _names_in(path: Path, table: TableFormat, problems: Problems, reading: OneLabel) -> set[str]:
    def is_header(first: Cells) -> bool:  # by its label if that is a usual name, or occurs nowhere else
        if first["label"] in table.drop_labels:
            return False
        rows = tables.labelled_rows(path, replace(table, header=False), Problems(), is_header, require_label=True)
        once = sum(cells["label"] == first["label"] for _, cells in rows) == 1
        return tables.is_typical_name(first["label"]) or (once and tables.looks_like_header(first))

    names: set[str] = set()
    rows = 0
    for line, row in tables.labelled_rows(path, table, problems, is_header, require_label=True):
        where = f"{path}:{line}"
        found = _names_of(row["label"], where, problems, reading)
        if found is None or not set(found).isdisjoint(table.drop_labels):
            continue
        for name in found:
            if len(name) > LABEL_CHARACTERS:
                problems.add(f"a label of {len(name)} characters", where, "check which column holds the label")
            elif what := refused_character(name):
                problems.add(f"{what} of the label", where, "correct the label")
        if not problems.is_bad(where):
            names |= {table.label_aliases.get(name, name) for name in found}
            rows += 1
    guess = _guess(path, table, 0, rows) if len(names) > max(_FEW_LABELS, rows // 2) else ""
    if guess:
        problems.add(guess, str(path), "correct data.columns, or list task.labels")
    problems.finish(rows, str(path))
    require_few(names, path)
    return names


def _names_of(value: Any, where: str, problems: Problems, reading: OneLabel, required: bool = True) -> list[str] | None:
    """The names in a cell; None: there is none, which is a problem where it is `required`, or what is no label."""
    try:
        names = reading.names(value)
    except InputError as error:
        problems.add(error.what, where, error.remedy)
        return None
    if names is None and required:
        problems.add("no label", where, "give every row a label")
    return names


def require_few(names: set[str], path: str | Path) -> None:
    """Raises InputError for more labels than anybody means."""
    if len(names) > _LABELS:
        raise InputError(f"{len(names)} different labels", str(path), "check the label's column, or list task.labels")


def _guess(path: Path, table: TableFormat, good: int, bad: int) -> str:
    """What the label's column seems to be, if most labels are bad and another column has few values; else empty."""
    if not isinstance(table.label, (str, int)) or bad <= good or good + bad < _FEW_ROWS or path.is_fifo():
        return ""
    rows = open_source(path, table.format, Problems(1.0), table.separator).rows
    read = [row if isinstance(row, dict) else dict(enumerate(row)) for _, row in islice(rows, _COUNTED)]
    if not read:
        return ""
    first, *others = read
    values = {name: {shown(row.get(name)) for row in others} for name in first}
    if any(shown(first[name]) in seen for name, seen in values.items()):  # else it is a header
        others.append(first)
        values = {name: seen | {shown(first[name])} for name, seen in values.items()}
    label = table.label
    if isinstance(label, str) and label not in first:
        label = next((name for name, value in first.items() if value == label), label)
    few = {name: len(seen) for name, seen in values.items() if 2 <= len(seen) <= len(others) / 3}
    if len(values.get(label, ())) <= len(others) / 2 or not few:
        return ""
    best, kind = min(few, key=lambda name: few[name]), "column" if isinstance(label, int) else "field"
    rest = f"is it the label? {kind} {best} has {few[best]}"
    return f"{kind} {label} has {len(values[label]):,} values in {len(others):,} rows: {rest}"


def _examples(
    rows: Iterable[tuple[int, Cells]],
    place: str,
    parse: Parse,
    problems: Problems,
    table: TableFormat,
    require_label: bool,
    hint: str = "",
    reading: OneLabel = _ONE,
    optional: Set[str] = frozenset(),
    soft: SoftLabels | None = None,
) -> list[Example]:
    """The good ones of rows of (line, cells); `place` and the line are where a problem is. hint: for the first line."""
    examples, dropped = [], Counter[str]()
    for line, cells in rows:
        where, label = f"{place}{line}", None
        names = _names_of(cells.get("label"), where, problems, reading, require_label)
        left_out = [name for name in names or () if name in table.drop_labels]
        if left_out:
            dropped[left_out[0]] += 1
            continue
        text = checked_text(cells["text"], "text", where, problems)
        more = {
            key: checked_text(cells[key], name, where, problems)
            for key, name in (("text_b", "second text"), ("text_c", "third text"))
            if key in cells and not (key in optional and cells[key] in (None, ""))
        }
        if names is not None:
            try:
                label = reading.label([parse(table.label_aliases.get(name, name)) for name in names])
            except InputError as error:
                problems.add(error.what, where, f"{error.remedy}{hint if line == 1 else ''}")
        given = None if soft is None else soft.read(cells.get(tables.SOFT), where, problems)
        if not problems.is_bad(where):
            known = more.get("text_b"), label, line, given, more.get("text_c")
            examples.append(Example(text, *known))
    for name, count in dropped.items():
        problems.note("note", f"{count} rows with the label {name!r} are left out, as drop_labels says", place[:-1])
    return examples


def checked_text(value: Any, name: str, where: str, problems: Problems) -> str:
    """A text cell; one that is empty or no text is a problem. A list of keywords becomes one text."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = " ".join(value)
    if isinstance(value, str) and not is_blank(value):
        if fault := refused_character(value, data=True):
            problems.add(f"{fault} of the {name}", where, DAMAGED_REMEDY)
        return value
    empty = value is None or isinstance(value, str)
    what = f"empty {name}" if empty else f"{name} is {shown(value)}, not a string"
    problems.add(what, where, "give every row its text, or take the row out")
    return ""


def read_paddlenlp(
    name: str,
    split: str,
    table: TableFormat,
    subset: str | None,
    parse: Parse,
    labels: Sequence[str] | None = None,
    label_cells: Callable[[int], OneLabel] = lambda _: _ONE,
    problems: Problems | None = None,
) -> tuple[list[Example], list[str]]:
    """Reads one split of a data set of `paddlenlp.datasets`, from its cache or by download.

    Fields that `table` does not name (None, or a position) are found by their usual names, a second text only if
    `text` is not given by name. A row's line is its place in the split, from 1. Returns the examples and the label
    names: `labels`, or those in PaddleNLP's order; rows without labels give None. `parse` gets the label names too.
    label_cells: `reading` of `read_examples`, for a task with so many labels. problems: takes what is to be said.
    Raises InputError for an unknown data set, split or field, or no network; InputErrors for bad rows.
    """
    rows, known, where = load_paddlenlp(name, split, subset)
    fields = list(rows[0])
    text, text_b = field_named(table.text, tables.TEXT_NAMES, fields, where), table.text_b
    if not isinstance(table.text, str):
        others = [field for field in fields if field != text]
        text_b = field_named(table.text_b, tables.TEXT_B_NAMES, others, where, optional=True)
    label = field_named(table.label, tables.LABEL_NAMES, fields, where, optional=True)
    columns = {key: field for key, field in (("text", text), ("text_b", text_b), ("label", label)) if field}
    unknown = [field for field in columns.values() if field not in fields]
    if unknown:
        raise InputError(f"no field {unknown[0]!r}", where, f"its fields are {', '.join(fields)}")
    problems, reading = Problems() if problems is None else problems, label_cells(0)
    own = (_names_of(row[label], where, Problems(), reading, False) or () for row in rows) if label else ()
    names = list(labels or known or sorted({name for found in own for name in found}))

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(item) for item in value]
        # PaddleNLP turns label names into ids itself; -1 means no label in its GLUE-like test splits.
        by_id = labels is None and isinstance(value, int)
        return value if not by_id else None if value == -1 else names[value] if 0 <= value < len(names) else value

    def cells(row: dict[str, Any]) -> Cells:
        found = {key: row.get(str(field)) for key, field in columns.items()}
        return {**found, "label": named(found.get("label"))}

    how = problems, TableFormat(), False, "", label_cells(len(names))
    numbered = enumerate(map(cells, rows), start=1)
    examples = _examples(numbered, f"{where}, row ", lambda name: parse(name, names), *how)
    problems.finish(len(examples), where)
    return examples, names


def load_paddlenlp(name: str, split: str, subset: str | None) -> tuple[list[dict], list[str] | None, str]:
    """One split of a data set of `paddlenlp.datasets`: its rows, its label names, and its name for messages."""
    import paddlenlp.datasets as known

    where = f"paddlenlp:{name}" + (f"/{subset}" if subset else "") + f"/{split}"
    names = [module.name for module in pkgutil.iter_modules(known.__path__) if module.name != "dataset"]
    if name not in names:
        close = get_close_matches(name, names, n=3) or names
        raise InputError(f"PaddleNLP has no data set {name!r}", where, f"did you mean {', '.join(close)}?")
    try:
        dataset = known.load_dataset(name, name=subset, splits=split)
        rows = [dict(row) for row in dataset]
    except Exception as error:  # whatever its builders and its downloader raise, the remedy is the same
        remedy = (
            "check split and subset; without a network, put the files into PPNLP_HOME; for local files set "
            "data.source to files and data.dataset to null"
        )
        raise InputError(f"PaddleNLP cannot load it: {error}", where, remedy) from error
    if not rows:
        raise InputError("the split has no rows", where, "choose another split")
    return rows, dataset.label_list and [str(label) for label in dataset.label_list], where


def field_named(
    given: Any, usual: tuple[str, ...], fields: list[str], where: str, optional: bool = False
) -> str | None:
    """The field that is given by name, or else the first of the usual names among `fields`; None for lack of both."""
    found = given if isinstance(given, str) else next((name for name in usual if name in fields), None)
    if found is None and not optional:
        raise InputError("which field holds the text?", where, f"name one of {', '.join(fields)}")
    return found

"""Labelled examples from tsv, csv and jsonl files, and from PaddleNLP's data sets by name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import InputError, Problems
from . import tables
from .rows import Example
from .tables import TableFormat

Parse = Callable[[str], int | float]  # a label's name to the label; raises InputError, without a place


def read_examples(
    path: str | Path,
    table: TableFormat,
    parse: Parse,
    labels: Sequence[str] | None = None,
    require_label: bool = True,
) -> list[Example]:
    """Reads a file's rows; `parse` turns a label's name into the label, `labels` are the names that aliases stand for.

    Without `require_label` the label, or its whole column, may be missing (None). Raises InputError for a file without
    rows or with columns that do not fit, and InputErrors for up to 20 bad rows: `path:line`, value and remedy of each.
    """
    path, problems = Path(path), Problems()
    if labels is not None:
        tables.check_aliases(table, labels)

    def is_header(first: tables.Cells) -> bool:
        cell = _label_name(first.get("label"))
        try:
            parse(table.label_aliases.get(cell, cell))
        except InputError:
            return tables.looks_like_header(first)
        return False

    rows = tables.labelled_rows(path, table, problems, is_header, require_label)
    places = ((line, f"{path}:{line}", row) for line, row in rows)
    examples = _examples(places, parse, problems, table.label_aliases, require_label)
    if not examples:
        raise InputError("no rows besides the header", str(path), "give a file with at least one row")
    return examples


def infer_labels(path: str | Path, table: TableFormat) -> list[str]:
    """The label names of a file, sorted (as numbers if all of them are).

    Raises InputError or InputErrors as `read_examples` does. With `header="auto"` and positions, a first
    row whose label occurs nowhere else counts as a header if all its cells are single ASCII names.
    """
    path, problems = Path(path), Problems()

    def is_header(first: tables.Cells) -> bool:
        rows = tables.labelled_rows(path, replace(table, header=False), Problems(), is_header, require_label=True)
        once = sum(cells["label"] == first["label"] for _, cells in rows) == 1
        return tables.is_typical_name(first["label"]) or (once and tables.looks_like_header(first))

    names = set()
    for line, row in tables.labelled_rows(path, table, problems, is_header, require_label=True):
        name = _label_name(row["label"])
        if name:
            names.add(table.label_aliases.get(name, name))
        else:
            problems.add("no label", f"{path}:{line}", "give every row a label")
    problems.finish()
    numeric = all(re.fullmatch(r"-?[0-9]+", name) for name in names)
    return sorted(names, key=int) if numeric else sorted(names)


def _examples(
    rows: Iterable[tuple[int, str, tables.Cells]],
    parse: Parse,
    problems: Problems,
    aliases: dict[str, str],
    require_label: bool,
) -> list[Example]:
    """Rows of (line, place for messages, cells), with their parts checked; raises all problems at the end."""
    examples = []
    for line, where, cells in rows:
        text = _checked_text(cells["text"], "text", where, problems)
        text_b = _checked_text(cells["text_b"], "second text", where, problems) if "text_b" in cells else None
        name, label = _label_name(cells.get("label")), None
        name = aliases.get(name, name)
        if name:
            try:
                label = parse(name)
            except InputError as error:
                problems.add(error.what, where, error.remedy)
        elif require_label:
            problems.add("no label", where, "give every row a label")
        examples.append(Example(text, text_b, label, line))
    problems.finish()
    return examples


def _checked_text(value: Any, name: str, where: str, problems: Problems) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = " ".join(value)  # a list of keywords
    # Cc and Cf: controls, and what has no width, such as U+200B
    if isinstance(value, str) and any(not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf") for c in value):
        if "\x00" in value:
            what = f"a NUL byte, a control character, in the {name}"
            problems.add(what, where, "restore the file: text holds none; it was cut or is no text")
        return value
    empty = value is None or isinstance(value, str)
    what = f"empty {name}" if empty else f"{name} is {value!r}, not a string"
    problems.add(what, where, "give every row its text, or take the row out")
    return ""


def _label_name(value: Any) -> str:
    """A label cell or JSON value as text; empty if there is none."""
    return "" if value is None or isinstance(value, (list, dict)) else str(value).strip()


def read_paddlenlp(
    name: str,
    split: str,
    table: TableFormat,
    subset: str | None,
    parse: Callable[[str, Sequence[str]], int | float],
    labels: Sequence[str] | None = None,
) -> tuple[list[Example], list[str]]:
    """Reads one split of a data set of `paddlenlp.datasets`, from its cache or by download.

    Fields that `table` does not name (None, or a position, which these rows do not have) are found by their
    usual names; a second text is looked for only if `text` is not given by name. A row's line is its place
    in the split, from 1. Returns the examples and the label names: `labels`, or those in PaddleNLP's order; test
    splits without labels give None for each. `parse` gets a label's name and the label names. Raises InputError for an
    unknown data set, split or field, or nothing cached and no network; InputErrors for up to 20 bad rows.
    """
    rows, known, where = load_paddlenlp(name, split, subset)
    fields = list(rows[0])
    text, text_b = field_named(table.text, tables.TEXT_NAMES, fields, where), table.text_b
    if not isinstance(table.text, str):
        others = [field for field in fields if field != text]
        text_b = field_named(table.text_b, tables.TEXT_B_NAMES, others, where, optional=True)
    label = field_named(table.label, tables.LABEL_NAMES, fields, where, optional=True)
    columns = {key: field for key, field in (("text", text), ("text_b", text_b), ("label", label)) if field}
    for field in columns.values():
        if field not in fields:
            raise InputError(f"no field {field!r}", where, f"its fields are {', '.join(fields)}")
    names = list(labels or known or sorted({_label_name(row[label]) for row in rows if label} - {""}))

    def cells(row: dict[str, Any]) -> tables.Cells:
        found = {key: row.get(field) for key, field in columns.items()}
        value = found.get("label")
        if labels is None and isinstance(value, int):
            # PaddleNLP turns label names into ids itself; -1 means no label in its GLUE-like test splits.
            found["label"] = None if value == -1 else names[value] if 0 <= value < len(names) else value
        return found

    places = ((number, f"{where}, row {number}", cells(row)) for number, row in enumerate(rows, start=1))
    return _examples(places, lambda name: parse(name, names), Problems(), {}, False), names


def load_paddlenlp(name: str, split: str, subset: str | None) -> tuple[list[dict], list[str] | None, str]:
    """One split of a data set of `paddlenlp.datasets`: its rows, its label names, and its name for messages.

    Raises InputError for an unknown data set or split, and if there is neither a cached copy nor a network.
    """
    import pkgutil

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
        remedy = "check split and subset; without a network, put the files into PPNLP_HOME or use local files"
        raise InputError(f"PaddleNLP cannot load it: {error}", where, remedy) from error
    if not rows:
        raise InputError("the split has no rows", where, "choose another split")
    return rows, dataset.label_list and [str(label) for label in dataset.label_list], where


def field_named(
    given: str | int | None, usual: tuple[str, ...], fields: list[str], where: str, optional: bool = False
) -> str | None:
    """The field that is given by name, or else the first of the usual names among `fields`.

    None if there is none and the field is `optional`; else raises InputError.
    """
    found = given if isinstance(given, str) else next((name for name in usual if name in fields), None)
    if found is None and not optional:
        raise InputError("which field holds the text?", where, f"name one of {', '.join(fields)}")
    return found

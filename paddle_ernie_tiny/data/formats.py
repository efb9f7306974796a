"""The formats of data files, one row of a table each: by which suffix they are known, and how their rows are read."""

from __future__ import annotations

import csv
import glob
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError, Problems
from .decoding import Lines, decoded_lines
from .json_rows import json_rows

FormatName = Literal["auto", "tsv", "csv", "jsonl", "conll", "parquet", "xlsx", "dataset"]
Paths = str | os.PathLike | Sequence[str | os.PathLike]  # a file, a folder of `datasets`, a glob, or several of them
_LISTED = 20  # how many names are worth showing
_SPLITS = "dataset_dict.json"  # of a folder that holds several `datasets` folders
_STATE = "state.json"  # of a `datasets` folder


@dataclass
class Source:
    """A file that is being read. lines: of a text file. separator: between columns; None: the format's own."""

    path: Path
    format: str
    problems: Problems
    lines: Lines = iter(())
    separator: str | None = None

    @property
    def rows(self) -> Iterator[tuple[int, Any]]:
        """(number, row): the line, or of formats without lines the row, item or sheet row, from 1; cells or fields."""
        return FORMATS[self.format].rows(self)

    @property
    def named(self) -> bool:
        """Are its rows fields by name, and not cells in columns?"""
        return FORMATS[self.format].named


def _tsv_rows(source: Source) -> Iterator[tuple[int, list[str]]]:
    for number, line in source.lines:
        cut = line.removesuffix("\n").removesuffix("\r")
        if cut.strip(" "):
            yield number, cut.split(source.separator or "\t")
        if number == 1 and "\r" in cut and not line.endswith("\n"):
            raise InputError("its lines end in CR alone", f"{source.path}:1", "save the file with LF as the line end")


def _csv_rows(source: Source) -> Iterator[tuple[int, list[str]]]:
    path, problems = source.path, source.problems
    reader = csv.reader((line for _, line in source.lines), strict=True, delimiter=source.separator or ",")
    while True:
        first, before = reader.line_num + 1, problems.last
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            remedy, lines = "close every quote; write a quote in a field twice", reader.line_num - first + 1
            problems.add(f"not csv: {error}", f"{path}:{first}", remedy, rows=lines)
            continue
        if cells and problems.last == before:  # else one of its lines cannot be decoded
            yield first, cells


def _json_rows(source: Source) -> Iterator[tuple[int, dict]]:
    return json_rows(source.path, source.lines, source.problems)


def _parquet_rows(source: Source) -> Iterator[tuple[int, dict]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(source.path) as file:
            yield from enumerate(_named_rows(file.iter_batches(batch_size=1000), file.schema_arrow.metadata), start=1)
    except (pyarrow.ArrowException, OSError) as error:
        what = f"not a readable parquet file: {str(error)[:60]}"
        raise InputError(what, str(source.path), "copy it again: it is cut off, damaged or no parquet file") from None


def _dataset_rows(source: Source) -> Iterator[tuple[int, dict]]:
    import pyarrow

    rows = 0
    try:
        for entry in json.loads((source.path / _STATE).read_text(encoding="utf-8"))["_data_files"]:
            with pyarrow.memory_map(str(source.path / entry["filename"])) as part:
                table = pyarrow.ipc.open_stream(part)
                for rows, row in enumerate(_named_rows(table, table.schema.metadata), start=rows + 1):  # noqa: B020
                    yield rows, row
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        what = f"not a readable folder of `datasets`: {str(error)[:60]}"
        raise InputError(what, str(source.path), "write it again with save_to_disk") from None


def _named_rows(batches: Any, metadata: dict[bytes, bytes] | None) -> Iterator[dict]:
    """Rows of Arrow tables; ids whose names the metadata of `datasets` has become these."""
    features = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    names = {}
    for field, kind in features.items():
        kind = kind[0] if isinstance(kind, list) and kind else kind
        kind = kind.get("feature", kind) if isinstance(kind, dict) else {}
        if isinstance(kind, dict) and kind.get("names"):
            names[field] = list(kind["names"])

    def named(value: Any, known: list[str]) -> Any:
        if isinstance(value, list):
            return [named(item, known) for item in value]
        return (known[value] if 0 <= value < len(known) else None) if isinstance(value, int) else value

    for batch in batches:
        for row in batch.to_pylist():
            yield {**row, **{field: named(row[field], known) for field, known in names.items() if field in row}}


def _xlsx_rows(source: Source) -> Iterator[tuple[int, list[Any]]]:
    import openpyxl

    path = str(source.path)
    try:
        with source.path.open("rb") as file:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            sheets = [sheet for sheet in book.worksheets if next(sheet.iter_rows(values_only=True), None) is not None]
            if len(sheets) > 1:
                rest = ", ".join(sheet.title for sheet in sheets[1:])
                source.problems.note("note", f"the sheet {sheets[0].title!r} is read alone, not {rest}", path)
            width = 0  # of the first row; empty cells behind it are none
            for number, values in enumerate(sheets[0].iter_rows(values_only=True) if sheets else (), start=1):
                cells = [_cell(value) for value in values]
                while len(cells) > width and not cells[-1]:
                    cells.pop()
                if any(cells):
                    width = width or len(cells)
                    yield number, cells + [""] * (width - len(cells))
    except InputError:
        raise
    except Exception as error:  # of zipfile, of its XML parsers and its own
        what = f"not a readable xlsx workbook: {str(error)[:60]}"
        raise InputError(what, path, "save it again as .xlsx, or as csv in UTF-8") from None


def _cell(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _conll_rows(source: Source) -> Iterator[tuple[int, list[str]]]:
    """The columns of every line, none of a blank one; the word may be a blank, or hold one between tabs."""
    for number, line in itertools.chain(source.lines, [(0, "")]):  # the end is a blank line
        line = line if line.strip() else ""
        cut = line.rstrip("\r\n\t ")
        if "\t" in cut:
            yield number, [cell.strip(" ") or cell for cell in cut.split("\t")]
            continue
        before, _, last = cut.rpartition(" ")
        if before and not before.strip(" "):
            yield number, [" ", last]
        else:
            yield number, [cell for cell in (*before.split(" "), last) if cell]


@dataclass(frozen=True)
class FileFormat:
    """One format. named: its rows are fields by name. binary: it is no text file, so no pipe either."""

    suffixes: tuple[str, ...]
    rows: Callable[[Source], Iterator[tuple[int, Any]]]
    named: bool = False
    binary: bool = False


FORMATS = {
    "tsv": FileFormat((".tsv", ".txt"), _tsv_rows),
    "csv": FileFormat((".csv",), _csv_rows),
    "jsonl": FileFormat((".jsonl", ".ndjson", ".json"), _json_rows, named=True),
    "conll": FileFormat((".conll", ".bio", ".bmes", ".bioes", ".iob"), _conll_rows),
    "parquet": FileFormat((".parquet",), _parquet_rows, named=True, binary=True),
    "xlsx": FileFormat((".xlsx",), _xlsx_rows, binary=True),
    "dataset": FileFormat((), _dataset_rows, named=True, binary=True),
}
_BY_SUFFIX = {suffix: name for name, row in FORMATS.items() for suffix in row.suffixes}


def files_of(given: Paths) -> list[Path]:
    """The files that a path, a glob or a list of them names, in order. Raises InputError for a glob without a match."""
    files = []
    for name in [given] if isinstance(given, str | os.PathLike) else given:
        path = Path(name)
        found = [path]
        if glob.has_magic(str(name)) and not path.exists():
            found = [Path(match) for match in sorted(glob.glob(str(name), recursive=True))]
            if not found:
                raise InputError("no file matches", str(name), f"check the pattern; {listing(path.parent)}")
        files += found
    if not files:
        raise InputError("an empty list of files", "data", "name at least one")
    return files


def open_source(path: Path, given: str, problems: Problems, separator: str | None = None) -> Source:
    """A file to read, in the format that is given or that its suffix says. Raises InputError as `file_format`."""
    name = file_format(path, given)
    lines = iter(()) if FORMATS[name].binary else decoded_lines(path, problems)
    return Source(path, name, problems, lines, separator)


def file_format(path: Path, given: str) -> str:
    """The name of a file's format: as given, or for `auto` by what a folder holds and a file's suffix.

    Raises InputError as `require_file`, and for another suffix.
    """
    require_file(path)
    suffix = _suffix(path)
    if path.is_dir():
        return "dataset"
    if given == "auto" and suffix not in _BY_SUFFIX:
        if suffix in (".xls", ".ods", ".doc", ".docx", ".pdf", ".zip", ".rar", ".7z"):
            raise InputError(f"a {suffix} file is not read", str(path), "save its rows as .xlsx, .csv or .jsonl")
        remedy = f"use one of {', '.join(_BY_SUFFIX)}, or say which format"
        raise InputError(f"unknown file type {suffix!r}", str(path), remedy)
    return _BY_SUFFIX[suffix] if given == "auto" else given


def names_no_format(path: Path) -> bool:
    """Does the file's suffix leave open how it is laid out? `.txt` does, and none."""
    return not path.is_dir() and (_suffix(path) in ("", ".txt") or _suffix(path) not in _BY_SUFFIX)


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def require_file(path: Path) -> None:
    """Raises an InputError that lists what is there instead, unless `path` is a file with something in it.

    A folder that `datasets` wrote is one.
    """
    if path.is_dir() and not (path / _STATE).is_file():
        if (path / _SPLITS).is_file():
            splits = sorted(entry.name for entry in path.iterdir() if (entry / _STATE).is_file())
            remedy = f"name one of them: {', '.join(str(path / name) for name in splits)}"
            raise InputError("a folder of several splits", str(path), remedy)
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

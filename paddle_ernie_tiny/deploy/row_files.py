"""Rows for a bundle: files of texts, labelled files in the layout of the training data, and answers as JSON values."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..data.decoding import first_text
from ..data.formats import FORMATS, names_no_format
from ..data.raw_rows import RawRow, open_raw, rows_of
from ..data.tables import TableFormat
from ..defaults import AUTO, BATCH_SIZE
from ..errors import Problems
from ..kinds import KINDS
from ..kinds.uncertainty import interval
from .bundle import Manifest
from .predictor import Predictor
from .program import require_finite


@dataclass
class LabelledRows:
    """Rows as `Predictor.outputs` takes them, and their gold labels: ids, scores, or the tag ids of a row's words."""

    texts: list[Any]
    texts_b: list[str] | None
    gold: list[Any]

    @classmethod
    def of(cls, examples: Sequence[Any]) -> LabelledRows:
        """From examples that were read with labels."""
        pairs = [e.text_b for e in examples] if examples and examples[0].text_b is not None else None
        return cls([e.text for e in examples], pairs, [e.label for e in examples])

    def spread(self, count: int) -> LabelledRows:
        """At most `count` of the rows, evenly spread over them."""
        rows, count = len(self.texts), min(count, len(self.texts))
        picked = [round(i * (rows - 1) / max(1, count - 1)) for i in range(count)]
        pairs = None if self.texts_b is None else [self.texts_b[i] for i in picked]
        return LabelledRows([self.texts[i] for i in picked], pairs, [self.gold[i] for i in picked])


def read_texts(path: Path, text: str | None = None, text_b: str | None = None) -> tuple[list[str], list[str] | None]:
    """Texts, or pairs, of a file in any format, for what has no manifest; by columns (names or positions) if given.

    Without columns: one text per line, with a tab in the first line a pair; fields by their usual names, a pair if
    there is one called `text_b`. Raises InputError(s) with file and line.
    """
    problems = Problems()
    if text is None:
        table = TableFormat(label=None)
        source = open_raw(path, table, problems)
        if FORMATS[source.format].binary:
            pair = "text_b" in next(source.rows, (0, ()))[1]
        else:
            first, source.lines = first_text(source.lines)  # kept: a pipe is read once
            pair, table.header = "\t" in first or '"text_b"' in first, False
        table.text_b = 1 if pair else None
    else:
        table = TableFormat(text=column_of(text), text_b=None if text_b is None else column_of(text_b), label=None)
        source = open_raw(path, table, problems)
    rows = rows_of(source, table, partial(KINDS["classification"].parse_label, labels=[]))
    return _texts_of(rows, problems, table.text_b is not None)


def column_of(given: str) -> str | int:
    """A column as an option names it: a position, or a name."""
    return int(given) if given.isdigit() else given


def _texts_of(rows: Iterator[RawRow], problems: Problems, pair: bool) -> tuple[list[str], list[str] | None]:
    read = list(rows)
    say(problems)
    problems.finish()
    return [row.text for row in read], [row.text_b or "" for row in read] if pair else None


def say(problems: Problems) -> None:
    """Prints what is to be said of the files that were read: such as another encoding, and rows that were left out."""
    for note in problems.notes:
        print(note, file=sys.stderr)


def raw_table(manifest: Manifest) -> TableFormat:
    """How files of rows to predict are laid out: as the training data was."""
    table = TableFormat(**{"text": 0, "label": 1 + manifest.pair, **manifest.table})
    if manifest.pair and table.text_b is None:  # a data set by name, whose fields were found by their usual names
        table = replace(table, text=0, text_b=1, label=2)
    return table


def read_rows(manifest: Manifest, path: Path) -> tuple[list[str], list[str] | None]:
    """A file of rows to predict, in the layout of the training data, labels or not, or texts alone.

    Raises InputError(s) with file and line.
    """
    problems = Problems()
    rows = manifest.kind.raw_rows(path, raw_table(manifest), manifest.labels, manifest.unit, problems)
    return _texts_of(rows, problems, manifest.pair)


def read_units(manifest: Manifest, path: Path) -> LabelledRows:
    """As `read_rows`, but as `Predictor.outputs` takes them: a tagger's texts cut into words. No row has a label."""
    texts, texts_b = read_rows(manifest, path)
    return LabelledRows([manifest.kind.split(text, manifest.unit) for text in texts], texts_b, [None] * len(texts))


def read_labelled(
    manifest: Manifest, file: Path, text: str | None = None, text_b: str | None = None, label: str | None = None
) -> LabelledRows:
    """A labelled file in any format; columns not given are those of the training data.

    Raises InputError that names file and line.
    """
    table = manifest.table
    chosen: dict[str, Any] = {
        name: table.get(name) if given is None else column_of(given)
        for name, given in (("text", text), ("text_b", text_b), ("label", label))
    }
    layout = TableFormat(
        format=table.get("format", "auto") if names_no_format(file) else "auto",
        **{name: value for name, value in table.items() if name not in ("format", *chosen)},
        **chosen,
    )
    problems = Problems(layout.max_bad_rows)
    rows = LabelledRows.of(manifest.kind.read(file, layout, manifest.labels, True, problems))
    say(problems)
    return rows


def evaluate(
    bundle: str | os.PathLike,
    file: str | os.PathLike,
    text: str | None = None,
    text_b: str | None = None,
    label: str | None = None,
    batch_size: int = BATCH_SIZE,
    threads: int | str = AUTO,
    engine: str = AUTO,
) -> dict[str, Any]:
    """Metrics of a bundle on a labelled file: the number of rows, the task's metric, and those usually read beside it.

    And "interval", which holds the task's metric with probability 0.95, and "breakdown": see `Kind.breakdown`.
    text, text_b, label: columns by name or position; those of the training data if they are not given.
    Raises InputError that names file and line.
    """
    predictor = Predictor(bundle, threads=threads, engine=engine)
    return evaluate_rows(predictor, read_labelled(predictor.manifest, Path(file), text, text_b, label), batch_size)


def evaluate_rows(predictor: Predictor, rows: LabelledRows, batch_size: int = BATCH_SIZE) -> dict[str, Any]:
    """As `evaluate`, for a bundle that is open and rows that were read."""
    outputs = predictor.outputs(rows.texts, rows.texts_b, batch_size)
    require_finite(np.concatenate(outputs), str(predictor.folder))
    scored = predictor.kind.scored(outputs, rows.gold, predictor.labels, rows.texts)
    metric = predictor.manifest.metric
    bounds = interval(metric, scored)
    seen = {"interval": [bounds.low, bounds.high], "breakdown": predictor.kind.breakdown(scored)}
    return {"rows": len(rows.gold), **predictor.kind.scores(metric, scored), **seen}


def print_evaluation(values: dict[str, Any]) -> None:
    """Prints what `evaluate` found: as JSON, and as tables on standard error."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    console, breakdown = Console(stderr=True), values["breakdown"]
    if breakdown["labels"]:
        more = [name for name in ("threshold",) if name in breakdown["labels"][0]]
        names = ("gold", "answers", "precision", "recall", "F1", *more)
        table = Table("label", *(Column(name, justify="right") for name in names))
        for row in breakdown["labels"]:
            counts = row["rows"], row["answers"]
            shares = (row[name] for name in ("precision", "recall", "f1", *more))
            table.add_row(escape(row["label"]), *map(str, counts), *(f"{share:.3f}" for share in shares))
        console.print(table)
    if breakdown["confusion"]:
        columns = [Column(escape(row["label"]), justify="right") for row in breakdown["labels"]]
        table = Table("gold / answer", *columns)
        for row, counts in zip(breakdown["labels"], breakdown["confusion"], strict=True):
            table.add_row(escape(row["label"]), *map(str, counts))
        console.print(table)
    if breakdown["one_answer"] is not None:
        console.print(f"all answers are {breakdown['one_answer']!r}", markup=False)
    print(json.dumps(values, indent=1))


def answer_rows(
    predictor: Predictor, texts: list[str], texts_b: list[str] | None, answers: list[Any]
) -> list[dict[str, Any]]:
    """The rows and their answers as JSON values, the same in `predict` and in the HTTP server."""
    columns = {"text": texts} if texts_b is None else {"text": texts, "text_b": texts_b}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [{**row, **predictor.kind.as_json(answer)} for row, answer in zip(rows, answers, strict=True)]

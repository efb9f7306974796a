"""Rows for a bundle: plain text files, labelled files in the layout of the training data, and answers as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.formats import names_no_format, require_file
from ..data.raw_rows import RawRow
from ..data.tables import TableFormat
from ..defaults import BATCH_SIZE
from ..errors import InputError, Problems
from ..files import utf8_lines, write_text
from ..kinds import KINDS
from ..text_rule import require_text
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


def read_texts(path: Path) -> tuple[list[str], list[str] | None]:
    """One text per line; with a tab in the first line, pairs. Or jsonl. Raises InputError(s) with file and line."""
    require_file(path)
    first = next((line for _, line in utf8_lines(path) if isinstance(line, str) and line.strip()), "")
    pair = "\t" in first or '"text_b"' in first
    table = TableFormat(text=0, text_b=1 if pair else None, label=None, header=False)
    problems = Problems()
    return _columns(KINDS["classification"].raw_rows(path, table, [], None, problems), problems, pair)


def _columns(rows: Iterator[RawRow], problems: Problems, pair: bool) -> tuple[list[str], list[str] | None]:
    read = list(rows)
    problems.finish()
    return [row.text for row in read], [row.text_b or "" for row in read] if pair else None


def read_rows(manifest: Manifest, path: Path) -> tuple[list[str], list[str] | None]:
    """A file of rows to predict, in the layout of the training data, labels or not, or texts alone.

    Raises InputError(s) with file and line.
    """
    table = TableFormat(**{"text": 0, "label": 1 + manifest.pair, **manifest.table})
    if manifest.pair and table.text_b is None:  # a data set by name, whose fields were found by their usual names
        table = replace(table, text=0, text_b=1, label=2)
    problems = Problems()
    rows = manifest.kind.raw_rows(path, table, manifest.labels, manifest.unit, problems)
    return _columns(rows, problems, manifest.pair)


def read_labelled(
    manifest: Manifest, file: Path, text: str | None = None, text_b: str | None = None, label: str | None = None
) -> LabelledRows:
    """A labelled tsv, csv, jsonl or conll file; columns not given are those of the training data.

    Raises InputError that names file and line.
    """
    table = manifest.table
    chosen: dict[str, Any] = {
        name: table.get(name) if given is None else int(given) if given.isdigit() else given
        for name, given in (("text", text), ("text_b", text_b), ("label", label))
    }
    layout = TableFormat(
        format=table.get("format", "auto") if names_no_format(file) else "auto",
        **{name: value for name, value in table.items() if name not in ("format", *chosen)},
        **chosen,
    )
    return LabelledRows.of(manifest.kind.read(file, layout, manifest.labels))


def evaluate(
    bundle: str | os.PathLike,
    file: str | os.PathLike,
    text: str | None = None,
    text_b: str | None = None,
    label: str | None = None,
    batch_size: int = BATCH_SIZE,
    threads: int = 1,
) -> dict[str, Any]:
    """Metrics of a bundle on a labelled file: the number of rows, the task's metric, and those usually read beside it.

    text, text_b, label: columns by name or position; those of the training data if they are not given.
    Raises InputError that names file and line.
    """
    predictor = Predictor(bundle, threads=threads)
    rows = read_labelled(predictor.manifest, Path(file), text, text_b, label)
    outputs = predictor.outputs(rows.texts, rows.texts_b, batch_size)
    require_finite(np.concatenate(outputs), str(bundle))
    return {"rows": len(rows.gold), **predictor.score(outputs, rows.gold, rows.texts)}


def answer_rows(
    predictor: Predictor, texts: list[str], texts_b: list[str] | None, answers: list[Any]
) -> list[dict[str, Any]]:
    """The rows and their answers as JSON values, the same in `predict` and in the HTTP server."""
    columns = {"text": texts} if texts_b is None else {"text": texts, "text_b": texts_b}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [{**row, **predictor.kind.as_json(answer)} for row, answer in zip(rows, answers, strict=True)]


def predict_rows(
    bundle: str | os.PathLike,
    text: str | None,
    text_b: str | None,
    file: Path | None,
    batch_size: int = BATCH_SIZE,
    device: str = "cpu",
    threads: int = 1,
    precision: str | None = None,
) -> list[dict[str, Any]]:
    """The answers to one text (or pair), or to a file's rows, as JSON values. Raises InputError for wrong input."""
    if (text is None) == (file is None):
        raise InputError("give a text or --input FILE, not both", "predict", "see predict --help")
    texts_b: list[str] | None
    if file is not None:
        file = Path("/dev/stdin") if str(file) == "-" else file
        require_file(file)
    texts, texts_b = [text or ""], None if text_b is None else [text_b]
    for given in (*texts, *(texts_b or ())) if file is None else ():
        require_text(given, "predict")
    predictor = Predictor(bundle, device, threads, precision)
    if file is not None:
        texts, texts_b = read_rows(predictor.manifest, file)
    return answer_rows(predictor, texts, texts_b, predictor.predict(texts, texts_b, batch_size))


def write_answers(answers: list[dict[str, Any]], output: Path | None) -> None:
    """Writes one JSON object per line; a file appears only once it is complete. None: standard output.

    What a terminal's encoding lacks is written as a JSON escape.
    """
    encoding = sys.stdout.encoding if output is None else "utf-8"
    body = "".join(_line(answer, encoding) for answer in answers)
    if output is None:
        sys.stdout.write(body)
    else:
        write_text(output, body)


def _line(answer: dict[str, Any], encoding: str) -> str:
    line = json.dumps(answer, ensure_ascii=False) + "\n"
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(answer) + "\n"
    return line

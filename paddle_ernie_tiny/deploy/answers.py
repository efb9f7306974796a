"""Answers to texts and to files of any size: read, answered and written block by block, in whole lines."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..data.formats import require_file
from ..data.raw_rows import RawRow
from ..defaults import AUTO, BATCH_SIZE
from ..errors import InputError, Problems
from ..files import growing_text, part_of, require_writable
from ..text_rule import require_text
from .predictor import Predictor
from .row_files import answer_rows, raw_table, say

FORMATS = ("jsonl", "csv", "tsv")
_BATCHES = 16  # of a block: rows of similar length are answered together
_TSV_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"})
Record = dict[str, Any]


class Refusals(Problems):
    """Rows that are refused, each handed on at its place among the others; `finish` raises what they were."""

    def __init__(self, take: Callable[[InputError], None]):
        super().__init__(share=1.0)  # bad rows do not end the reading
        self.take = take

    def add(self, what: str, where: str | None, remedy: str | None, rows: int = 1) -> None:
        """Takes in an error, and hands it on."""
        super().add(what, where, remedy, rows)
        self.take(InputError(what, where, remedy))


class AnswerLines:
    """Records as lines of text in one of FORMATS; csv and tsv begin with the columns' names.

    top: how many labels are given, the most likely ones. Raises InputError for an unknown format, and for `top` where
    an answer has no probabilities.
    """

    def __init__(self, predictor: Predictor, form: str, top: int | None, encoding: str):
        fields = [field for field in predictor.kind.answer_fields if field != "probabilities"]
        if form not in FORMATS:
            raise InputError(f"unknown format {form!r}", "--format", f"use {', '.join(FORMATS)}")
        if top is not None and "probabilities" not in predictor.kind.answer_fields:
            raise InputError("this bundle gives no probabilities of labels", "--top", "leave it out")
        self.form, self.top, self.encoding = form, top, encoding
        first = 2 if "label" in fields else 1  # the most likely one is the answer itself, or it is a set
        places = range(first, min(top or 0, len(predictor.labels)) + 1)
        fields += [f"{field}_{place}" for place in places for field in ("label", "probability")]
        pair = ["text_b"] if predictor.manifest.pair else []
        self.columns = ["id", "text", *pair, *fields, "truncated", "error"]
        self._begun = form == "jsonl"

    def text(self, records: list[Record]) -> str:
        """The records' lines, after those of earlier calls."""
        lines = [] if self._begun else [self._cells(self.columns)]
        self._begun = True
        for record in records:
            ranked = sorted(record.get("probabilities", {}).items(), key=lambda item: -item[1])[: self.top]
            if self.form == "jsonl":
                lines.append(self._json({**record, "probabilities": dict(ranked)} if self.top and ranked else record))
                continue
            record = {"error": "", **record}
            if "line" in record:
                record["error"] = f"line {record['line']}: {record['error']}"
            for place, (label, probability) in enumerate(ranked, start=1):
                record |= {f"label_{place}": label, f"probability_{place}": probability}
            lines.append(self._cells([record.get(column, "") for column in self.columns]))
        return "".join(lines)

    def _cells(self, values: list[Any]) -> str:
        cells = [json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict | bool) else str(v) for v in values]
        if self.form == "tsv":
            line = "\t".join(cell.translate(_TSV_ESCAPES) for cell in cells) + "\n"
        else:
            held = io.StringIO()
            csv.writer(held, lineterminator="\n").writerow(cells)
            line = held.getvalue()
        return line.encode(self.encoding, "backslashreplace").decode(self.encoding)

    def _json(self, record: Record) -> str:
        line = json.dumps(record, ensure_ascii=False) + "\n"
        try:
            line.encode(self.encoding)
        except UnicodeEncodeError:  # what a terminal's encoding lacks
            return json.dumps(record) + "\n"
        return line


def predict_rows(
    bundle: str | os.PathLike,
    text: str | None,
    text_b: str | None,
    file: Path | None,
    output: Path | None = None,
    form: str = "jsonl",
    top: int | None = None,
    batch_size: int = BATCH_SIZE,
    device: str = "cpu",
    threads: int | str = 1,
    precision: str | None = None,
    engine: str = AUTO,
) -> None:
    """Writes the answers to one text (or pair), or to a file's rows ("-": standard input), to a file or the screen.

    Raises InputError for wrong input; for rows that are refused, after the answers to the others.
    """
    if (text is None) == (file is None):
        raise InputError("give a text or --input FILE, not both", "predict", "see predict --help")
    if output is not None:
        require_writable(output, file)
    if file is not None:
        file = Path("/dev/stdin") if str(file) == "-" else file
        require_file(file)
    for given in (text, text_b):
        if given is not None:
            require_text(given, "predict")
    predictor = Predictor(bundle, device, threads, precision, engine)
    lines = AnswerLines(predictor, form, top, (sys.stdout.encoding or "utf-8") if output is None else "utf-8")
    if file is not None:
        predict_file(predictor, file, output, lines, batch_size)
        return
    texts, texts_b = [text or ""], None if text_b is None else [text_b]
    records = answer_rows(predictor, texts, texts_b, predictor.predict(texts, texts_b, batch_size))
    with growing_text(output) as write:
        write(lines.text(records))


def predict_file(
    predictor: Predictor, file: Path, output: Path | None, lines: AnswerLines, batch_size: int = BATCH_SIZE
) -> None:
    """Answers a file's rows in their order, in memory that does not grow with the file.

    A row that is refused has its record at its place (its line, and what is wrong), and InputErrors names them at the
    end. Then, and after Ctrl-C, the lines are in `output` with `.part` behind its name, whole ones alone.
    """
    pending: list[RawRow | InputError] = []
    with growing_text(output) as write:

        def flush() -> None:
            rows = [one for one in pending if isinstance(one, RawRow)]
            texts = [row.text for row in rows]
            texts_b = [row.text_b or "" for row in rows] if predictor.manifest.pair else None
            found = predictor.predict(texts, texts_b, batch_size) if texts else []
            records = zip(rows, answer_rows(predictor, texts, texts_b, found), strict=True)
            answers = ({**({} if row.id is None else {"id": row.id}), **record} for row, record in records)
            write(lines.text([_refused(one) if isinstance(one, InputError) else next(answers) for one in pending]))
            pending.clear()

        def take(one: RawRow | InputError) -> None:
            last = pending[-1] if pending else None
            if isinstance(one, InputError) and isinstance(last, InputError) and last.where == one.where:
                last.what += f"; {one.what}"  # two faults of one row
                return
            pending.append(one)
            if len(pending) >= _BATCHES * batch_size:
                flush()

        refusals = Refusals(take)
        manifest = predictor.manifest
        try:
            for row in manifest.kind.raw_rows(file, raw_table(manifest), manifest.labels, manifest.unit, refusals):
                take(row)
        except KeyboardInterrupt:
            if output is not None:
                print(f"the answers so far are in {part_of(output)}, in whole lines", file=sys.stderr)
            raise
        except InputError:  # of a file that is damaged further down
            flush()
            raise
        flush()
        say(refusals)
        refusals.share = None
        if refusals and output is not None:
            print(f"rows are refused; the answers to the others are in {part_of(output)}", file=sys.stderr)
        refusals.finish()


def _refused(error: InputError) -> Record:
    line = (error.where or "").rpartition(":")[2]
    return {"line": int(line), "error": error.what} if line.isdecimal() else {"error": str(error)}

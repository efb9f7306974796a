"""Rows of extractive reading: questions, their contexts, their answers with their places; and what preflight says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from ..errors import Finding, InputError, Problems, shown
from ..kinds.reading_scores import Gold, right_span
from . import tables
from .formats import Paths, files_of
from .readers import checked_text, load_paddlenlp
from .rows import EncodedRows
from .tables import Cells, TableFormat
from .windows import by_row

_NEAR = 16  # characters by which an answer_start may be wrong, and is corrected
_MOST_PLACES = 1000  # of an answer's text in a context that are looked at
_NO_ANSWER = "give the question its answers, or is_impossible: true"
_SEVERAL, _MOVED, _ABSENT = (
    "{} answers have no answer_start and occur several times in their context: the first occurrence is taken",
    "{} answers stand a few characters beside their answer_start: it is corrected",
    "{} further answers do not occur in their context: they count for the scores alone",
)


@dataclass(frozen=True)
class Question:
    """A row: `answers` with their first characters as `Gold` has them, () if it has none in the context.

    None: nobody has answered it. `line` is where the row starts, from 1, or its number in a document.
    """

    text: str
    text_b: str
    answers: tuple[tuple[str, int | None], ...] | None
    line: int
    soft: ClassVar[None] = None  # files give no soft labels to places

    @property
    def label(self) -> Gold | None:
        """What is right."""
        return None if self.answers is None else Gold(self.text_b, self.answers)

    @property
    def content(self) -> tuple:
        """What the row says, without its answers."""
        return self.text, self.text_b


def read_questions(
    given: Paths, table: TableFormat, require_label: bool = True, problems: Problems | None = None
) -> list[Question]:
    """Reads the questions of one or several files. Raises InputError and InputErrors as `read_examples` does.

    Without `require_label` a row may have no answers. An answer_start that is a few characters beside the answer's text
    is corrected, and counted in a note of `problems`.
    """
    problems = Problems(table.max_bad_rows) if problems is None else problems
    for key, value in (("label_aliases", table.label_aliases), ("drop_labels", table.drop_labels)):
        if value:
            raise InputError("answers are texts, not labels", f"data.{key}", "leave it out")
    examples: list[Question] = []
    for path in files_of(given):
        if table.text_b is None:
            raise InputError("no column of contexts", str(path), "name it in data.columns.text_b")
        rows = tables.labelled_rows(path, table, problems, _is_header, require_label)
        read = list(_questions(rows, f"{path}:", str(path), problems, require_label))
        problems.finish(len(read), str(path))
        if not read:
            raise InputError("no questions", str(path), "give a file with at least one question")
        examples += read
    return examples


def read_paddlenlp_questions(
    name: str, split: str, table: TableFormat, subset: str | None = None, problems: Problems | None = None
) -> list[Question]:
    """As `read_paddlenlp`, one split of a data set of reading (cmrc2018, drcd, dureader_robust, squad)."""
    rows, _, where = load_paddlenlp(name, split, subset)
    lacking = {"question", "context", "answers"} - rows[0].keys()
    if lacking:
        raise InputError(f"no field {min(lacking)!r}", where, f"its fields are {', '.join(rows[0])}")

    def cells(row: dict[str, Any]) -> Cells:
        texts, starts = list(row["answers"]), list(row.get("answer_starts") or [None] * len(row["answers"]))
        answers = {"text": texts, "answer_start": starts} if texts or row.get("is_impossible") else None
        return {"text": row["question"], "text_b": row["context"], "label": answers}

    problems = Problems(table.max_bad_rows) if problems is None else problems
    examples = list(_questions(enumerate(map(cells, rows), start=1), f"{where}, row ", where, problems, False))
    problems.finish(len(examples), where)
    return examples


def _is_header(first: Cells) -> bool:
    return str(first.get("label")).strip().lower() in ("answers", "answer", "label", "答案")


def _questions(
    rows: Iterable[tuple[int, Cells]], place: str, whole: str, problems: Problems, require_label: bool
) -> Iterator[Question]:
    counts: Counter[str] = Counter()
    for line, cells in rows:
        where, answers = f"{place}{line}", None
        question = checked_text(cells["text"], "question", where, problems)
        context = checked_text(cells["text_b"], "context", where, problems)
        try:
            written = _written(cells.get("label"))
            if written is None and require_label:
                problems.add("no answer", where, _NO_ANSWER)
            answers = None if written is None else tuple(_placed(context, written, counts))
        except ValueError as error:
            problems.add(str(error), where, "correct the answer, or take the question out")
        if not problems.is_bad(where):
            yield Question(question, context, answers, line)
    for what, count in (+counts).items():  # those that are there
        problems.note("note", what.format(count), whole)


def _written(value: Any) -> list[tuple[str, int | None]] | None:
    """The answers of a cell, and where each is said to start; []: it says that there is none, None: it says nothing.

    A text; a list of texts; SQuAD's list of objects; the two lists of `datasets`, which are empty where there is none.
    Raises ValueError for anything else.
    """
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        texts, starts = value["text"], value.get("answer_start", [None] * len(value["text"]))
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise ValueError(f"{len(texts)} answers, but answer_start is {shown(starts)}")
        if not texts:
            return []
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    items = value if isinstance(value, list) else [] if value is None else [value]
    found: list[tuple[str, int | None]] = []
    for item in items:
        item = item if isinstance(item, dict) else {"text": item}
        text, start = item.get("text"), item.get("answer_start", item.get("start"))
        if not isinstance(text, str) or not (start is None or type(start) is int):
            raise ValueError(f"not an answer with text and answer_start: {shown(item)}")
        if text.strip():
            before = len(text) - len(text.lstrip())
            found.append((text.strip(), None if start is None or start < 0 else start + before))
    return found or None


def _placed(
    context: str, written: list[tuple[str, int | None]], counts: Counter[str]
) -> Iterator[tuple[str, int | None]]:
    """The answers where they stand. Raises ValueError where none of a question's does, or one does not fit."""
    absent = 0
    for text, start in dict.fromkeys(written):
        if start is not None and context.startswith(text, start):
            yield text, start
            continue
        places = [found.start() for found in islice(re.finditer(f"(?={re.escape(text)})", context), _MOST_PLACES)]
        nearest = min(places, key=lambda place: abs(place - (start or 0)), default=None)
        if nearest is None:
            absent += 1
            yield text, None
        elif start is None:
            counts[_SEVERAL] += len(places) > 1
            yield text, nearest
        elif abs(nearest - start) <= _NEAR:
            counts[_MOVED] += 1
            yield text, nearest
        else:
            there = f"{shown(context[start : start + len(text)])} there"
            if start >= len(context):
                there = f"it is beyond the context, which has {len(context)} characters"
            where = ", ".join(map(str, places[:5])) + " ..." * (len(places) > 5)
            raise ValueError(f"answer_start {start} of {shown(text)} does not fit: {there}; the text occurs at {where}")
    if absent and absent == len(dict.fromkeys(written)):
        raise ValueError(f"the answer {shown(written[0][0])} does not occur in the context")
    if absent:
        counts[_ABSENT] += absent


def answer_findings(name: str, rows: Sequence[Question]) -> list[Finding]:
    """How long the contexts and answers of a split are, and how many questions have no answer."""
    lengths = [len(text) for row in rows for text, _ in row.answers or ()]
    without = sum(row.answers == () for row in rows)
    contexts = np.percentile([len(text) for text in {row.text_b for row in rows}], [50, 100])
    what = f"contexts of {contexts[0]:.0f} characters (median) to {contexts[1]:.0f}"
    if lengths:
        what += f", answers of {np.median(lengths):.0f} to {max(lengths)}"
    what += f"; {without} of {len(rows)} questions have no answer" if without else "; every question has an answer"
    if lengths or name != "train":
        return [Finding("note", "answers", what, f"data.{name}")]
    return [Finding("warning", "answers", what, "data.train", "add some that have one, or only that can be learnt")]


def window_findings(rows: EncodedRows, most: int, where: str) -> list[Finding]:
    """Answers of tokenised rows that no window holds whole, or that are longer than a prediction may be."""
    assert rows.labels is not None and rows.gold is not None
    pairs = list(zip(rows.labels, rows.gold, strict=True))
    by_question = [[pair] for pair in pairs] if rows.rows is None else by_row(rows.rows, pairs, list)
    lost = long = answered = 0
    for windows in by_question:
        gold = windows[0][1]
        if gold is None or right_span(gold) is None:
            continue
        answered += 1
        spans = [np.flatnonzero(label > 0) for label, _ in windows if (label[1:] > 0).any()]
        lost += not spans
        long += any(span[-1] - span[0] >= most for span in spans)
    found = []
    if lost:
        what = f"{lost} of {answered} answers are in no window as a whole: they take no part in training"
        remedy = "raise task.max_length_tokens, or task.settings.stride"
        found.append(Finding("warning", "answers", what, where, remedy))
    if long:
        what = f"{long} of {answered} answers have more than {most} tokens, which no prediction has"
        found.append(Finding("warning", "answers", what, where, "raise task.settings.max_answer_tokens"))
    return found

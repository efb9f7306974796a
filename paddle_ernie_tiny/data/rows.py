"""Rows of a task: as they are read from files, and as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np

from .windows import by_row

# The label of what has none: padding, [CLS], [SEP], the later pieces of a word, rows without a label.
IGNORED = -100


@dataclass(frozen=True)
class Example:
    """One row: `label` is a class id, a score (regression) or None; `line` is where it starts, from 1.

    soft: the soft label that the file gives the row, as logits in the order of the labels; None: it gives none.
    """

    text: str
    text_b: str | None
    label: int | float | None
    line: int
    soft: tuple[float, ...] | None = None
    text_c: str | None = None  # of a triple: a wrong document, beside the right one

    @property
    def content(self) -> tuple:
        """What the row says, without its label."""
        return (self.text, self.text_b) if self.text_c is None else (self.text, self.text_b, self.text_c)


@dataclass(frozen=True)
class TokenExample:
    """Words and their tags (places in the task's labels; None: untagged); `line` is where the row starts, from 1.

    unit: how its text was cut into these words, where the file has texts and spans; None: the file has words.
    """

    words: tuple[str, ...]
    tags: tuple[int, ...] | None
    line: int
    unit: str | None = None
    text_b: ClassVar[None] = None  # no field: rows that were kept on disk have none
    soft: ClassVar[None] = None  # files give no soft labels to tags

    @property
    def text(self) -> list[str]:
        """The row as the tokenizer takes it."""
        return list(self.words)

    @property
    def label(self) -> tuple[int, ...] | None:
        """Its tags."""
        return self.tags

    @property
    def content(self) -> tuple:
        """What the row says, without its tags."""
        return self.words


def text_key(row: Example | TokenExample) -> tuple[str, ...]:
    """What rows that say the same share: their texts without blanks, of words however they were cut."""
    return tuple("".join("".join(part).split()) for part in (row.text, row.text_b) if part is not None)


def soft_labels_of(examples: Sequence[Any]) -> np.ndarray | None:
    """The rows' soft labels from files, float32 [rows, labels], NaN in rows without one; None: no row has one."""
    given = [example.soft for example in examples]
    count = next((len(soft) for soft in given if soft is not None), None)
    if count is None:
        return None
    return np.array([(np.nan,) * count if soft is None else soft for soft in given], dtype=np.float32)


def characters(row: Example | TokenExample) -> int:
    """Length of the row's text, of both its texts, or of its words together."""
    return sum(len(part or "") for part in row.content)


@dataclass
class EncodedRows:
    """Tokenised rows, in the order of the file; of a row that is too long, its windows, each as a row of its own.

    labels: what the loss takes of each row, a number or an array [length]; None for rows without labels.
    gold: what the metric takes of each row, a number or a list of them; None for rows that are not scored.
    places: where in a row its answers are, int64 [answers]; None: the whole row has one answer.
    groups: int64 [rows], equal for rows with the same first text (a question and its answers).
    rows: int64 [windows], which row of the file each window is of; None: every row is one window.
    together: are the windows of a row always in one batch, since its loss is of all of them?
    soft: soft labels from a file as logits, float32 [rows, labels], NaN in rows without one; None: there are none.
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    labels: Sequence[Any] | np.ndarray | None = None
    gold: Sequence[Any] | np.ndarray | None = None
    places: list[np.ndarray] | None = None
    groups: np.ndarray | None = None
    rows: np.ndarray | None = None
    together: bool = False
    soft: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.lengths = np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    @property
    def starts(self) -> np.ndarray | None:
        """Where the rows begin that a batch takes whole, int64 [rows]; None: it takes windows one by one."""
        return np.flatnonzero(np.diff(self.rows, prepend=-1)) if self.together and self.rows is not None else None

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = {"input_ids": self.input_ids[index], "token_type_ids": self.token_type_ids[index]}
        for name, values in (("labels", self.labels), ("soft", self.soft)):
            if values is not None:
                row[name] = values[index]
        return row

    @property
    def row_groups(self) -> Sequence[int] | np.ndarray | None:
        """The groups of whole rows."""
        return None if self.groups is None else by_row(self.rows, self.groups, itemgetter(0))

    def take(self, indices: Sequence[int] | np.ndarray) -> EncodedRows:
        """The rows (or windows) at `indices`, in that order."""

        def picked(values: Any) -> Any:
            if isinstance(values, list):
                return [values[i] for i in indices]
            return values if values is None or isinstance(values, bool) else values[np.asarray(indices)]

        return EncodedRows(*(picked(getattr(self, field.name)) for field in fields(self)))


class PairedRows:
    """The same rows in the ids of a student and of a teacher that have different vocabularies.

    An item is the student's row, with the teacher's under "teacher". Of tagged rows "teacher_at" says for every token
    of the student's row where the teacher answers for its word: int64 [length], 0 for tokens without a label. Raises
    ValueError unless both have the same windows over the same words (`TextTokenizer.encode_words`).
    """

    def __init__(self, student: EncodedRows, teacher: EncodedRows):
        counts = [[*map(len, side.places)] if side.places else len(side) for side in (student, teacher)]
        if counts[0] != counts[1]:
            raise ValueError("the windows of the student's rows are not those of the teacher's")
        self.student, self.teacher, self.starts = student, teacher, student.starts
        self.lengths = student.lengths + teacher.lengths  # batches hold rows that are similar in both

    def __len__(self) -> int:
        return len(self.student)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = {**self.student[index], "teacher": self.teacher[index]}
        if self.student.places is None or self.teacher.places is None:
            return row
        own, theirs = self.student.places[index], self.teacher.places[index]
        row["teacher_at"] = np.zeros(len(row["input_ids"]), dtype=np.int64)
        row["teacher_at"][own] = theirs
        return row

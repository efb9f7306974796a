"""A model's outputs on labelled rows, as metrics take them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class Scored:
    """A model's outputs on labelled rows.

    outputs: of each row, logits [answers, labels]; a row has one answer, or one for each word that was not cut off
    (as one array [rows, 1, labels], if every row has one).
    gold: of each row, its label, score, or the tags of all of its words. labels: their names.
    groups: [rows], equal for the answers to one question.
    """

    outputs: list[np.ndarray] | np.ndarray
    gold: Sequence[Any] | np.ndarray
    labels: Sequence[str]
    groups: Sequence[Any] | np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.outputs) != len(self.gold):
            raise ValueError(f"{len(self.outputs)} rows with outputs but {len(self.gold)} with gold labels")

    @cached_property
    def logits(self) -> np.ndarray:
        """All answers, one after another: [answers, labels]."""
        return self.outputs[:, 0] if isinstance(self.outputs, np.ndarray) else np.concatenate(self.outputs)

    @cached_property
    def targets(self) -> np.ndarray:
        """The gold label of every answer: [answers]."""
        if self._one_each:
            return np.asarray(self.gold)
        pairs = zip(self.gold, self.outputs)  # noqa: B905 (Python 3.9)
        return np.concatenate([np.atleast_1d(np.asarray(gold))[: len(output)] for gold, output in pairs])

    @cached_property
    def predictions(self) -> np.ndarray:
        """The most likely label's id of every answer, or its score if there is one output: [answers]."""
        return self.logits[:, 0] if self.logits.shape[1] == 1 else self.logits.argmax(axis=1)

    @property
    def rows(self) -> np.ndarray:
        """The row of every answer: int64 [answers]."""
        return np.repeat(np.arange(len(self.outputs)), [len(output) for output in self.outputs])

    def take(self, chosen: np.ndarray) -> Self:
        """The rows for which bool [rows] is true, or those at int64 [chosen]."""
        places = np.arange(len(self.outputs))[chosen]
        groups = None if self.groups is None else np.asarray(self.groups)[places]
        if self._one_each:
            return replace(self, outputs=self.logits[places][:, None], gold=self.targets[places], groups=groups)
        rows = [self.outputs[i] for i in places], [self.gold[i] for i in places]
        return replace(self, outputs=rows[0], gold=rows[1], groups=groups)

    def shuffled(self, rng: np.random.Generator) -> Scored:
        """The same answers given to other rows: what the model would score if it did not look at the text."""
        order, other = rng.permutation(len(self.logits)), copy(self)  # with what is cached of the gold labels
        logits = self.logits[order]
        ends = np.cumsum([len(output) for output in self.outputs])[:-1]
        other.outputs = logits[:, None] if self._one_each else np.split(logits, ends)
        other.__dict__.update(logits=logits, predictions=self.predictions[order])
        return other

    @property
    def varied(self) -> bool:
        """Do the gold labels differ at all?"""
        return bool(np.ptp(np.concatenate([np.atleast_1d(gold) for gold in self.gold])))

    def right(self, places: Sequence[int] | np.ndarray, groups: Any = None) -> Scored:
        """A model whose every answer is right, on the rows at `places`."""
        return right_answers([self.gold[i] for i in places], self.labels, groups)

    def fair(self) -> Scored:
        """Of right answers, those of a fair teacher.

        It answers half of the rows of each label right and gives the usual answer (the most frequent label, or the mean
        score) to the others.
        """
        logits, values = self.logits, np.array([np.mean(row) for row in self.gold])
        order, first = np.argsort(values, kind="stable"), np.zeros(len(values), dtype=np.int64)
        if logits.shape[1] > 1:
            usual = np.eye(logits.shape[1])[np.bincount(logits.argmax(-1)).argmax()]
            if np.ndim(self.gold[0]) == 0:
                first = np.searchsorted(values[order], values)  # where the label begins
        else:
            usual = logits.mean(0)
        chosen = (np.argsort(order) - first) % 2 == 1  # every second row of a label; else by size
        pairs = zip(self.outputs, chosen)  # noqa: B905 (Python 3.9)
        outputs = [own if known else np.tile(usual, (len(own), 1)) for own, known in pairs]
        return Scored(outputs, self.gold, self.labels, self.groups)

    def errors_table(self) -> str:
        """What is taken for what, as lines of text; empty without labels."""
        from .metrics import confusion_matrix

        return confusion_matrix(self) if len(self.labels) > 1 else ""

    @cached_property
    def _one_each(self) -> bool:
        return len(self.logits) == len(self.outputs) and np.ndim(self.gold[0]) == 0

    @classmethod
    def of(cls, predictions: Any, gold: Any, labels: Sequence[str] = (), groups: Any = None) -> Scored:
        """From one answer per row: class ids [rows], scores [rows] or logits [rows, labels]."""
        values, targets = np.asarray(predictions), np.asarray(gold)
        if len(values) != len(targets) or not len(targets):
            raise ValueError(f"expected equal lengths above 0, got {values.shape} and {targets.shape}")
        return cls(values.reshape([len(values), 1, -1]), targets, labels, groups)


def right_answers(gold: Sequence[Any] | np.ndarray, labels: Sequence[str], groups: Any = None) -> Scored:
    """A model whose every answer is right; gold labels as `Scored` has them."""
    if np.ndim(gold[0]):
        eye = np.eye(len(labels))
        return Scored([eye[np.asarray(row, dtype=np.int64)] for row in gold], gold, labels, groups)
    known = np.asarray(gold)
    outputs = np.eye(len(labels))[known.astype(np.int64)] if len(labels) > 1 else known.astype(np.float64)[:, None]
    return Scored(outputs[:, None], known, labels, groups)

"""A model's outputs on labelled rows, as metrics take them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


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

    def take(self, chosen: np.ndarray) -> Scored:
        """The rows for which bool [rows] is true, or those at int64 [chosen]."""
        places = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        groups = None if self.groups is None else np.asarray(self.groups)[places]
        if self._one_each:
            return Scored(self.logits[places][:, None], np.asarray(self.gold)[places], self.labels, groups)
        return Scored([self.outputs[i] for i in places], [self.gold[i] for i in places], self.labels, groups)

    def shuffled(self, rng: np.random.Generator) -> Scored:
        """The same answers given to other rows: what the model would score if it did not look at the text."""
        order, other = rng.permutation(len(self.logits)), copy(self)  # with what is cached of the gold labels
        logits = self.logits[order]
        ends = np.cumsum([len(output) for output in self.outputs])[:-1]
        other.outputs = logits[:, None] if self._one_each else np.split(logits, ends)
        other.__dict__.update(logits=logits, predictions=self.predictions[order])
        return other

    @cached_property
    def _one_each(self) -> bool:
        return len(self.logits) == len(self.outputs) and np.ndim(self.gold[0]) == 0

    @classmethod
    def by_row(
        cls, logits: np.ndarray, gold: np.ndarray, rows: np.ndarray, labels: Sequence[str], groups: Any = None
    ) -> Scored:
        """From all answers, one after another: logits [answers, labels]; gold, and the row, rising, [answers]."""
        ends = np.flatnonzero(np.diff(rows)) + 1
        return cls(np.split(logits, ends), np.split(gold, ends), labels, groups)

    @classmethod
    def of(cls, predictions: Any, gold: Any, labels: Sequence[str] = (), groups: Any = None) -> Scored:
        """From one answer per row: class ids [rows], scores [rows] or logits [rows, labels]."""
        values, targets = np.asarray(predictions), np.asarray(gold)
        if len(values) != len(targets) or not len(targets):
            raise ValueError(f"expected equal lengths above 0, got {values.shape} and {targets.shape}")
        return cls(values.reshape([len(values), 1, -1]), targets, labels, groups)

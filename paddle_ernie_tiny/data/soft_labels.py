"""Soft labels that a file gives its rows: probabilities or logits, which take the teacher's place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import InputError, Problems, shown
from .json_rows import unique_fields

if TYPE_CHECKING:
    from ..kinds import Kind

SoftValues = Literal["auto", "probabilities", "logits"]
_REMEDY = "correct the row; or set data.soft_label_values, if the rows only look different"


@dataclass
class SoftLabels:
    """Reads the soft labels of all of a run's files, which have to hold the same: probabilities, or logits.

    values: which of both; auto: as the first row shows. aliases: of label names. found: which it was, once it is known.
    """

    kind: Kind
    labels: Sequence[str]
    values: SoftValues = "auto"
    aliases: dict[str, str] = field(default_factory=dict)
    found: str | None = None
    first: str = ""  # where the first row with soft labels is
    rows: int = 0

    def read(self, value: Any, where: str, problems: Problems) -> tuple[float, ...] | None:
        """A cell's soft labels as logits in the order of the labels; None for an empty cell. Faults are problems."""
        if value is None or value == "":
            return None
        try:
            given = json.loads(value, object_pairs_hook=unique_fields) if isinstance(value, str) else value
            if isinstance(given, dict):
                given = unique_fields([(self.aliases.get(str(name), str(name)), n) for name, n in given.items()])
            numbers = self.kind.parse_soft(given, self.labels)
            return tuple(self._as_logits(numbers, where).tolist())
        except (ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
            problems.add(f"soft labels {shown(value)} are not JSON: {why}", where, "write a list or a mapping")
        except InputError as error:
            problems.add(error.what, where, error.remedy)
        return None

    def _as_logits(self, numbers: np.ndarray, where: str) -> np.ndarray:
        probable = self.kind.are_probabilities(numbers)
        seen = "probabilities" if probable else "logits"
        wanted = self.found if self.values == "auto" else self.values
        self.first, self.found, self.rows = self.first or where, wanted or seen, self.rows + 1
        if self.found == "probabilities" and not probable:
            as_before = f", but the soft labels of {self.first} are probabilities" if self.values == "auto" else ""
            raise InputError(f"{shown(numbers.tolist())} are no probabilities{as_before}", None, _REMEDY)
        if self.values == "auto" and self.found != seen:
            what = f"{shown(numbers.tolist())} are probabilities, but the soft labels of {self.first} are logits"
            raise InputError(what, None, _REMEDY)
        return self.kind.soft_logits(numbers) if self.found == "probabilities" else numbers

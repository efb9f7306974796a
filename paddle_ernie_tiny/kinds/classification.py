"""Classification: one label for each row, of a text or a pair of texts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar

from .kind import Kind, said_truncated
from .metrics import softmax


@dataclass(frozen=True)
class Prediction:
    """A classifier's answer; `probabilities` are in the order of the manifest's labels.

    truncated: was a part of the text left out?
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    truncated: bool = False


class Classification(Kind):
    """One label per row."""

    name = "classification"
    description = "one label per row"
    one_label = True
    problem_type = "single_label_classification"
    shown_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    answer_fields: ClassVar[dict[str, Any]] = {"label": str, "probability": float, "probabilities": dict[str, float]}
    example_answer = '{"label": ..., "probability": ..., "probabilities": {...}}'

    def parse_label(self, name, labels):
        """The id of a label's name, or of an id where no label's name holds another number than its own id."""
        from ..errors import InputError, shown

        labels = labels or []
        if name in labels:
            return labels.index(name)
        # If names hold numbers (1.0, 2.0, or 1 star), a number that is no name is more likely one of these than an id.
        if name.isascii() and name.isdigit() and name == str(int(name[:10])) and int(name) < len(labels):
            numbers = [
                (n.lstrip("0") or "0", str(i)) for i, label in enumerate(labels) for n in re.findall("[0-9]+", label)
            ]
            if all(number == place for number, place in numbers):
                return int(name)
        remedy = f"use one of {', '.join(labels[:20])}{' ...' if len(labels) > 20 else ''}"
        close = [label for label in labels if _number(label) == _number(name) is not None]
        close = close or get_close_matches(name[:200], labels, n=1)
        remedy += f" (did you mean {close[0]!r}?)" if close else ""
        raise InputError(f"unknown label {shown(name)}", None, remedy)

    def check_training_rows(self, train, labels, where):
        from ..errors import InputError

        present = {label for example in train for label in self.label_ids(example)}
        absent = [name for index, name in enumerate(labels) if index not in present]
        if absent:
            remedy = "add such rows, or take the label out of task.labels"
            raise InputError(f"no training row has the label {absent[0]!r}", where, remedy)

    def findings(self, splits, labels):
        from ..errors import Finding

        found = super().findings(splits, labels)
        for number in {_number(label) for label in labels} - {None}:
            names = [label for label in labels if _number(label) == number]
            if len(names) > 1:
                what = f"{' and '.join(map(repr, names))} are labels of their own: a label is what the file writes"
                remedy = "if they are one label, map them to one name with data.label_aliases"
                found.append(Finding("warning", "labels", what, "data.train", remedy))
        return found

    def decode(self, row, answers, labels):
        probabilities = softmax(answers[0])
        best = int(probabilities.argmax())
        by_label = {label: float(p) for label, p in zip(labels, probabilities)}  # noqa: B905 (Python 3.9)
        return Prediction(labels[best], float(probabilities[best]), by_label, row.truncated)

    def as_json(self, answer):
        rounded = {label: round(p, 6) for label, p in answer.probabilities.items()}
        label = {"label": answer.label, "probability": round(answer.probability, 6), "probabilities": rounded}
        return {**label, **said_truncated(answer)}


def _number(name: str) -> float | None:
    """The number that a label's name is, however it is written."""
    return float(name) if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", name) else None

"""What the cells of a label's column hold: one label, or a set of labels in one of three forms."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from ..errors import InputError, shown

_SIGNS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


def label_name(value: Any) -> str:
    """A label cell or value as the name that it is; empty if there is none.

    The one rule: a name is the text as the file writes it, so 1, 01 and 1.0 are three names. Truth values are `true`
    and `false`, as JSON writes them; a list of one (doccano's, Label Studio's) is what it holds.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, (list, dict)) or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).strip()


class Signs(dict[str, Any]):
    """The cells of a row's 0/1 columns, by the columns' names."""


class OneLabel:
    """A cell holds the label of its row."""

    def names(self, value: Any) -> list[str] | None:
        """The label names in a cell; None: the row has no label. Raises InputError, without a place."""
        if isinstance(value, dict):
            raise InputError(f"the label is {shown(value)}", None, "name the field inside it, such as label.name")
        if isinstance(value, list) and len(value) > 1:
            what = f"{len(value)} labels in one row: {shown(value)}"
            raise InputError(what, None, "give every row one label, or set task.kind to multi_label")
        name = label_name(value)
        if not name and isinstance(value, list) and value:
            raise InputError("no label", None, "give every row a label")
        return [name] if name else None

    def label(self, found: Sequence[Any]) -> Any:
        """The label of a row, of what each of its names stands for."""
        return found[0]

    def written(self, value: Any) -> Any:
        """The label names in a cell as JSON has them; None: the row has no label. Raises InputError as `names`."""
        names = self.names(value)
        return names and names[0]


class LabelSet(OneLabel):
    """A cell holds any number of labels: a list, as JSON or as text, or names with a separator between.

    `Signs` are the cells of several columns. An empty list or text is the empty set; null, or no such field, is no
    label. labels: how many the task has.
    """

    def __init__(self, separator: str, labels: int = 0):
        self.separator, self._made = separator, dict[frozenset[int], tuple[int, ...]]()
        self._count = labels

    def names(self, value: Any) -> list[str] | None:
        if isinstance(value, Signs):
            return self._signed(value)
        if isinstance(value, str):
            value = value.strip()
            value = self._listed(value) if value.startswith("[") else self._split(value)
        elif value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        elif not isinstance(value, list):
            value = [value]
        if any(isinstance(item, (list, dict)) or not label_name(item) for item in value):
            remedy = "give a list of label names, or name the field inside it, such as label.name"
            raise InputError(f"the labels are {shown(value)}", None, remedy)
        names = list(dict.fromkeys(map(label_name, value)))
        for name in names:
            self.check(name)
        return names

    def label(self, found: Sequence[int]) -> tuple[int, ...]:
        """1 for each label that the row has, 0 for the others; the same object for the same set."""
        key = frozenset(found)
        if key not in self._made:
            self._made[key] = tuple(int(i in key) for i in range(self._count))
        return self._made[key]

    def written(self, value: Any) -> Any:
        return self.names(value)

    def check(self, name: str) -> None:
        """Raises InputError for a name that holds the separator."""
        if self.separator in name:
            what = f"the label name {shown(name)} holds the separator {self.separator!r}"
            raise InputError(what, None, "set task.settings.separator to what no label name holds")

    def _split(self, text: str) -> list[str]:
        parts = text.split(self.separator if self.separator.strip() else None) if text else []
        if not all(part.strip() for part in parts):
            remedy = f"write label names with one {self.separator!r} between two, or nothing for no label"
            raise InputError(f"an empty label name in {shown(text)}", None, remedy)
        return parts

    def _listed(self, text: str) -> list[Any]:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list):
            raise InputError(f"the labels {shown(text)} are no JSON list", None, 'write ["A", "B"], or [] for no label')
        return found

    def _signed(self, cells: Signs) -> list[str] | None:
        if all(value is None for value in cells.values()):
            return None
        signs = {name: _SIGNS.get(label_name(value).lower()) for name, value in cells.items()}
        wrong = next((name for name, sign in signs.items() if sign is None), None)
        if wrong is not None:
            raise InputError(f"the column {wrong!r} holds {shown(cells[wrong])}", None, "write 1 for a label, else 0")
        return [name for name, sign in signs.items() if sign]

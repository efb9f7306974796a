"""What the cells of a label's column hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import InputError, shown


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

    def of(self, labels: int) -> OneLabel:
        """The same, of a task with so many labels."""
        return self

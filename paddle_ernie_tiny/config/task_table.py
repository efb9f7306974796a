"""The task table, `tasks.yaml`: the literature's tasks by name, with what a configuration need not say about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Task:
    """A task: its title, and the values of `task` and `data` that a configuration need not repeat."""

    title: str
    task: dict[str, Any]
    data: dict[str, Any]


_TABLE = yaml.safe_load(Path(__file__).with_name("tasks.yaml").read_text(encoding="utf-8"))
TASKS: dict[str, Task] = {name: Task(**row) for name, row in _TABLE.items()}


def fill_from_table(raw: dict) -> None:
    """Completes `task` and `data` of a configuration whose task is in the table; its own values win.

    Files of one's own (`data.source: files`, or paths without a source) keep the table's labels, metric, kind
    and length, and lay out their columns themselves.
    """
    task, data = raw.get("task"), raw.get("data")
    data = {} if data is None else data
    if not isinstance(task, dict) or not isinstance(data, dict):
        return
    known = TASKS.get(str(task.get("name")))
    if known is None:
        return
    raw["task"] = {**known.task, **task}
    own_files = data.get("source") == "files" or ("source" not in data and "train" in data)
    given = {"label_aliases": known.data.get("label_aliases", {})} if own_files else known.data
    columns = {**given.get("columns", {}), **(data.get("columns") or {})}
    raw["data"] = {**given, **data, **({"columns": columns} if columns else {})}

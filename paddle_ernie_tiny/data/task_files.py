"""The files of a task's splits: how they are laid out where nobody says it, and the faults of all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..config import TASKS, RunConfig
from ..errors import InputError, InputErrors, Problems
from ..kinds import Kind
from .formats import Paths, files_of, open_source
from .soft_labels import SoftLabels
from .tables import LABEL_NAMES, TEXT_NAMES, TableFormat


def layout_of(config: RunConfig, problems: Problems) -> TableFormat:
    """How the task's files are laid out: as configured, and where nothing is said, as the first training file shows.

    Without columns, those of the task table are taken if the file has them, fields by their usual names, other columns
    by position (a text, a second text of a pair, a label). Raises InputError for a file that cannot be read.
    """
    data, needs_label = config.data, config.task.configured_kind.needs_label
    columns = {key: column for key, column in data.columns.model_dump().items() if column is not None}
    if data.source == "files":
        columns = _found_columns(config, columns, problems)
    share = data.max_bad_rows if data.on_bad_row == "skip" else None
    return TableFormat(
        format=data.format,
        header=data.header,
        label_aliases=data.label_aliases,
        separator=data.separator,
        drop_labels=data.drop_labels,
        max_bad_rows=share,
        **{"label": 1 if needs_label and "soft_labels" not in columns else None, **columns},
    )


def _found_columns(config: RunConfig, given: dict[str, Any], problems: Problems) -> dict[str, Any]:
    data, task = config.data, TASKS.get(config.task.name)
    known = {} if task is None or given else {key: name for key, name in task.data["columns"].items() if name}
    first = files_of(data.train)[0]
    source = open_source(first, data.format, Problems(1.0), data.separator)
    if source.format == "conll":
        return {"text": 0, "label": -1, **given}
    if {"text", "label"} <= given.keys():
        return given
    fields = [str(name).strip() for name in next(source.rows, (0, ()))[1]]
    published = task.file_columns if task is not None and not given else {}
    if published and set(published.values()) <= set(fields):
        known = dict(published)
    elif known and known["label"] not in fields:
        known["label"] = next((name for name in LABEL_NAMES if name in fields), known["label"])
    by_name = data.header is not False and bool(known) and set(known.values()) <= set(fields)
    found = known if by_name else {}
    usual_columns = config.task.configured_kind.usual_columns
    if (source.named or usual_columns) and not by_name:
        for key, usual in {"text": TEXT_NAMES, "label": LABEL_NAMES, **usual_columns}.items():
            if key not in given and (name := next((name for name in usual if name in fields), None)):
                found[key] = name
    if found:
        said = ", ".join(f"{key} {name}" for key, name in found.items())
        problems.note("note", f"columns, which are not configured: {said}", str(first))
    pair = ("text_b" in known and not found) or "text_b" in usual_columns
    by_place = {"text": 0, "text_b": 1, "label": 2} if pair else {"text": 0, "label": 1}
    # beside soft labels a row may have no label, so a column by position could be any
    if not config.task.configured_kind.needs_label or "soft_labels" in given:
        del by_place["label"]
    return {**by_place, **found, **given}


def read_files(
    kind: Kind,
    paths: dict[str, Paths],
    table: TableFormat,
    labels: list[str] | None,
    problems: Problems,
    soft: SoftLabels | None = None,
) -> tuple[list[str], dict[str, Any]]:
    """The label names and the splits. Raises InputErrors with what is wrong with any of the files.

    soft: reads the soft labels of "train" and "unlabelled"; rows of "train" then need no label.
    """
    errors: dict[tuple, InputError] = {}
    splits: dict[str, Any] = {}

    def attempt(read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except InputError as error:
            several = error.errors if isinstance(error, InputErrors) else [error]
            errors.update({(one.where, one.what): one for one in several if (one.where, one.what) not in errors})
        return None

    if labels is None:
        labels = attempt(kind.infer_labels, paths["train"], table, Problems(table.max_bad_rows, problems.notes))
        if labels is None and all((where or "").rpartition(":")[2].isdecimal() for where, _ in errors):
            labels = attempt(kind.infer_labels, paths["train"], table, Problems(1.0))  # of its good rows
    labelled = {name: files for name, files in paths.items() if name != "unlabelled"}
    for name, files in labelled.items():
        if labels is None:
            attempt(kind.infer_labels, files, table, Problems(table.max_bad_rows))
            continue
        earlier, noted = dict(errors), Problems(table.max_bad_rows, problems.notes)
        if soft is not None and name == "train":
            soft.labels = labels
            rows = attempt(kind.read, files, table, labels, False, noted, soft)
        else:
            rows = attempt(kind.read, files, replace(table, soft_labels=None), labels, True, noted)
        if rows is not None:
            splits[name] = rows
        elif name != "train" and _is_unlabelled(kind, files, table, labels):
            remedy = f"leave data.{name} out" + (", then the dev split is scored" if name == "test" else "")
            error = InputError("no row has a label", f"data.{name} ({files})", f"{remedy}; or name a labelled file")
            errors = {**earlier, (error.where, error.what): error}
    if "unlabelled" in paths and labels is not None:
        noted, unit = Problems(table.max_bad_rows, problems.notes), kind.unit(splits.get("train") or [])
        how = labels, unit, noted, soft
        splits["unlabelled"] = attempt(kind.read_unlabelled, paths["unlabelled"], table, *how)
    if errors:
        raise InputErrors(list(errors.values())) if len(errors) > 1 else next(iter(errors.values()))
    assert labels is not None
    return labels, splits


def _is_unlabelled(kind: Kind, files: Paths, table: TableFormat, labels: list[str]) -> bool:
    """Is this a split as competitions give it out: no label in any row, no such column, or -1 in all of them?"""
    try:
        return all(example.label is None for example in kind.read(files, table, labels, False, Problems(1.0)))
    except InputError:
        pass
    try:
        return "-1" not in labels and kind.infer_labels(files, table, Problems(1.0)) == ["-1"]
    except InputError:
        return False

"""Reads a run's YAML, applies `key.sub=value` overrides and the task table, and reports every mistake at once."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import InputError, InputErrors, shown
from ..extensions import load_extensions
from ..files import write_text
from ..terms import TERMS
from .key_places import fields_at, sections_of_keys
from .schema import RunConfig
from .strict_yaml import parse_yaml
from .student_settings import make_way


@dataclass(frozen=True)
class Task:
    """A task: its title and language, and the values of `task` and `data` that a configuration need not repeat."""

    title: str
    language: str
    task: dict[str, Any]
    data: dict[str, Any]
    file_columns: dict[str, str] = field(default_factory=dict)  # of published files, where PaddleNLP's names are others


# Two ways to say the same: what is given last stands alone.
_SAME = {"max_steps": "num_train_epochs", "num_train_epochs": "max_steps"}
_MOST_SHOWN = 200  # characters of a wrong value
_TABLE = yaml.safe_load(Path(__file__).with_name("tasks.yaml").read_text(encoding="utf-8"))
TASKS: dict[str, Task] = {name: Task(**row) for name, row in _TABLE.items()}  # the literature's tasks


def load_config(
    path: str | os.PathLike | None, overrides: Sequence[str] = (), sections: dict[str, Any] | None = None
) -> RunConfig:
    """Reads and checks a run configuration: a YAML file, `sections` on top of it (or alone), `overrides` on top.

    Relative paths inside the file stay as written: they are read from the working directory, as on any
    command line. Raises InputErrors with every mistake, each with its YAML path, value and remedy.
    """
    where = "keyword arguments" if path is None else str(path)
    raw = {} if path is None else read_mapping(Path(os.path.expanduser(path)))
    raw = on_top_of(raw, copy.deepcopy(sections or {}), where)
    for place, override in enumerate(overrides):
        apply_override(raw, override, overrides[:place])
    return check_config(raw, where)


def read_mapping(path: Path, above: tuple[Path, ...] = ()) -> dict:
    """A file's mapping on top of that of the file which it `extends` (a path relative to its own folder).

    Mappings are merged as `on_top_of` says. Raises InputError for a file that is none, or not YAML.
    """
    if path.resolve() in above:
        raise InputError("the file extends itself, over others", str(path), "take one `extends` out")
    raw = _read_yaml(path)
    base = raw.pop("extends", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise InputError(f"not a path: {base!r}", f"{path}: extends", "give the path of another YAML file")
    try:
        below = read_mapping(path.parent / os.path.expanduser(base), (*above, path.resolve()))
    except InputError as error:
        raise InputError(f"its base cannot be read: {error.what}", f"{path}: extends", error.remedy) from None
    return on_top_of(below, raw, str(path))


def on_top_of(base: dict, over: dict, where: str) -> dict:
    """Two mappings of a run, merged key by key; a mapping under `stages` changes the base's stages of these names.

    Raises InputError, which names `where`, for a stage that the base does not have.
    """
    changes, stages = over.get("stages"), base.get("stages")
    if isinstance(changes, dict) and isinstance(stages, list) and all(isinstance(stage, dict) for stage in stages):
        names = [str(stage.get("stage")) for stage in stages]
        for name, change in changes.items():
            if name not in names:
                remedy = f"its stages: {', '.join(names)}"
                raise InputError(f"the base has no stage {_shown(name)}", f"{where}: stages", remedy)
            if not isinstance(change, dict):
                remedy = "write the keys that change below it, or take it out"
                raise InputError(f"not a mapping: {_shown(change)}", f"{where}: stages.{name}", remedy)
        merged = [_deep_merge(stage, changes.get(name, {})) for name, stage in zip(names, stages, strict=True)]
        over = {**over, "stages": merged}
    return _deep_merge(base, over)


def _read_yaml(path: Path) -> dict:
    try:
        there = path.is_file()
    except OSError as error:  # such as a name that is too long
        raise InputError(f"{error.strerror}: {_shown(str(path))}", "configuration", "correct the path") from None
    if not there:
        beside = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else f"YAML files there: {', '.join(beside) or 'none'}"
        raise InputError("no such configuration file", str(path), hint)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 (byte {error.start})", str(path), "save the file as UTF-8") from None
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise InputError("the file holds no mapping", str(path), "start from configs/demo.yaml")
    return raw


def check_config(raw: dict, where: str) -> RunConfig:
    """Validates a plain mapping. Raises InputErrors that list every mistake."""
    extensions = raw.get("extensions")
    names = extensions if isinstance(extensions, list) else []
    load_extensions(os.path.expanduser(name) for name in names if isinstance(name, str))
    _leave_teacher_out(raw)
    _merge_stage_objectives(raw)
    _fill_from_table(raw)
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as failure:
        raise InputErrors([_explain(item, where) for item in failure.errors()]) from None


def apply_override(raw: dict, override: str, before: Sequence[str] = ()) -> None:
    """Sets one `a.b.0.c=value`; the value is read as YAML, list items are addressed by position.

    Sizes of a student give way to those of a model that it is to start from, unless they are among those set `before`.
    Raises InputError for an override that is none, or does not fit.
    """
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise InputError("an override must look like key.sub=value", repr(override), "for example seed=7")
    value = parse_yaml(text, override)
    read = [token.end_mark.index for token in yaml.scan(text) if not isinstance(token, yaml.StreamEndToken)]
    if text[max(read) :].strip():
        raise InputError("the text after # would be lost as a comment", override, "put the value in quotes")
    node: Any = raw
    parts, owner, above = key.strip().split("."), dict[str, Any](), ""
    for depth, part in enumerate(parts):
        owner, above = (node, ".".join([*parts[:depth], ""])) if part == "init" else (owner, above)
        if not isinstance(node, dict | list):
            what = f"{'.'.join(parts[:depth])} is a single value, it has no key {part!r}"
            raise InputError(what, override, "shorten the key")
        place: Any = _list_position(node, part, override) if isinstance(node, list) else part
        if depth == len(parts) - 1:
            node[place] = value
            if part in _SAME and isinstance(node, dict) and value is not None:
                node.pop(_SAME[part], None)
        elif isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
        node = node[place]
    if parts[-1] in ("init", "folder"):
        init = owner.get("init") if parts[-1] == "init" else {"folder": value}
        make_way(owner, init, [item.partition("=")[0].strip().removeprefix(above) for item in before])


def _list_position(node: list, part: str, override: str) -> int:
    # A stage can be addressed by its name as well: stages.task_specific.training.max_steps=100
    names = [item.get("stage") if isinstance(item, dict) else None for item in node]
    if names.count(part) == 1:
        return names.index(part)
    if part.isdecimal() and int(part) < len(node):
        return int(part)
    remedy = f"use 0 to {len(node) - 1}, or a stage's name"
    raise InputError(f"no item {part!r} in a list of {len(node)}", override, remedy)


def _leave_teacher_out(raw: dict) -> None:
    """In a run without a teacher the terms that need one have no weight, unless the configuration gives them one."""
    objective = raw.get("objective") or {}
    if raw.get("teacher") is None and isinstance(objective, dict):
        without = {name: {"weight": 0.0} for name, term in TERMS.items() if term.needs_teacher}
        raw["objective"] = {**without, **objective}


def _merge_stage_objectives(raw: dict) -> None:
    """A stage's `objective` holds only what differs from the run's; both are merged before validation."""
    base, stages = raw.get("objective") or {}, raw.get("stages")
    for stage in stages if isinstance(stages, list) and isinstance(base, dict) else ():
        if isinstance(stage, dict) and isinstance(stage.get("objective"), dict):
            stage["objective"] = _deep_merge(base, stage["objective"])


def _fill_from_table(raw: dict) -> None:
    """Completes `task` and `data` of a configuration whose task is in the table; its own values win.

    Files of one's own (`data.source: files`, or paths without a source) keep the table's labels, metric, kind
    and length, and lay out their columns themselves.
    """
    task, data = raw.get("task"), raw.get("data")
    data = {} if data is None else data
    if not isinstance(task, dict) or not isinstance(data, dict) or str(task.get("name")) not in TASKS:
        return
    known = TASKS[str(task.get("name"))]
    raw["task"] = {**known.task, **task}
    own_files = data.get("source") == "files" or ("source" not in data and "train" in data)
    given = {"label_aliases": known.data.get("label_aliases", {})} if own_files else known.data
    columns = data.get("columns") or {}
    if not isinstance(columns, dict):
        return  # which the schema refuses
    columns = {**given.get("columns", {}), **columns}
    raw["data"] = {**given, **data, **({"columns": columns} if columns else {})}


def _deep_merge(base: dict, over: dict) -> dict:
    merged = dict(base)
    make_way(merged, over.get("init"))
    for one, other in _SAME.items():
        if over.get(one) is not None:
            merged.pop(other, None)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _deep_merge(merged[key], value) if both else value
    return merged


def _explain(item: Any, where: str) -> InputError:
    """One of pydantic's errors with its place, its value, and what the key is for."""
    location, kind, value = item["loc"], item["type"], item.get("input")
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    place = f"{where}: {path}" if path else where
    if kind == "extra_forbidden":
        known, key = list(fields_at(location[:-1])), location[-1]
        near = sections_of_keys().get(key) or difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
        remedy = f"did you mean {' or '.join(near)}?" if near else f"known keys here: {', '.join(known)}"
        return InputError("unknown key", place, remedy)
    if kind == "missing":
        remedy = _describe(location) or "add the key"
        if location == ("data",):
            task = value.get("task")
            name = task.get("name") if isinstance(task, dict) else None
            near = difflib.get_close_matches(str(name)[:_MOST_SHOWN], TASKS, n=1)
            remedy = f"did you mean task.name: {near[0]}?" if near else f"known tasks bring it: {', '.join(TASKS)}"
        return InputError("this key is required", place, remedy)
    message = item["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(value, (dict, BaseModel)) else f" (value: {_shown(value)})"
    return InputError(f"{message}{shown}", place, _describe(location) or "give a value that fits")


def _shown(value: Any) -> str:
    """A value as messages show it: long ones are cut."""
    try:
        text = repr(value)
    except ValueError:
        return shown(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}... ({len(text)} characters)"


def _describe(location: Sequence[str | int]) -> str:
    names = [part for part in location if isinstance(part, str)]
    while names:
        field = fields_at(names[:-1]).get(names[-1])
        if field is not None:
            return f"{names[-1]}: {field.description}" if field.description else ""
        names.pop()  # pydantic adds the name of a union's branch after the key
    return ""


def dump_config(config: RunConfig, path: Path, header: dict) -> None:
    """Writes the resolved configuration, and under `run` what else decided the run (versions, fingerprints)."""
    values = {"config": config.model_dump(mode="json"), "run": header}
    text = yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
    write_text(path, f"# Written by the run; every default is filled in.\n{text}")

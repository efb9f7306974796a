"""Reads a run's YAML, applies `key.sub=value` overrides, and reports every mistake at once."""

from __future__ import annotations

import copy
import difflib
import os
import re
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ..errors import InputError, InputErrors
from ..extensions import load_extensions
from ..files import write_text
from .objective_settings import ObjectiveSettings, terms_section
from .schema import RunConfig
from .task_table import TASKS, fill_from_table


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, but a key given twice in one mapping is an error and 1e-4 is a number."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict:
    mapping: dict = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 reads 1e-4 as text (it wants 1.0e-4); people write learning rates the short way.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_yaml(text: str, where: str) -> Any:
    """Parses YAML text. Raises InputError with line and column of a syntax error."""
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"not valid YAML: {problem}", place, "correct the line (indentation, colon, quotes)") from None


def load_config(path: str | os.PathLike, overrides: typing.Sequence[str] = ()) -> RunConfig:
    """Reads and checks a run configuration.

    Relative paths inside the file stay as written: they are read from the working directory, as on any
    command line. Raises InputErrors with every mistake, each with its YAML path, value and remedy.
    """
    return config_from(path, overrides)


def config_from(
    path: str | os.PathLike | None, overrides: typing.Sequence[str] = (), sections: dict[str, Any] | None = None
) -> RunConfig:
    """A run configuration from a YAML file, keyword arguments on top of it, or these alone. Raises InputErrors."""
    where = "keyword arguments" if path is None else str(path)
    raw = {} if path is None else _read_with_base(Path(path), ())
    raw = _on_top_of(raw, copy.deepcopy(sections or {}), where)
    for override in overrides:
        _apply_override(raw, override)
    return check_config(raw, where)


def _read_with_base(path: Path, above: tuple[Path, ...]) -> dict:
    """A file's mapping on top of that of the file which it `extends` (a path relative to its own folder).

    Mappings are merged key by key. A mapping under `stages` changes the base's stages of these names.
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
        below = _read_with_base(path.parent / base, (*above, path.resolve()))
    except InputError as error:
        raise InputError(f"its base cannot be read: {error.what}", f"{path}: extends", error.remedy) from None
    return _on_top_of(below, raw, str(path))


def _on_top_of(base: dict, over: dict, where: str) -> dict:
    changes = over.get("stages")
    if isinstance(changes, dict) and isinstance(base.get("stages"), list):
        stages = [dict(stage) for stage in base["stages"]]
        for name, change in changes.items():
            places = [index for index, stage in enumerate(stages) if stage.get("stage") == name]
            if not places:
                names = ", ".join(str(stage.get("stage")) for stage in stages)
                raise InputError(f"the base has no stage {name!r}", f"{where}: stages", f"its stages: {names}")
            for index in places:
                stages[index] = _deep_merge(stages[index], change)
        over = {**over, "stages": stages}
    return _deep_merge(base, over)


def _read_yaml(path: Path) -> dict:
    if not path.is_file():
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
    load_extensions(_names_of_extensions(raw))
    _merge_stage_objectives(raw)
    fill_from_table(raw)
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as failure:
        errors = [_explain(item, where) for item in failure.errors()]
        raise InputErrors(errors) from None


def _names_of_extensions(raw: dict) -> list[str]:
    names = raw.get("extensions") or []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _apply_override(raw: dict, override: str) -> None:
    """Sets one `a.b.0.c=value`; the value is read as YAML, list items are addressed by position."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise InputError("an override must look like key.sub=value", override, "for example seed=7")
    value = parse_yaml(text, override)
    node: Any = raw
    parts = key.strip().split(".")
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, list):
            position = _list_position(node, part, override)
            if last:
                node[position] = value
            else:
                node = node[position]
        elif isinstance(node, dict):
            if last:
                node[part] = value
            else:
                if node.get(part) is None:
                    node[part] = {}
                node = node[part]
        else:
            raise InputError(
                f"{'.'.join(parts[:depth])} is a single value, it has no key {part!r}",
                override,
                "shorten the key",
            )


def _list_position(node: list, part: str, override: str) -> int:
    # A stage can be addressed by its name as well: stages.task_specific.training.max_steps=100
    names = [item.get("stage") if isinstance(item, dict) else None for item in node]
    if names.count(part) == 1:
        return names.index(part)
    if part.isdigit() and int(part) < len(node):
        return int(part)
    raise InputError(
        f"no item {part!r} in a list of {len(node)}", override, f"use 0 to {len(node) - 1}, or a stage's name"
    )


def _merge_stage_objectives(raw: dict) -> None:
    """A stage's `objective` holds only what differs from the run's; both are merged before validation."""
    base = raw.get("objective") or {}
    stages = raw.get("stages")
    if not isinstance(stages, list) or not isinstance(base, dict):
        return
    for stage in stages:
        if isinstance(stage, dict) and isinstance(stage.get("objective"), dict):
            stage["objective"] = _deep_merge(base, stage["objective"])


def _deep_merge(base: dict, over: dict) -> dict:
    merged = dict(base)
    for one, other in (("max_steps", "num_train_epochs"), ("num_train_epochs", "max_steps")):
        if over.get(one) is not None:  # two ways to say the same: what is given last stands alone
            merged.pop(other, None)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _deep_merge(merged[key], value) if both else value
    return merged


def _explain(item: Any, where: str) -> InputError:
    location = [part for part in item["loc"]]
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in location).lstrip(".")
    place = f"{where}: {path}" if path else where
    kind, value = item["type"], item.get("input")
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        remedy = f"did you mean {near[0]}?" if near else f"known keys here: {', '.join(known)}"
        return InputError("unknown key", place, remedy)
    if kind == "missing" and location == ["data"]:
        near = difflib.get_close_matches(str(item["input"].get("task", {}).get("name")), TASKS, n=1)
        remedy = f"did you mean task.name: {near[0]}?" if near else f"known tasks bring it: {', '.join(TASKS)}"
        return InputError("this key is required", place, remedy)
    if kind == "missing":
        return InputError("this key is required", place, _describe(location) or "add the key")
    message = item["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(value, (dict, BaseModel)) else f" (value: {value!r})"
    remedy = _describe(location) or "give a value that fits"
    return InputError(f"{message}{shown}", place, remedy)


def _section_at(location: list) -> type[BaseModel] | None:
    model: type[BaseModel] | None = RunConfig
    for part in location:
        if isinstance(part, int):
            continue
        field = _fields(model).get(part)
        model = _model_in(field.annotation) if field else None
    return model


def _fields(section: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """A section's fields by name; the objective's terms are among its own."""
    if section is None:
        return {}
    terms = terms_section().model_fields if section is ObjectiveSettings else {}
    return {**section.model_fields, **terms}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        found = _model_in(inner)
        if found:
            return found
    return None


def _known_keys(location: list) -> list[str]:
    return list(_fields(_section_at(location)))


def _describe(location: list) -> str:
    names = [part for part in location if isinstance(part, str)]
    while names:
        field = _fields(_section_at(names[:-1])).get(names[-1])
        if field is not None:
            return f"{names[-1]}: {field.description}" if field.description else ""
        names.pop()  # pydantic adds the name of a union's branch behind the key
    return ""


def dump_config(config: RunConfig, path: Path, header: dict) -> None:
    """Writes the resolved configuration, and under `run` what else decided the run (versions, fingerprints)."""
    body = config.model_dump(mode="json")
    text = "# Written by the run; every default is filled in.\n" + yaml.safe_dump(
        {"config": body, "run": header}, allow_unicode=True, sort_keys=False
    )
    write_text(path, text)


def stage_objective_settings(config: RunConfig, index: int) -> ObjectiveSettings:
    """The objective's settings of stage `index`: its own if it has some, else the run's."""
    return config.stages[index].objective or config.objective

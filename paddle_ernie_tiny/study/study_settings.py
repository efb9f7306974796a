"""The YAML file of an ablation study: which variants of which run, on which tasks, with which seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, model_validator

from ..config.load import apply_override, on_top_of, read_mapping
from ..errors import InputError, InputErrors, shown
from ..sections import PathName, PositiveInt, Section, key
from .variants import DEFAULTS, VARIANTS

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Settings = TypeVar("Settings", bound="BuiltOnRun")
Rate = Annotated[float, Field(gt=0, le=10)]
_OWN_KEYS = {"title", "like"}  # of a variant of one's own, beside the run's sections
_FIXED = {"output_dir", "seed"}  # of a run, by the study
_TAKEN = {"report.html", "report.md", "results.json", "results.csv", "all tasks"}  # files and a place of the report


class BuiltOnRun(Section):
    """What builds on a run has a folder of its own and the run's configuration."""

    output_dir: PathName = key(..., "the folder to work in", min_length=1)
    base: PathName = key(..., "configuration of the full recipe, a path relative to this file", min_length=1)


class StudySettings(BuiltOnRun):
    """A study: every variant is trained on every task with every seed."""

    output_dir: PathName = key(..., "the study's folder", min_length=1)
    tasks: dict[Name, dict[str, Any]] = key({}, "by name, sections on top of the base; default: the base's own task")
    seeds: list[Seed] = key([1, 2, 3], "different whole numbers; every variant is trained with each", min_length=1)
    variants: list[str] = key(list(DEFAULTS), f"of {', '.join(VARIANTS)}, or the names under own", min_length=1)
    own: dict[Name, dict[str, Any]] = key(
        {}, "variants of one's own by name: sections on top of the base; also title, and like: a variant to start from"
    )
    reference: str = key("full", "the variant that the others are compared with")
    equal_steps: bool = key(
        True, "every variant has as many optimiser steps as the reference; false: each recipe as it is"
    )
    steps: PositiveInt | None = key(None, "optimiser steps of every variant; default: the reference's own sum")
    rates: list[Rate] | None = key(
        None,
        "learning rates of fine-tuned variants, chosen by dev; default: half, once and twice the baseline's",
        min_length=1,
    )
    processes: PositiveInt | None = key(None, "runs side by side; default: as many as CPU cores and memory allow")
    store_folder: PathName | None = key(
        None,
        "finished steps that several studies share, kept there; default: in output_dir, removed when not needed",
        min_length=1,
    )
    keep_models: bool = key(False, "keep every model; false: scores and predictions stay, weights are removed")

    @model_validator(mode="after")
    def _names_fit(self):
        known = {**VARIANTS, **self.own}
        for name in self.variants:
            if name not in known:
                raise ValueError(f"variants: no variant {name!r}; there are {', '.join(known)}")
        taken = sorted(set(VARIANTS) & set(self.own))
        if taken:
            raise ValueError(f"own: {taken[0]} is a variant already; give another name")
        for name, values in self.own.items():
            for text in sorted(_OWN_KEYS & set(values)):
                if not isinstance(values[text], str):
                    raise ValueError(f"own.{name}.{text}: not a text: {values[text]!r}")
            if values.get("like", "full") not in VARIANTS:
                raise ValueError(f"own.{name}.like: no variant {values['like']!r}; there are {', '.join(VARIANTS)}")
        for what, sections in (("tasks", self.tasks), ("own", self.own)):
            for name, values in sections.items():
                if name.startswith("shared-"):
                    raise ValueError(f"{what}.{name}: folders of teachers begin with shared-; give another name")
                if fixed := sorted(_FIXED & set(values)):
                    raise ValueError(f"{what}.{name}.{fixed[0]}: the study decides this of every run; take it out")
        for what in ("variants", "seeds", "rates"):
            given = getattr(self, what) or []
            names = [f"{value:g}" if what == "rates" else value for value in given]  # as folders and reports have them
            twice = [value for value in names if names.count(value) > 1]
            if twice:
                raise ValueError(f"{what}: {twice[0]} is given twice")
        if self.reference not in self.variants:
            raise ValueError(f"reference: {self.reference!r} is none of the variants; add it to them")
        return self

    @property
    def every_variant(self) -> list[str]:
        """Those that are named, then those of one's own that are not."""
        return [*self.variants, *(name for name in self.own if name not in self.variants)]

    def changes(self, variant: str) -> tuple[str, dict[str, Any]]:
        """The built-in variant that this one starts from, and the sections on top of it."""
        own = self.own.get(variant)
        if own is None:
            return variant, {}
        return own.get("like", "full"), {name: value for name, value in own.items() if name not in _OWN_KEYS}


def load_study(path: str | os.PathLike, overrides: Sequence[str] = ()) -> tuple[StudySettings, dict]:
    """A study's settings with "key.sub=value" on top, and the mapping of its base (see `settings_and_base`)."""
    return settings_and_base(StudySettings, path, overrides)


def settings_and_base(
    of_class: type[Settings], path: str | os.PathLike, overrides: Sequence[str]
) -> tuple[Settings, dict]:
    """What a file says that builds on a run, with "key.sub=value" on top, and the mapping of the run, its `base`.

    Raises InputErrors with every mistake, each with its place, value and remedy.
    """
    file = Path(os.path.expanduser(path))
    raw = read_mapping(file)
    for place, override in enumerate(overrides):
        apply_override(raw, override, overrides[:place])
    try:
        settings = of_class.model_validate(raw)
    except ValidationError as failure:
        raise InputErrors([_explained(item, file, of_class) for item in failure.errors()]) from None
    base = file.parent / os.path.expanduser(settings.base)
    try:
        return settings, read_mapping(base)
    except InputError as error:
        raise InputError(f"the base cannot be read: {error.what}", f"{file}: base", error.remedy) from None


def task_mappings(settings: StudySettings, base: dict, where: str) -> dict[str, dict]:
    """The run of each task by its name, not checked yet: the base with the task's sections. Raises InputError."""
    if not settings.tasks:
        task = base.get("task")
        name = str(task.get("name")) if isinstance(task, dict) else "task"
        if "/" in name or name.startswith(".") or not name.isprintable() or len(name.encode()) > 200 or name in _TAKEN:
            remedy = "name the task in the study's file, such as tasks: {mine: {}}"
            raise InputError(f"a folder cannot have this name: {shown(name)}", f"{settings.base}: task.name", remedy)
        return {name: base}
    return {name: on_top_of(base, over, f"{where}: tasks.{name}") for name, over in settings.tasks.items()}


def _explained(item: Any, file: Path, of_class: type[BuiltOnRun]) -> InputError:
    place, what = ".".join(str(part) for part in item["loc"]), item["msg"].removeprefix("Value error, ")
    section: type[Section] = of_class
    field = None
    for part in (place or what.partition(":")[0]).split("."):
        if part not in section.model_fields:
            break
        field = section.model_fields[part]
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            break
        section = field.annotation
    if item["type"] == "extra_forbidden":
        return InputError("unknown key", f"{file}: {place}", f"keys here: {', '.join(section.model_fields)}")
    remedy = (field and field.description) or "give a value that fits"
    value = item.get("input")
    shown = "" if isinstance(value, dict) else f" (value: {value!r:.200})"
    return InputError(what + shown, f"{file}: {place}".rstrip(": "), remedy)

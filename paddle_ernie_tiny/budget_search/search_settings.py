"""The YAML file of a search: which shapes of which run, within which budget, and how they are compared."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ..engines import ON_CPU
from ..errors import InputError
from ..sections import PathName, PositiveInt, Section, key
from ..study.study_settings import BuiltOnRun, settings_and_base

Bound = Annotated[float, Field(gt=0, le=1e12)]
Start = Literal["random", "teacher_embeddings", "teacher_layers", "teacher_narrowed"]
# Of each bound: the unit in words, and whether it is the least that is asked for, not the most.
BOUNDS: dict[str, tuple[str, bool]] = {
    "latency_ms": ("ms", False),
    "texts_per_second": ("texts per second", True),
    "files_mb": ("MB of files", False),
    "parameters_m": ("million parameters", False),
    "rss_mb": ("MB of memory", False),
}
_WRITTEN = re.compile(r"\s*(\w+)\s*(<=|>=|=)\s*([-+.\de]+)\s*", re.ASCII)


class Budget(Section):
    """What a student must keep to; several bounds hold together."""

    latency_ms: Bound | None = key(None, "at most: median milliseconds of a call")
    texts_per_second: Bound | None = key(None, "at least: texts per second, in calls of `at.batch` texts")
    files_mb: Bound | None = key(None, "at most: graph and weights for one engine, in MB (1e6 bytes)")
    parameters_m: Bound | None = key(None, "at most: parameters, in millions")
    rss_mb: Bound | None = key(None, "at most: memory of a process that serves it, in MB")

    @property
    def bounds(self) -> dict[str, float]:
        """Those that are given, by name."""
        return {name: value for name in BOUNDS if (value := getattr(self, name)) is not None}


class At(Section):
    """What is measured, and how. On the CPU."""

    batch: PositiveInt = key(1, "texts per call")
    length: Annotated[int, Field(gt=0, le=512)] | Literal["data"] = key(
        "data", "tokens per text; data: five lengths of the training texts, from short to long, with equal weight"
    )
    threads: PositiveInt = key(1, "CPU threads")
    engine: Literal[(*ON_CPU, "auto")] = key("auto", "auto: the one that is fastest here")  # type: ignore[valid-type]
    shapes: Annotated[int, Field(ge=8, le=1000)] = key(14, "shapes that are measured; the rest is predicted from them")
    held_out: Annotated[int, Field(ge=0, le=100)] = key(4, "further shapes on which the prediction is checked")
    passes: PositiveInt = key(2, "times that a shape is measured, each time in a process of its own")
    seconds: Annotated[float, Field(gt=0, le=3600)] = key(1.0, "to measure a shape in a pass, at each length")
    rounds: PositiveInt = key(3, "turns that the shapes of a group take in a pass")
    table: PathName | None = key(
        None, "result of `ernie-tiny bench --json` on another device, in place of measuring here", min_length=1
    )


class Space(Section):
    """The shapes and ways to start, all of which are combined. What does not fit together is left out, and said."""

    num_hidden_layers: list[Annotated[int, Field(ge=0, le=1000)]] = key(
        [0, 1, 2, 3, 4, 6], "encoder layers; 0: the mean of the embeddings", min_length=1
    )
    hidden_size: list[PositiveInt] = key([96, 192, 312], "widths", min_length=1)
    num_attention_heads: list[PositiveInt] = key(
        [12], "heads; widths that they do not divide are left out", min_length=1
    )
    ffn_ratio: list[Annotated[float, Field(gt=0, le=64)]] = key(
        [2.0, 4.0], "units of the feed-forward layer for each unit of the width", min_length=1
    )
    start: list[Start] | None = key(
        None, "of the student's weights, as student.init.method; default: as in the base", min_length=1
    )
    vocabulary: list[Literal["full", "used"]] = key(
        ["full"], "used: the exported student has only the tokens of the run's own texts", min_length=1
    )
    precision: list[Literal["fp32", "int8"]] = key(
        ["fp32"], "of a shape the first one that keeps to the budget is taken", min_length=1
    )


class Halving(Section):
    """How candidates are compared: few steps for all, more for the better part, then the full recipe."""

    candidates: Annotated[int, Field(ge=1, le=1000)] = key(12, "at most so many are trained, the largest that fit")
    rungs: Annotated[int, Field(ge=1, le=10)] = key(2, "rounds before the full recipe; each has twice the steps")
    steps: PositiveInt | None = key(None, "of the first rung; default: a sixteenth of the base's stages on task data")
    keep: Annotated[float, Field(gt=0, lt=1)] = key(0.5, "share of the candidates that goes on after each rung")
    finalists: Annotated[int, Field(ge=1, le=100)] = key(3, "trained with the full recipe; the best of them wins")


class SearchSettings(BuiltOnRun):
    """A search for the best student within a budget."""

    output_dir: PathName = key(..., "the search's folder", min_length=1)
    budget: Budget = Field(default_factory=Budget)
    at: At = Field(default_factory=At)
    space: Space = Field(default_factory=Space)
    halving: Halving = Field(default_factory=Halving)
    seed: Annotated[int, Field(ge=0, lt=2**32)] = key(1, "of every training")

    @model_validator(mode="after")
    def _something_is_asked(self):
        if not self.budget.bounds:
            raise ValueError(f"budget: no bound is given; give one of {', '.join(BOUNDS)}")
        for name, values in self.space.model_dump().items():
            twice = [value for value in values or [] if values.count(value) > 1]
            if twice:
                raise ValueError(f"space.{name}: {twice[0]} is given twice")
        return self


def as_overrides(budget: Sequence[str]) -> list[str]:
    """Bounds as they are written after --budget, "latency_ms<=5" or several with commas, as "budget.latency_ms=5".

    Raises InputError for what is none, and for a bound from the wrong side.
    """
    found = []
    for text in (part for given in budget for part in given.split(",")):
        written = _WRITTEN.fullmatch(text)
        if written is None or written[1] not in BOUNDS:
            remedy = f"write one such as latency_ms<=5; there are {', '.join(BOUNDS)}"
            raise InputError(f"not a bound: {text!r}", "--budget", remedy)
        name, sign = written[1], ">=" if BOUNDS[written[1]][1] else "<="
        if written[2] not in (sign, "="):
            raise InputError(f"{name} is bounded from the other side", f"--budget {text}", f"write {name}{sign}...")
        found.append(f"budget.{name}={written[3]}")
    return found


def load_search(path: str | os.PathLike, overrides: Sequence[str] = ()) -> tuple[SearchSettings, dict[str, Any]]:
    """A search's settings with "key.sub=value" on top, and the mapping of its base (see `settings_and_base`)."""
    return settings_and_base(SearchSettings, path, overrides)


def check_length(settings: SearchSettings, most: int, where: str) -> None:
    """Raises InputError for a length that no text of the task has; most: tokens at which texts are cut."""
    asked = settings.at.length
    if asked != "data" and asked > most:
        what = f"{asked} tokens are more than the {most} of task.max_length_tokens"
        raise InputError(what, where, f"give {most} at most, or data")

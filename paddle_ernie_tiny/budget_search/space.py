"""The candidates of a search, and the run that trains each: the base with the candidate's student."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from ..benchmark.subjects import Shape
from ..config import RunConfig, check_config
from ..config.student_settings import SIZES
from ..errors import InputError
from ..stages import STAGES
from .search_settings import SearchSettings

_NOT_SEARCHED = ("benchmark", "card")  # sections of the base that a search leaves out


@dataclass(frozen=True)
class CandidateStudent:
    """A student that may be trained. `start`: as student.init.method, None: the base's own.

    Vocabulary and precision are those of the exported student; its training knows nothing of them.
    """

    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    start: str | None = None
    vocabulary: str = "full"
    precision: str = "fp32"

    @property
    def sizes(self) -> dict[str, int]:
        """As keys of the section `student`."""
        return {name: value for name, value in asdict(self).items() if name in SIZES}

    @property
    def trained(self) -> str:
        """Names what its training depends on, as a folder."""
        name = f"{self.num_hidden_layers}l-{self.hidden_size}h"
        if self.num_hidden_layers:
            name += f"-{self.num_attention_heads}heads-{self.intermediate_size}ffn"
        return name + (f"-{self.start}" if self.start else "")

    @property
    def name(self) -> str:
        """Unique in the search; a part that is as usual is left out."""
        parts = ["used" if self.vocabulary == "used" else "", self.precision if self.precision != "fp32" else ""]
        return "-".join([self.trained, *filter(None, parts)])

    @property
    def width(self) -> tuple[int, int, str | None]:
        """Candidates with the same have their general stages in common."""
        return self.hidden_size, self.num_attention_heads, self.start

    def shape(self, tokens: int, labels: int) -> Shape:
        """What is measured of it; tokens: of its vocabulary."""
        return Shape(**self.sizes, vocab_size=tokens, labels=labels)


def candidates_of(
    settings: SearchSettings, teacher: Mapping[str, Any]
) -> tuple[list[CandidateStudent], dict[str, str]]:
    """All candidates of the space, the most exact precision and the full vocabulary first; and what is left out, why.

    teacher: its sizes.
    """
    space, found, left_out = settings.space, dict[CandidateStudent, None](), dict[str, str]()
    starts: list[str | None] = [None] if space.start is None else [*space.start]
    shapes = product(space.num_hidden_layers, space.hidden_size, space.num_attention_heads, space.ffn_ratio, starts)
    for layers, width, heads, ratio, start in shapes:
        one = CandidateStudent(layers, width, heads, round(ratio * width), start)
        if layers == 0:  # which has neither heads nor a feed-forward layer
            one = CandidateStudent(0, width, 1, 1, start)
        if reason := _unfit(one, teacher):
            left_out[one.trained] = reason
            continue
        for precision, vocabulary in product(sorted(space.precision), sorted(space.vocabulary)):
            found[replace(one, vocabulary=vocabulary, precision=precision)] = None
    return list(found), left_out


def _unfit(one: CandidateStudent, teacher: Mapping[str, Any]) -> str | None:
    width, heads, layers = one.hidden_size, one.num_attention_heads, one.num_hidden_layers
    if width % heads:
        return f"{heads} heads do not divide the width {width}"
    if layers > teacher["num_hidden_layers"]:
        return f"{layers} layers are more than the teacher's {teacher['num_hidden_layers']}"
    if one.start == "teacher_embeddings" and width > teacher["hidden_size"]:
        return f"{width} is wider than the teacher's embeddings, {teacher['hidden_size']}"
    if one.start == "teacher_layers" and not layers:
        return "a student without layers has none to copy; teacher_embeddings is such a start for it"
    if one.start == "teacher_layers":
        for size in SIZES[1:]:
            if one.sizes[size] != teacher[size]:
                return f"a layer of the teacher does not fit: its {size} is {teacher[size]}"
    return None


def check_base(base: Mapping[str, Any], where: str) -> None:
    """Raises InputError for a run that cannot be searched on."""
    if base.get("students") is not None:
        raise InputError("a search compares students of its own", f"{where}: students", "give student")
    if not base.get("teacher"):
        raise InputError("a search distils from one teacher, and there is none", f"{where}: teacher", "give teacher")
    stages = [stage for stage in base.get("stages") or [] if isinstance(stage, dict)]
    known = [STAGES[name] for stage in stages if (name := stage.get("stage")) in STAGES]
    order = [stage.is_general for stage in known]
    if not known or not known[-1].label_terms or order != sorted(order, reverse=True):
        what = "a search needs stages on general text, if any, then stages on the task, the last one task_specific"
        raise InputError(what, f"{where}: stages", "order them so")
    if len(on_task := [stage for stage in stages if not STAGES[stage["stage"]].is_general]) == 1 < len(stages):
        if on_task[0].get("head") == "teacher":
            what = "head: teacher needs a stage on the task before it, as candidates share the general ones"
            raise InputError(what, f"{where}: stages", "give task_adaptive as well, or leave head out")
    for section in (base, *stages):
        if isinstance((section.get("objective") or {}).get("layer_map"), list):
            what = "layer_map names layers, which fit one number of student layers alone"
            raise InputError(what, f"{where}: objective.layer_map", "use uniform, top or bottom")


def recipe(
    settings: SearchSettings,
    base: Mapping[str, Any],
    one: CandidateStudent,
    folder: str,
    start: str | None = None,
    baseline: bool = False,
    engine: str = "paddle",
) -> RunConfig:
    """The full recipe for a candidate: what `ernie-tiny run` would be given.

    start: the folder of a larger student to start from, in place of the base's own start. A student without layers has
    no states to compare with the teacher's, so it has the last stage alone. baseline: also the base's `baseline`, the
    student without distillation. engine: what the bundle is to run in as well. Raises InputErrors.
    """
    raw = {key: copy.deepcopy(value) for key, value in base.items() if key not in _NOT_SEARCHED}
    student = {key: value for key, value in (raw.get("student") or {}).items() if key not in (*SIZES, "init")}
    own = (base.get("student") or {}).get("init") or {}
    init = {"folder": start} if start else own if one.start is None else {"method": one.start}
    raw["student"] = {**student, "init": init, **one.sizes}
    given = raw.get("export") or {}
    export = {"engines": ["paddle"], **given, "int8": None, "prune_vocabulary": None}
    export["engines"] = list(dict.fromkeys([*export["engines"], engine]))
    if one.precision == "int8":
        export["int8"] = given.get("int8") or {}
    if one.vocabulary == "used":
        export["prune_vocabulary"] = given.get("prune_vocabulary") or {}
    if not one.num_hidden_layers:
        raw["stages"] = [{**raw["stages"][-1], "head": "own"}]
    if not baseline:
        raw["baseline"] = None
    raw |= {"output_dir": folder, "seed": settings.seed, "export": export}
    return check_config(raw, f"{settings.base}, student {one.name}")


def general_stages(config: RunConfig) -> int:
    """How many of the run's stages are on general text; they come first."""
    return sum(STAGES[stage.stage].is_general for stage in config.stages)

"""The variants of a recipe as a table: each changes one component of it, or is what one would do instead."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..config import check_config
from ..config.load import on_top_of
from ..errors import InputError
from ..stages import STAGES
from ..terms import TERMS

Mapping = dict[str, Any]
_LABELLED = next(name for name, stage in STAGES.items() if stage.label_terms)


class NotApplicable(InputError):
    """A variant that the given recipe cannot have."""


@dataclass(frozen=True)
class Variant:
    """A row: title, what it changes, and how; `fine_tuned`: the student trains on the labels alone.

    change: mapping of a run, and the teacher's sizes where they are known -> mapping. Raises NotApplicable.
    """

    title: str
    changes: str
    change: Callable[[Mapping, Mapping], Mapping]
    fine_tuned: bool = False

    def of(self, base: Mapping, teacher: Mapping | None = None) -> Mapping:
        """The variant of a run's mapping. Raises NotApplicable where there is none."""
        return self.change(copy.deepcopy(base), teacher or {})


def _as_it_is(run: Mapping, teacher: Mapping) -> Mapping:
    return run


def _only(run: Mapping, keep: Callable[[str], bool], what: str) -> Mapping:
    stages = run.get("stages") or []
    kept = [stage for stage in stages if keep(stage["stage"])]
    if not kept or len(kept) == len(stages):
        names = ", ".join(stage["stage"] for stage in stages)
        raise NotApplicable(f"{what}: the base has the stages {names}", "variants", "take this variant out")
    return {**run, "stages": kept}


def _without(stage: str) -> Variant:
    def change(run: Mapping, teacher: Mapping) -> Mapping:
        return _only(run, lambda name: name != stage, f"no stage {stage} to leave out")

    return Variant(f"without {STAGES[stage].title}", f"the stage {stage} is left out", change)


def _without_terms(title: str, names: list[str]) -> Variant:
    """The last stage without some terms of its objective."""

    def change(run: Mapping, teacher: Mapping) -> Mapping:
        kept = check_config({**copy.deepcopy(run), "output_dir": "study"}, "base")
        last = [kept.stage_objective(i) for i, stage in enumerate(kept.stages) if stage.stage == _LABELLED]
        there = [name for name in names if any(objective.term(name).wanted for objective in last)]
        if not there:
            what = f"{_LABELLED} of the base has none of {', '.join(names)}"
            raise NotApplicable(what, "variants", "take this variant out")
        off = {"objective": {name: {"weight": 0.0, "final_weight": None} for name in there}}
        return {**run, "stages": [on_top_of(s, off, "") if s["stage"] == _LABELLED else s for s in run["stages"]]}

    return Variant(title, f"{', '.join(names)}: weight 0 in {_LABELLED}", change)


def _tinybert(run: Mapping, teacher: Mapping) -> Mapping:
    if not any(stage["stage"] == "general" for stage in run["stages"]):
        raise NotApplicable("the base has no stage general", "variants", "take this variant out")
    return _only(run, lambda name: name in ("general", _LABELLED), "no other stages to leave out")


def _teacher_layers(run: Mapping, teacher: Mapping) -> Mapping:
    if not teacher:
        raise NotApplicable("the teacher's sizes are not known", "variants", "take teacher_layers out")
    sizes = {name: teacher[name] for name in ("hidden_size", "num_attention_heads", "intermediate_size")}
    student = {**(run.get("student") or {}), **sizes, "init": {"method": "teacher_layers"}}
    return {**run, "student": student}


def _from_random(run: Mapping, teacher: Mapping) -> Mapping:
    student = run.get("student") or {}
    if (student.get("init") or {}).get("method", "random") == "random" and not (student.get("init") or {}).get(
        "folder"
    ):
        what = "the base starts at random already, so this is fine_tuned"
        raise NotApplicable(what, "variants", "take random out, or give the base another student.init")
    return {**run, "student": {**student, "init": {"method": "random"}}}


def _augmented(run: Mapping, teacher: Mapping) -> Mapping:
    if run.get("augmentation") is not None:
        raise NotApplicable("the base is augmented already", "variants", "use not_augmented")
    if run.get("teacher") is None:
        raise NotApplicable("augmentation needs a teacher, and the base has none", "variants", "take augmented out")
    return {**run, "augmentation": {}}


def _not_augmented(run: Mapping, teacher: Mapping) -> Mapping:
    if run.get("augmentation") is None:
        raise NotApplicable("the base has no augmentation", "variants", "use augmented")
    return {**run, "augmentation": None}


_LATENT = [name for name, term in TERMS.items() if term.latent]
VARIANTS: dict[str, Variant] = {
    "full": Variant("the full recipe", "nothing: the base as it is", _as_it_is),
    **{f"no_{name}": _without(name) for name, stage in STAGES.items() if not stage.label_terms},
    "no_soft_label": _without_terms("without soft labels", ["soft_label"]),
    "no_hard_label": _without_terms("without hard labels", ["hard_label"]),
    "no_latent": _without_terms("without latent terms in the last stage", _LATENT),
    "general_task_specific": Variant(
        "general, then task-specific distillation", "TinyBERT's order: only general and task_specific", _tinybert
    ),
    "fine_tuned": Variant("fine-tuning from the same start", "no distillation: labels alone", _as_it_is, True),
    "teacher_layers": Variant(
        "teacher's layers, then fine-tuning",
        "no distillation; the student starts from layers of the teacher, and is as wide as it",
        _teacher_layers,
        True,
    ),
    "random": Variant("fine-tuning from random weights", "no distillation, and a random start", _from_random, True),
    "augmented": Variant("with augmentation", "augmented rows in the stages on task data", _augmented),
    "not_augmented": Variant("without augmentation", "no augmented rows", _not_augmented),
}
DEFAULTS = tuple(name for name in VARIANTS if name not in ("teacher_layers", "random", "augmented", "not_augmented"))

"""The four stages of ERNIE-Tiny (arXiv 2106.02241) as a table.

Distillation has three components: teacher, training data, learning objective. Each stage follows the one above it
and changes exactly one of them. Steps, rates and batch sizes are configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

TeacherKind = Literal["pretrained", "finetuned"]
DataKind = Literal["general", "task"]


@dataclass(frozen=True)
class Stage:
    """One row: which teacher, which data, and whether soft and hard labels join the latent terms."""

    name: str
    title: str
    teacher: TeacherKind
    data: DataKind
    label_terms: bool = False

    @property
    def is_general(self) -> bool:
        """Does it train on the general corpus, not on the task's data?"""
        return self.data == "general"

    @property
    def objective(self) -> str:
        """The objective's terms in words, as the report shows them."""
        return "latent + soft label + hard label" if self.label_terms else "latent"


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("general", "general distillation", "pretrained", "general"),
        Stage("general_enhanced", "general-enhanced distillation", "finetuned", "general"),
        Stage("task_adaptive", "task-adaptive distillation", "finetuned", "task"),
        Stage("task_specific", "task-specific distillation", "finetuned", "task", label_terms=True),
    )
}


def step_names(stages: Sequence[str]) -> list[str]:
    """The names of a run's steps by those of its stages: from the second time on, a stage has its number behind it."""
    times = [stages[: place + 1].count(name) for place, name in enumerate(stages)]
    return [name if number == 1 else f"{name}-{number}" for name, number in zip(stages, times, strict=True)]

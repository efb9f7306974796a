"""Where stages and starts were seen to help, from the project's own studies; warnings for runs outside of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..config.student_settings import StudentInit
from ..errors import Finding, InputError
from ..models.initialise import check_start
from .context import RunContext
from .findings import corpus_lines, found, passes_over, task_rows

_MUCH_WIDER = 1.5  # a student, than one of which settings were tried
_WIDER = 3.0  # a setting may be so many times lower or higher than those that were tried
NARROWED = "teacher_narrowed"  # the row of a start, in the table of stages


@dataclass(frozen=True)
class Evidence:
    """What a study has seen of a stage.

    result: its folder under docs/results. rows: that the stage went over (steps times rows per step) where it was seen
    to help; of a start, that the stages on general text went over. tried: lowest and highest value of settings with
    which it did, by their keys below the stage; they say nothing of students much wider than `hidden_size` (None: they
    do). gain: what leaving it out cost, in words.
    """

    result: str
    rows: int
    gain: str
    tried: dict[str, tuple[float, float]] = field(default_factory=dict)
    hidden_size: int | None = None


def _read() -> dict[str, Evidence]:
    table = yaml.safe_load(Path(__file__).with_name("evidence.yaml").read_text(encoding="utf-8")) or {}
    return {stage: Evidence(**row) for stage, row in table.items()}


EVIDENCE: dict[str, Evidence] = _read()  # by stage; of stages that were not seen to help there is none


def evidence_findings(context: RunContext) -> list[Finding]:
    """A warning for each stage with fewer rows, or far other settings, than those with which it was seen to help."""
    findings = _start_findings(context)
    for index, stage in enumerate(context.config.stages):
        known = EVIDENCE.get(stage.stage)
        if known is None or context.config.teacher is None:
            continue
        seen, where = f"docs/results/{known.result}: {known.gain}", f"stages[{index}] ({stage.stage})"
        rows = _rows(context, index)
        if rows < known.rows:
            what = f"the stage goes over {rows:,} rows; it was seen to help with {known.rows:,} ({seen})"
            remedy = "give it more steps, or compare with the run without it: ernie-tiny ablate"
            findings.append(found("evidence", what, f"{where}.training", True, remedy))
        wide = known.hidden_size and (context.config.student.hidden_size or 0) > known.hidden_size * _MUCH_WIDER
        for key, (low, high) in known.tried.items() if not wide else ():
            value = _value(context, index, key)
            if not low / _WIDER <= value <= high * _WIDER:
                what = f"{value:g} is far from the {low:g} to {high:g} with which the stage was seen to help ({seen})"
                remedy = "use a value near those, or compare: ernie-tiny ablate"
                findings.append(found("evidence", what, f"{where}.{key}", True, remedy))
    return findings


def _start_findings(context: RunContext) -> list[Finding]:
    """A warning for layers that start at random with little general text, where the teacher's can be narrowed."""
    known, student = EVIDENCE.get(NARROWED), context.config.student
    at_random = student.num_hidden_layers and student.init.method in ("random", "teacher_embeddings")
    if known is None or context.teacher is None or not at_random:
        return []
    try:
        check_start(
            student.model_copy(update={"init": StudentInit.model_validate({"method": NARROWED})}), context.teacher
        )
    except InputError:  # its layers are none of the teacher's, narrowed
        return []
    rows = sum(_rows(context, index) for index in range(len(context.config.stages)) if context.is_general(index))
    if rows > known.rows * _WIDER:
        return []
    what = f"the student's layers start at random, and its stages on general text go over {rows:,} rows; with "
    what += (
        f"{known.rows:,} a start of the teacher's layers was seen to help (docs/results/{known.result}: {known.gain})"
    )
    remedy = f"set student.init.method={NARROWED}, or give the general stages many more steps"
    return [found("evidence", what, "student.init.method", True, remedy)]


def _rows(context: RunContext, index: int) -> int:
    """Rows that a stage goes over, by an estimate."""
    training = context.config.stages[index].training
    there = corpus_lines(context) if context.is_general(index) else task_rows(context)
    return round(there * passes_over(training, there))


def _value(context: RunContext, index: int, key: str) -> float:
    value: Any = {"training": context.config.stages[index].training, "objective": context.config.stage_objective(index)}
    for name in key.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return float(value)

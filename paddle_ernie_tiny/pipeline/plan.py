"""The steps of a run in their order."""

from __future__ import annotations

from .context import RunContext
from .step import Step
from .steps.classifiers import Baseline, FinetuneTeacher, GivenTeacher, PretrainTeacher
from .steps.deliver import Benchmark, Export, Quantise
from .steps.distil import Distil
from .steps.distil_students import DistilStudents


def plan(contexts: dict[str, RunContext]) -> list[Step]:
    """The teacher's steps, then of every student (by name) the baseline, the stages, and what follows training."""
    first = next(iter(contexts.values()))
    config = first.config
    steps: list[Step] = []
    if config.teacher.pretrain is not None:
        steps.append(PretrainTeacher(first))
    steps.append(FinetuneTeacher(first) if config.teacher.finetune is not None else GivenTeacher(first))
    if config.baseline is not None:
        steps += [Baseline(context) for context in contexts.values()]
    for index in range(len(config.stages)):
        steps += _stage(contexts, index)
    for context in contexts.values():
        steps.append(Export(context))
        if config.export.int8 is not None:
            steps.append(Quantise(context))
        if config.benchmark is not None:
            steps.append(Benchmark(context))
    return steps


def _stage(contexts: dict[str, RunContext], index: int) -> list[Step]:
    """A stage of every student; on general text several students train together."""
    first = next(iter(contexts.values()))
    name = first.config.stages[index].stage
    times = sum(settings.stage == name for settings in first.config.stages[: index + 1])
    label = name if times == 1 else f"{name}-{times}"  # a stage that is repeated is told apart by its number
    members = {student: Distil(context, index, label) for student, context in contexts.items()}
    if len(members) > 1 and first.stage(index).data == "general":
        return [DistilStudents(members)]
    return list(members.values())

"""The steps of a run, a class each, and their order."""

from __future__ import annotations

from ...deploy.bundle import MANIFEST
from ..context import RunContext
from ..layout import RunFolder
from ..step import Step
from .classifiers import Baseline, FinetuneTeacher, GivenTeacher, PretrainTeacher
from .deliver import Benchmark, Export, Quantise
from .distil import Distil
from .distil_students import DistilStudents


def plan(contexts: dict[str, RunContext]) -> list[Step]:
    """The teacher's steps, then of every student (by name) the baseline, the stages, and what follows training."""
    first = next(iter(contexts.values()))
    config, teacher, folder = first.config, first.config.teacher, first.folder
    steps: list[Step] = []
    if teacher.pretrain is not None:
        steps.append(PretrainTeacher(first, folder.pretrained, teacher.pretrain))
    if teacher.finetune is not None:
        steps.append(FinetuneTeacher(first, folder.finetuned, teacher.finetune))
    else:
        steps.append(GivenTeacher(first, folder.given, product=first.teacher_model("finetuned")))
    if config.baseline is not None:
        steps += [Baseline(context, context.folder.baseline, config.baseline) for context in contexts.values()]
    for index in range(len(config.stages)):
        steps += _stage(contexts, index)
    for context in contexts.values():
        folder = context.folder
        steps.append(Export(context, folder.record("export"), config.export, folder.bundle / MANIFEST))
        if config.export.int8 is not None:
            product = folder.int8_bundle / MANIFEST
            steps.append(Quantise(context, folder.record("quantize"), config.export.int8, product))
        if config.benchmark is not None:
            product = folder.benchmark / "result.json"
            steps.append(Benchmark(context, folder.record("benchmark"), config.benchmark, product))
    return steps


def _stage(contexts: dict[str, RunContext], index: int) -> list[Step]:
    """A stage of every student; on general text several students train together."""
    first = next(iter(contexts.values()))
    name = first.config.stages[index].stage
    times = sum(settings.stage == name for settings in first.config.stages[: index + 1])
    label = name if times == 1 else f"{name}-{times}"  # a stage that is repeated is told apart by its number
    members = {student: Distil(context, index, label) for student, context in contexts.items()}
    if len(members) > 1 and first.stage(index).data == "general":
        return [DistilStudents(members, RunFolder(first.folder.shared).stage(index, name))]
    return list(members.values())

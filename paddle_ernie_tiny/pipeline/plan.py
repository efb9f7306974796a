"""The steps of a run: what each does, what decides it, and in which order they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config import stage_objective
from ..distillation.stages import STAGES
from ..models.weights import model_fingerprint
from . import deployment, measure, steps
from .context import RunContext
from .lineage import Step, StepRecord


@dataclass
class JointStep:
    """One training for the steps of several students. Each keeps a record of its own, as if trained alone."""

    name: str
    folder: Path  # of the training, while it lasts
    members: dict[str, Step]
    train: Callable[[Path, list[str]], dict[str, dict]]  # (folder, which members) -> each one's result


def plan(contexts: dict[str, RunContext]) -> list[Step | JointStep]:
    """The run's steps in order: the teacher's, then of every student (by name) the baseline, stages and export."""
    first = next(iter(contexts.values()))
    config = first.config
    planned: list[Step | JointStep] = []
    if config.teacher.pretrain is not None:
        planned.append(_pretrain_step(first))
    planned.append(_finetune_step(first) if config.teacher.finetune is not None else _given_teacher_step(first))
    if config.baseline is not None:
        planned += [_of(name, _baseline_step(context)) for name, context in contexts.items()]
    times: dict[str, int] = {}
    for index, settings in enumerate(config.stages):
        times[settings.stage] = times.get(settings.stage, 0) + 1
        members = {name: _of(name, _stage_step(context, index)) for name, context in contexts.items()}
        if times[settings.stage] > 1:  # a stage that is repeated is told apart by its number
            for step in members.values():
                step.name = f"{step.name}-{times[settings.stage]}"
        if len(members) > 1 and STAGES[settings.stage].data_kind == "general":
            planned.append(_joint_step(contexts, members, index))
        else:
            planned += members.values()
    return planned + [_of(name, step) for name, context in contexts.items() for step in deployment.steps(context)]


def _of(student: str, step: Step) -> Step:
    step.student = student
    return step


# --- what decides each step --------------------------------------------------------------------------------


def _task_inputs(context: RunContext) -> dict:
    task, prints = context.config.task, context.data.fingerprints
    return {
        "seed": context.config.seed,
        "task": {
            "kind": context.data.kind,
            "labels": context.data.labels,
            "metric": task.metric,
            "max_length_tokens": task.max_length_tokens,
        },
        "data": {"train": prints["train"], "dev": prints["dev"]},
    }


def _test_inputs(context: RunContext) -> dict:
    return {"data": context.data.fingerprints, "metric": context.config.task.metric}


def _corpus_inputs(context: RunContext) -> dict:
    settings = context.config.general_corpus
    return {
        "text": context.corpus_fingerprint,
        "max_length_tokens": settings.max_length_tokens,
        "held_out_rows": settings.held_out_rows,
    }


def _teacher_identity(context: RunContext, kind: str) -> str:
    """Changes when the teacher does: the id of the step that made it, or the hash of the given folder."""
    if kind == "finetuned" and context.config.teacher.finetune is not None:
        return StepRecord(context.finetuned_step, {}).identity()
    if context.teacher_source is None:
        return StepRecord(context.pretrained_step, {}).identity()
    return model_fingerprint(context.teacher_source)


# --- the steps ----------------------------------------------------------------------------------------------


def _pretrain_step(context: RunContext) -> Step:
    config = context.config
    return Step(
        name="pretrain",
        folder=context.pretrained_step,
        train=lambda folder: steps.pretrain_teacher(context, folder),
        product=context.pretrained_step / "final",
        inputs=lambda: {
            "seed": config.seed,
            "general_corpus": _corpus_inputs(context),
            "teacher.pretrain": config.teacher.pretrain.model_dump(mode="json"),
        },
    )


def _finetune_step(context: RunContext) -> Step:
    teacher = context.config.teacher
    return Step(
        name="finetune",
        folder=context.finetuned_step,
        train=lambda folder: steps.finetune_teacher(context, folder),
        product=context.finetuned_step / "final",
        inputs=lambda: {
            **_task_inputs(context),
            "teacher.finetune": teacher.finetune.model_dump(mode="json"),
            "teacher.dropout": [teacher.hidden_dropout_prob, teacher.attention_probs_dropout_prob],
            "upstream": {"pretrained teacher": _teacher_identity(context, "pretrained")},
        },
        measure=lambda folder: measure.measure_classifier(context, folder / "final", folder),
        measure_inputs=lambda: _test_inputs(context),
        gate=lambda folder: measure.require_above_chance(context, folder),
    )


def _given_teacher_step(context: RunContext) -> Step:
    """A teacher that is fine-tuned already: nothing to train, only to measure."""
    return Step(
        name="teacher",
        folder=context.shared / "teacher" / "given",
        train=lambda folder: {},
        inputs=lambda: {"weights": _teacher_identity(context, "finetuned")},
        product=context.finetuned_model,
        measure=lambda folder: measure.measure_classifier(context, context.finetuned_model, folder),
        measure_inputs=lambda: _test_inputs(context),
        gate=lambda folder: measure.require_above_chance(context, folder),
    )


def _baseline_step(context: RunContext) -> Step:
    config = context.config
    return Step(
        name="baseline",
        folder=context.baseline_step,
        train=lambda folder: steps.train_baseline(context, folder),
        product=context.baseline_step / "final",
        inputs=lambda: {
            **_task_inputs(context),
            "student": config.student.model_dump(mode="json"),
            "baseline": config.baseline.model_dump(mode="json"),
            "upstream": {"vocabulary": context.tokenizer.fingerprint, **_start_inputs(context)},
        },
        measure=lambda folder: measure.measure_classifier(context, folder / "final", folder),
        measure_inputs=lambda: _test_inputs(context),
    )


def _stage_step(context: RunContext, index: int) -> Step:
    config, settings = context.config, context.config.stages[index]
    stage = STAGES[settings.stage]

    def inputs() -> dict:
        values = {
            "seed": config.seed,
            "kind": context.data.kind,
            "labels": context.data.labels,
            "student": config.student.model_dump(mode="json"),
            "training": settings.training.model_dump(mode="json"),
            "teacher_signals": settings.teacher_signals,
            "objective": _objective_inputs(context, index, stage.label_terms),
            "upstream": {f"{stage.teacher_kind} teacher": _teacher_identity(context, stage.teacher_kind)},
        }
        if not index:
            values["upstream"].update(_start_inputs(context))
        else:
            values["upstream"]["student"] = StepRecord(context.stage_step(index - 1), {}).identity()
        if stage.data_kind == "general":
            values["general_corpus"] = _corpus_inputs(context)
        else:
            values.update(_task_inputs(context))
            if config.augmentation is not None:
                values["augmentation"] = config.augmentation.model_dump(mode="json", exclude={"rows_per_batch"})
                values["upstream"]["masked language model"] = _teacher_identity(context, "pretrained")
        return values

    def measure_inputs() -> dict:
        kinds = measure.latent_settings(context)
        return {
            **_test_inputs(context),
            "latent": [kinds, measure.LATENT_SPLITS],
            "teachers": {kind: _teacher_identity(context, kind) for kind, _ in kinds},
            "corpus": _corpus_inputs(context) if any(data == "general" for _, data in kinds) else None,
        }

    return Step(
        name=settings.stage,
        folder=context.stage_step(index),
        train=lambda folder: steps.distil(context, folder, index),
        product=context.stage_step(index) / "final",
        inputs=inputs,
        measure=lambda folder: measure.measure_stage(context, index, folder),
        measure_inputs=measure_inputs,
    )


def _joint_step(contexts: dict[str, RunContext], members: dict[str, Step], index: int) -> JointStep:
    first = next(iter(contexts.values()))
    name = next(iter(members.values())).name

    def train(folder: Path, names: list[str]) -> dict[str, dict]:
        return steps.distil_together({name: contexts[name] for name in names}, folder, index)

    return JointStep(name, first.shared / "stages" / f"{index + 1}-{first.config.stages[index].stage}", members, train)


def _start_inputs(context: RunContext) -> dict:
    """The weights that the student starts from, where they are not random."""
    start = context.config.student.init
    if start.method == "folder":
        return {"student's start": model_fingerprint(Path(start.folder))}
    return {} if start.method == "random" else {"student's start": _teacher_identity(context, "pretrained")}


def _objective_inputs(context: RunContext, index: int, label_terms: bool) -> dict:
    """Of the objective, only what this stage uses: a new temperature does not make a latent stage stale."""
    values = stage_objective(context.config, index).model_dump(mode="json")
    if not label_terms:
        values.pop("soft_label")
        values.pop("hard_label")
    return values

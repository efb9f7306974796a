"""The whole pipeline: ordered steps, each skipped when its work still holds, resumed when it was cut off."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path

import paddle

from ..config import RunConfig, dump_config, stage_objective
from ..distributed import connect, is_main, wait_for_all
from ..errors import InputError
from ..models.weights import model_fingerprint
from . import deployment, environment
from .context import RunContext
from .lineage import PREFLIGHT, RESOLVED, Step, StepRecord, differences, fingerprint, read_json, write_json
from .preflight import preflight

OWN_FOLDERS = ("teacher", "baseline", "stages", "bundle", "bundle-int8", "benchmark", "vdl", "data")


def run(
    config: RunConfig,
    from_stage: str | None = None,
    until: str | None = None,
    fresh: bool = False,
    say: Callable[[str], None] = print,
) -> Path | None:
    """Runs the pipeline in `config.output_dir`; returns the report's path (None when `until` stopped it).

    A step whose recorded inputs equal the present ones is not repeated; one that was cut off goes on from
    its last checkpoint; one whose inputs changed is made anew, and what changed is said.
    Raises InputError for bad input, GateError when the export's parity gate fails, Interrupted on Ctrl-C.
    """
    root = Path(config.output_dir)
    if not is_main():
        say = _nothing
    context = preflight(config, say)
    paddle.set_device(environment.find_device(config.device))
    connect()
    wait_for_all()  # preflight looks into the folder that the main process is about to open
    if is_main():
        root.mkdir(parents=True, exist_ok=True)
    with _locked(root) if is_main() else nullcontext():
        steps = plan(context)
        names = [step.name for step in steps]
        for option, value in (("--from-stage", from_stage), ("--until", until)):
            if value is not None and value not in names:
                raise InputError(f"no step {value!r} in this run", option, f"steps: {', '.join(names)}")
        if is_main():
            if fresh:
                for name in OWN_FOLDERS:
                    shutil.rmtree(root / name, ignore_errors=True)
            dump_config(config, root / RESOLVED, environment.header(context))
            write_json(root / PREFLIGHT, [finding.as_dict() for finding in context.findings])
            if from_stage is not None:
                for step in steps[names.index(from_stage) :]:
                    shutil.rmtree(step.folder, ignore_errors=True)
        for number, step in enumerate(steps, start=1):
            _perform(step, f"[{number}/{len(steps)}]", say)
            if step.name == until:
                say(f"stopped after {until}, as --until asks")
                return None
        if not is_main():
            return None
        from .report import write_report

        return write_report(root, say)


def _nothing(_: str) -> None:
    """Says nothing: of several processes, one speaks."""


def plan(context: RunContext) -> list[Step]:
    """The run's steps in order."""
    config = context.config
    steps = []
    if config.teacher.pretrain is not None:
        steps.append(_pretrain_step(context))
    if config.teacher.finetune is not None:
        steps.append(_finetune_step(context))
    else:
        steps.append(_given_teacher_step(context))
    if config.baseline is not None:
        steps.append(_baseline_step(context))
    steps += [_stage_step(context, index) for index in range(len(config.stages))]
    steps += deployment.steps(context)
    counts: dict[str, int] = {}
    for step in steps:  # a stage that is repeated is told apart by its number
        counts[step.name] = counts.get(step.name, 0) + 1
        if counts[step.name] > 1:
            step.name = f"{step.name}-{counts[step.name]}"
    return steps


def _perform(step: Step, number: str, say: Callable[[str], None]) -> None:
    wait_for_all()  # until what the step builds on is written
    record = StepRecord(step.folder, step.inputs())
    state, changed = record.state()
    if state == "done" and not step.product.exists():
        state, changed = "stale", [f"{step.product} is gone"]
    wait_for_all()  # until every process has seen the same
    if state == "done":
        say(f"{number} {step.name}: already done")
    else:
        if state == "stale":
            say(f"{number} {step.name}: made anew, because of " + "; ".join(changed[:3]))
        else:
            say(f"{number} {step.name}" + (": carrying on" if state == "resume" else ""))
        if is_main():
            record.begin(fresh=state in ("stale", "new"))
        wait_for_all()
        start = time.time()
        # Paddle names parameters by a counter, and optimiser states by parameters: each step counts from
        # zero, so that a process that skips finished steps finds the names that its checkpoint holds.
        with paddle.utils.unique_name.guard():
            result = step.train(step.folder) if step.shared or is_main() else {}
        if is_main():
            record.finish(result)
        say(f"{number} {step.name}: done in {result.get('seconds', time.time() - start):.0f} s")
    if not is_main():
        return
    if step.measure is not None:
        _measure(step, number, say)
    if step.gate is not None:
        step.gate(step.folder)


def _measure(step: Step, number: str, say: Callable[[str], None]) -> None:
    inputs = {"step": StepRecord(step.folder, {}).identity(), **step.measure_inputs()}
    file = step.folder / "metrics.json"
    known = read_json(file)
    if known is None or differences(known["inputs"], fingerprint(inputs)):
        values = step.measure(step.folder)
        write_json(file, {"inputs": fingerprint(inputs), **values})
        score = values.get("score")
        if score is not None:
            say(f"{number} {step.name}: score {score:.4f} ({values.get('score_kind', 'classifier')})")


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
    from . import steps

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
    from . import measure, steps

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
    from . import measure

    return Step(
        name="teacher",
        folder=context.root / "teacher" / "given",
        train=lambda folder: {},
        inputs=lambda: {"weights": _teacher_identity(context, "finetuned")},
        product=context.finetuned_model,
        measure=lambda folder: measure.measure_classifier(context, context.finetuned_model, folder),
        measure_inputs=lambda: _test_inputs(context),
        gate=lambda folder: measure.require_above_chance(context, folder),
    )


def _baseline_step(context: RunContext) -> Step:
    from . import measure, steps

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
    from ..distillation.stages import STAGES
    from . import measure, steps

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


@contextmanager
def _locked(root: Path):
    """One run at a time in a folder; the lock goes with the process, however it ends."""
    with open(root / ".lock", "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                "another run is at work in this folder",
                str(root),
                "wait for it, or choose another output_dir",
            ) from None
        yield

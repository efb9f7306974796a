"""The whole run: ordered steps, each skipped if its work is still valid, resumed if it was cut off."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import paddle

from ..config import RunConfig, dump_config
from ..config.student_settings import VocabularySettings
from ..deploy.bundle import MANIFEST
from ..deploy.card import CARD
from ..distributed import connect, is_main, wait_for_all
from ..errors import InputError
from ..files import at, locked, write_json
from ..machine import describe_machine, git_commit, restore_threads
from ..stages import step_names
from ..training.checkpoints import remove_checkpoints
from ..watch import Watcher
from .context import RunContext
from .floor import keep_floor
from .launch import find_device
from .preflight import preflight
from .report import write_report
from .sources import Sources
from .step import RunFolder, Step
from .step_store import StepStore
from .steps.classifiers import Baseline, FinetuneTeacher, GivenTeacher, PretrainTeacher, RandomStart
from .steps.deliver import Benchmark, Card, Export, Quantise
from .steps.distil import Distil
from .steps.distil_together import DistilStudents
from .steps.quantization_aware import QuantisationAware
from .teacher_signals import remove_signals


def run(
    config: RunConfig,
    from_stage: str | None = None,
    until: str | None = None,
    fresh: bool = False,
    say: Callable[[str], None] = print,
    watcher: Watcher | None = None,
    shared: Path | None = None,
    store: StepStore | None = None,
    measured: bool = True,
) -> Path | None:
    """Runs the pipeline in `config.output_dir`; returns the report's path (None if `until` stopped it).

    A step whose recorded inputs equal the present ones is not repeated; one that was cut off continues from
    its last checkpoint; one whose inputs changed runs again, and what changed is said. `shared` is another folder for
    teacher and prepared data, `store` has finished steps of other runs. Without `measured`, steps are not scored, but
    by dev while they train; the same run measures them later.
    Raises InputError for bad input, GateError if the export's parity gate fails, Interrupted on Ctrl-C.
    """
    folder = RunFolder(Path(config.output_dir))
    say = say if is_main() else lambda line: None  # of several processes, one speaks
    sources, contexts = Sources(config), preflight(config, say, shared)  # hashed before they are read
    paddle.set_device(find_device(config.device))
    restore_threads()  # a predictor that was opened before in this process has taken them
    connect()
    wait_for_all()  # preflight looks into the folder that the main process is about to open
    with at(folder.root), locked(folder.root, "run") if is_main() else nullcontext():
        for context in contexts.values():
            context.watcher = watcher or context.watcher
        steps = plan(contexts)
        again, last = _chosen_part(steps, from_stage, until)  # first: a wrong name must not cost any work
        if is_main():
            if fresh:
                folder.clear()
            _settle(steps, again)
            _write_headers(contexts)
            keep_floor(next(iter(contexts.values())))
        for number, step in enumerate(steps, start=1):
            wait_for_all()  # until what the step builds on is written
            sources.require_unchanged()
            _carry_out(step, f"[{number}/{len(steps)}]", say, store, measured)
            if number == last:
                say(f"stopped after {until}, as --until asks")
                return None
        if not is_main():
            return None
        remove_signals(config, folder)
        return write_report(folder.root, say)


def _carry_out(step: Step, place: str, say: Callable[[str], None], store: StepStore | None, measured: bool) -> None:
    """Does a step's work if it is not done, nor in the store, then what is missing of its measurement."""
    (state, changed), begun, took = step.state(), time.time(), None
    title = f"{place} {step.title}"
    wait_for_all()  # until every process has seen the same
    if state == "done":
        say(f"{title}: already done")
    elif store is not None and store.take(step):
        say(f"{title}: taken from another run with the same inputs")
    else:
        why = f": re-running: {'; '.join(changed[:3])}" if state == "stale" else ""
        say(title + (": resuming" if state == "resume" else why))
        if is_main():
            step.begin(fresh=state != "resume")
        wait_for_all()
        with paddle.utils.unique_name.guard():  # see `Step.run`
            result = step.run() if step.every_process or is_main() else {}
        if is_main():
            step.finish(result)
        took = result.get("seconds", time.time() - begun)
    remove_checkpoints(step.folder)  # only now: a run that is killed before `finish` continues from them
    if not is_main():
        return
    begun = time.time()
    if measured:
        step.measure_if_needed(lambda line: say(f"{place} {line}"))
    if store is not None:
        store.give(step)
    scored = time.time() - begun
    if took is not None:
        more = f", {scored:.0f} s of them measuring" if scored >= 1 else ""
        say(f"{title}: done in {took + scored:.0f} s{more}")
    for line in step.gate() if measured else ():
        say(f"{place} {line}")


def plan(contexts: dict[str, RunContext]) -> list[Step]:
    """The teacher's steps, then of every student (by name) the baseline, the stages, and what follows training."""
    first = next(iter(contexts.values()))
    config, teacher, folder = first.config, first.config.teacher, first.folder
    steps: list[Step] = []
    if teacher is None:  # the soft labels are those of files
        for context in contexts.values():
            if context.teacher_source is None:
                vocabulary = context.config.student.init.vocabulary or VocabularySettings()
                steps.append(RandomStart(context, context.folder.start, vocabulary))
    else:
        if teacher.pretrain is not None:
            steps.append(PretrainTeacher(first, folder.pretrained, teacher.pretrain))
        if teacher.finetune is not None:
            steps.append(FinetuneTeacher(first, folder.finetuned, teacher.finetune))
        else:
            steps.append(GivenTeacher(first, folder.given, product=first.teacher_model("finetuned")))
    if config.baseline is not None:
        steps += [Baseline(context, context.folder.baseline, config.baseline) for context in contexts.values()]
    names = [settings.stage for settings in config.stages]
    for index, (name, label) in enumerate(zip(names, step_names(names), strict=True)):
        members = {student: Distil(context, index, label) for student, context in contexts.items()}
        if len(members) > 1 and first.is_general(index):  # several students train together
            steps.append(DistilStudents(members, RunFolder(folder.shared).stage(index, name)))
        else:
            steps += members.values()
    for context in contexts.values():
        folder = context.folder
        steps.append(Export(context, folder.record("export"), config.export, folder.bundle / MANIFEST))
        if config.quantization_aware is not None:
            steps.append(QuantisationAware(context))
        if config.export.int8 is not None:
            product = folder.int8_bundle / MANIFEST
            steps.append(Quantise(context, folder.record("quantize"), config.export.int8, product))
        if config.benchmark is not None:
            product = folder.benchmark / "result.json"
            steps.append(Benchmark(context, folder.record("benchmark"), config.benchmark, product))
        steps.append(Card(context, folder.record("card"), product=folder.bundle / CARD))
    return steps


def _chosen_part(steps: list[Step], from_stage: str | None, until: str | None) -> tuple[list[Step], int | None]:
    """The steps that `from_stage` asks for again, and the number of the last step of `until`, from 1."""
    names = [step.name for step in steps]
    for option, value in (("--from-stage", from_stage), ("--until", until)):
        if value is not None and value not in names:
            raise InputError(f"no step {value!r} in this run", option, f"steps: {', '.join(dict.fromkeys(names))}")
    again = steps[names.index(from_stage) :] if from_stage is not None else []
    return again, len(names) - names[::-1].index(until) if until else None


def _settle(steps: list[Step], again: list[Step]) -> None:
    """Removes the work that is to be done again; of the other steps, gives earlier versions' records checksums."""
    for step in steps:
        if step in again:
            step.remove()
        else:
            step.seal_old()


def _write_headers(contexts: dict[str, RunContext]) -> None:
    """What decides the run beside its configuration, in its folder and in that of each student."""
    first = next(iter(contexts.values()))
    config, pool = first.whole, first.data.pool
    header: dict[str, Any] = {
        "environment": {**describe_machine(), "device": paddle.get_device()},
        "git_commit": git_commit(),
        "data_fingerprints": first.data.fingerprints | ({"unlabelled": pool.fingerprint} if pool else {}),
        "labels": first.data.labels,
    }
    if config.general_corpus is not None:
        header["general_corpus_fingerprint"] = first.corpus_inputs()["text"]
    shared = RunFolder(first.folder.shared)
    shared.seal.unlink(missing_ok=True)  # the run is not finished any more
    dump_config(config, shared.resolved, header)
    for context in contexts.values():
        folder = context.folder
        folder.seal.unlink(missing_ok=True)
        folder.root.mkdir(parents=True, exist_ok=True)
        if folder.root != folder.shared:
            header["shared_folder"] = os.path.relpath(folder.shared, folder.root)  # of teacher and prepared data
            dump_config(context.config, folder.resolved, header)
        write_json(folder.preflight, [asdict(finding) for finding in context.findings])

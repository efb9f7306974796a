"""An ablation study from its YAML file to its report: jobs in processes side by side, with a table while they run."""

from __future__ import annotations

import copy
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import check_config
from ..errors import ErnieTinyError, InputError, InputErrors
from ..files import at, locked, require_folder, write_json
from ..machine import available_memory, cpu_cores, thread_count
from ..models.build import read_model_config, resolve_model
from ..pipeline.launch import find_device
from ..pipeline.step import RunFolder
from ..processes import Workers
from .jobs import PROGRESS, Group, Job, clean_up, make_job, run_group, steps_too_few
from .live_table import LiveTable
from .study_pages import write_study_pages
from .study_results import gather
from .study_settings import StudySettings, load_study, task_mappings
from .variants import NotApplicable

RESULTS = "results.json"
_TURN_SECONDS = 1.0  # between two looks at the jobs
_PROCESS_BYTES = 4e9  # of a run with a BERT-base, with room


def ablate(
    path: str | os.PathLike,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Path:
    """Runs the study; the same call again continues where it stopped. Returns the path of report.html.

    overrides: "key.sub=value", of the study's file. only: names of jobs, or their beginnings, such as "lcqmc/seed-1/";
    others are left for later, the report has all that are finished. Raises InputErrors for wrong input, before any
    work; ErnieTinyError if jobs failed, once all others are done.
    """
    settings, base = load_study(path, overrides)
    jobs, left_out = plan_jobs(settings, base, str(path))
    root = Path(settings.output_dir)
    if (resolved := RunFolder(root).resolved).exists():
        raise InputError("this is the folder of a run", str(resolved), "give the study another output_dir")
    for folder in {root, *(job.store for job in jobs)}:
        require_folder(folder)
    with at(root), locked(root, "study"):
        for job in jobs:  # of a process that was killed
            (job.folder / PROGRESS).unlink(missing_ok=True)
        chosen = [job for job in jobs if not only or job.name.startswith(tuple(only))]
        if not chosen:
            names = ", ".join(job.name for job in jobs)
            raise InputError("no such job", f"only {', '.join(only)}", f"their names: {names}")
        open_jobs = [job for job in jobs if job.record(settings) is None]
        waiting = [job for job in open_jobs if job in chosen]
        say(f"{len(jobs)} jobs, {len(jobs) - len(open_jobs)} of them done: {root}")
        for task, variant, reason in left_out:
            say(f"not run: {variant} of {task}: {reason}")
        if not settings.equal_steps and (settings.steps or settings.rates):
            say("steps and rates of the file have no effect: each recipe is taken as it is")

        def write() -> Path:
            results = gather(settings, jobs, left_out, shlex.join(["ernie-tiny", "ablate", str(path), *overrides]))
            write_json(root / RESULTS, results)
            return write_study_pages(results, root)

        later = {job.group for job in open_jobs if job not in waiting}
        failed = _run_all(settings, jobs, waiting, later, say, write)
        report = write()
    if failed:
        raise _of_failures(failed, root)
    return report


def plan_jobs(
    settings: StudySettings, base: dict[str, Any], where: str
) -> tuple[list[Job], list[tuple[str, str, str]]]:
    """All jobs, by task, variant and seed; and (task, variant, reason) of variants that a task cannot have.

    Raises InputErrors with every mistake of every job's configuration.
    """
    jobs, left_out, errors = list[Job](), list[tuple[str, str, str]](), list[InputError]()
    for task, mapping in task_mappings(settings, base, where).items():
        try:  # a mistake that every variant would have is said once
            raw = {**copy.deepcopy(mapping), "output_dir": settings.output_dir}
            check_config(raw, f"{settings.base}, task {task}")
        except InputErrors as several:
            errors += several.errors
            continue
        teacher = None
        for variant in settings.every_variant:
            try:
                if settings.changes(variant)[0] == "teacher_layers":
                    teacher = teacher or teacher_sizes(mapping)
                jobs += [make_job(settings, mapping, teacher, task, seed, variant) for seed in settings.seeds]
            except NotApplicable as reason:
                left_out.append((task, variant, reason.what))
            except InputErrors as several:
                errors += several.errors
            except InputError as error:
                errors.append(error)
    if errors:
        raise InputErrors(list({str(error): error for error in errors}.values()))
    for task, variant, why in left_out:
        if variant == settings.reference:
            what = f"the reference {variant!r} does not apply to {task}: {why}"
            raise InputError(what, f"{where}: reference", "choose another reference")
    references = {job.group: job.config for job in jobs if job.variant == settings.reference}
    for job in jobs:
        for name in ("kind", "metric", "labels"):
            own, wanted = getattr(job.config.task, name), getattr(references[job.group].task, name)
            if own != wanted:
                what = f"{own!r}, but {wanted!r} of {settings.reference}: such scores cannot be compared"
                raise InputError(what, f"variant {job.variant} of task {job.task}: task.{name}", "take it out")
    jobs = [replace(job, reference=references[job.group]) for job in jobs]
    too_few = [fault for job in jobs if (fault := steps_too_few(job, settings))]
    if too_few:
        raise InputErrors(list({str(fault): fault for fault in too_few}.values()))
    return jobs, left_out


def teacher_sizes(mapping: Mapping[str, Any]) -> dict[str, Any] | None:
    """Sizes of the teacher of a run's mapping, from its model or the shape that is pretrained; None: not known."""
    teacher = mapping.get("teacher") or {}
    if teacher.get("pretrain"):
        return teacher["pretrain"].get("shape")
    return read_model_config(resolve_model(teacher["model"])) if teacher.get("model") else None


def _run_all(
    settings: StudySettings,
    jobs: list[Job],
    waiting: list[Job],
    later: set[tuple[str, int]],
    say: Callable[[str], None],
    write: Callable[[], Path],
) -> dict[str, ErnieTinyError]:
    """Runs what is waiting, the first seed of every task first; returns the errors of jobs that failed, by name.

    later: groups of which some jobs are left for another time. write: called whenever jobs are finished, for the report
    of those so far.
    """
    references = {job.group: job for job in jobs if job.variant == settings.reference}
    groups = [
        Group([job for job in waiting if job.group == key], reference, settings, key not in later)
        for key, reference in sorted(references.items(), key=lambda item: settings.seeds.index(item[0][1]))
    ]
    for group in groups:
        if group.last and not group.jobs:  # a process that was killed, or a job that failed, may have left something
            clean_up(group.reference, settings)
    groups = [group for group in groups if group.jobs]
    if not groups:
        return {}
    count = min(len(references), settings.processes or (1 if _on_gpu(jobs) else cpu_cores()))
    failed: dict[str, ErnieTinyError] = {}
    # also of the last group alone: other threads would add in another order, and give other figures
    environment = {"OMP_NUM_THREADS": str(max(1, thread_count("auto") // count))}
    with LiveTable(settings, jobs, waiting, say) as table, Workers(_held_by_memory(count), environment) as workers:
        waited = {workers.submit(run_group, group) for group in groups}
        while waited:
            done, waited = wait(waited, timeout=_TURN_SECONDS, return_when=FIRST_COMPLETED)
            try:
                for future in done:
                    failed |= future.result()
            except BrokenProcessPool:
                what = (
                    "one of the study's processes ended without an answer; the system may have killed it for its memory"
                )
                remedy = "run the same command again, it continues; with processes=1 it needs less memory"
                write()
                what += "".join(f"\n{name[:-1]} failed before: {error}" for name, error in failed.items())
                raise ErnieTinyError(what, settings.output_dir, remedy) from None
            if table.update() and waited:
                write()
    return failed


def _of_failures(failed: dict[str, ErnieTinyError], root: Path) -> ErnieTinyError:
    """One error for all jobs that failed, alike ones together; the user's input is wrong if it is in each of them."""
    alike: dict[str, list[str]] = {}
    for name, error in failed.items():
        alike.setdefault(str(error), []).append(name[:-1])
    lines = [f"{', '.join(names)}: {error}" for error, names in alike.items()]
    what = "\n".join(["some jobs failed, all others are done; log.txt in their folders says more:", *lines])
    wrong_input = all(isinstance(error, InputError) for error in failed.values())
    return (InputError if wrong_input else ErnieTinyError)(what, str(root), "then run the same command again")


def _on_gpu(jobs: list[Job]) -> bool:
    return any(find_device(job.config.device) == "gpu" for job in jobs)


def _held_by_memory(count: int) -> int:
    """At most so many processes as free memory allows; what is left of `count` runs later, with the same threads."""
    return max(1, min(count, int(available_memory() // _PROCESS_BYTES)))

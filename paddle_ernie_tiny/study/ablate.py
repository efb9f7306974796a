"""An ablation study from its YAML file to its report: jobs in processes side by side, with a table while they run."""

from __future__ import annotations

import copy
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config import check_config
from ..errors import ErnieTinyError, InputError, InputErrors
from ..files import at, require_folder, write_json
from ..machine import cpu_cores
from ..models.build import read_model_config, resolve_model
from ..processes import Workers
from .group import Group, run_group
from .jobs import Job, make_job
from .live_table import LiveTable
from .study_pages import write_study_pages
from .study_results import gather
from .study_settings import StudySettings, load_study, task_mappings
from .variants import NotApplicable

RESULTS = "results.json"
_TURN_SECONDS = 1.0  # between two looks at the jobs


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
    require_folder(root)
    with at(root), _opened(root):
        chosen = [job for job in jobs if not only or job.name.startswith(tuple(only))]
        if not chosen:
            names = ", ".join(job.name for job in jobs)
            raise InputError("no such job", f"only {', '.join(only)}", f"their names: {names}")
        open_jobs = [job for job in jobs if job.record(settings) is None]
        waiting = [job for job in open_jobs if job in chosen]
        say(f"{len(jobs)} jobs, {len(jobs) - len(open_jobs)} of them done: {root}")
        for task, variant, reason in left_out:
            say(f"not run: {variant} of {task}: {reason}")
        failed = _run_all(settings, jobs, waiting, say)
        results = gather(settings, jobs, left_out, " ".join(["ernie-tiny ablate", str(path), *overrides]))
        write_json(root / RESULTS, results)
        report = write_study_pages(results, root)
    if failed:
        what = "\n".join(["some jobs failed, all others are done; log.txt in their folders says more:", *failed])
        raise ErnieTinyError(what, str(root), "correct the configuration, and run the same command again")
    return report


def plan_jobs(
    settings: StudySettings, base: dict[str, Any], where: str
) -> tuple[list[Job], list[tuple[str, str, str]]]:
    """All jobs, by task, seed and variant; and (task, variant, reason) of variants that a task cannot have.

    Raises InputErrors with every mistake of every job's configuration.
    """
    jobs, left_out, errors = list[Job](), list[tuple[str, str, str]](), list[InputError]()
    for task, mapping in task_mappings(settings, base, where).items():
        try:  # a mistake that every variant would have is said once
            check_config(copy.deepcopy(mapping), f"{settings.base}, task {task}")
        except InputErrors as several:
            errors += several.errors
            continue
        teacher = None
        for variant in settings.every_variant:
            try:
                if settings.changes(variant)[0] == "teacher_layers":
                    teacher = teacher or _teacher_sizes(mapping)
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
    return jobs, left_out


def _teacher_sizes(mapping: dict[str, Any]) -> dict[str, Any] | None:
    teacher = mapping.get("teacher") or {}
    if teacher.get("pretrain"):
        return teacher["pretrain"].get("shape")
    return read_model_config(resolve_model(teacher["model"])) if teacher.get("model") else None


def _run_all(settings: StudySettings, jobs: list[Job], waiting: list[Job], say: Callable[[str], None]) -> list[str]:
    """Runs what is waiting, the first seed of every task first; returns what failed, in words."""
    references = {job.group: job for job in jobs if job.variant == settings.reference}
    later = {job.group for job in jobs if job not in waiting and job.record(settings) is None}
    groups = [
        Group([job for job in waiting if job.group == key], reference, settings, key not in later)
        for key, reference in sorted(references.items(), key=lambda item: settings.seeds.index(item[0][1]))
    ]
    groups = [group for group in groups if group.jobs]
    if not groups:
        return []
    count = min(len(references), settings.processes or cpu_cores())
    failed: dict[str, str] = {}
    # also of the last group alone: other threads would add in another order, and give other figures
    environment = {"OMP_NUM_THREADS": str(max(1, cpu_cores() // count))}
    with LiveTable(settings, jobs, say) as table, Workers(count, environment) as workers:
        waited = {workers.submit(run_group, group) for group in groups}
        while waited:
            done, waited = wait(waited, timeout=_TURN_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                failed |= future.result()
            table.update()
    alike: dict[str, list[str]] = {}
    for name, error in failed.items():
        alike.setdefault(error, []).append(name)
    return [f"{', '.join(names)}: {error}" for error, names in alike.items()]


@contextmanager
def _opened(root: Path) -> Iterator[None]:
    """One process at a time in a study's folder; the lock ends with the process."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            what, remedy = "another study is active in this folder", "wait for it, or choose another output_dir"
            raise InputError(what, str(root), remedy) from None
        yield

"""What a study has found: a mapping of every job, and for every variant means, spreads and paired differences."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..extensions import kind_named
from ..kinds.scored import Scored
from ..kinds.uncertainty import Interval, bounds_of, resampled_scores
from .jobs import Job
from .study_settings import StudySettings
from .study_verdicts import ALL_TASKS, Values
from .variants import VARIANTS

_OF_TASK = ("metric", "evaluated_on", "rows", "rows_unseen", "kind", "floor")
_OF_JOB = ("score", "score_unseen", "interval", "params", "teacher", "agreement", "kl", "stages", "rates")


def gather(settings: StudySettings, jobs: list[Job], left_out: list[tuple[str, str, str]], command: str) -> Values:
    """results.json of the jobs that are finished."""
    records = {job: record for job in jobs if (record := job.record(settings)) is not None}
    tasks = list(dict.fromkeys(job.task for job in records))
    first = {task: next(record for job, record in records.items() if job.task == task) for task in tasks}
    draws = {task: _differences(settings, {j: r for j, r in records.items() if j.task == task}) for task in tasks}
    summary = {task: _of_task(settings, records, task, draws[task]) for task in tasks}
    if len(tasks) > 1:
        summary[ALL_TASKS] = _of_all(summary, draws)
    return {
        "name": Path(settings.output_dir).name,
        "complete": len(records) == len(jobs),
        "equal_steps": settings.equal_steps,
        "reference": settings.reference,
        "seeds": settings.seeds,
        "variants": {name: _described(settings, name) for name in settings.every_variant},
        "tasks": {task: {key: record.get(key) for key in _OF_TASK} for task, record in first.items()},
        "not_run": [dict(zip(("task", "variant", "reason"), row, strict=True)) for row in left_out],
        "jobs": [_job(job, record) for job, record in records.items()],
        "summary": summary,
        "teacher": {task: _teacher(records, task) for task in tasks},
        "environment": next((record["environment"] for record in records.values()), {}),
        "command": command,
    }


def _described(settings: StudySettings, name: str) -> Values:
    row, own = settings.changes(name)
    if name in VARIANTS:
        return {"title": VARIANTS[name].title, "changes": VARIANTS[name].changes}
    changes = "; ".join([*([VARIANTS[row].title] if row != "full" else []), *(f"{k}: {v}" for k, v in own.items())])
    return {"title": settings.own[name].get("title", name), "changes": changes}


def _job(job: Job, record: Values) -> Values:
    stages = record["stages"]
    sums = {key: sum(stage[key] for stage in stages) for key in ("steps", "rows_trained", "seconds")}
    own = {key: record.get(key) for key in _OF_JOB}
    return {"task": job.task, "variant": job.variant, "seed": job.seed, **own, **sums}


def _differences(settings: StudySettings, records: dict[Job, Values]) -> dict[str, np.ndarray]:
    """Of each variant: (score - the reference's) of its seeds, then of resamples of the rows: [seeds, 1 + resamples].

    A resample has the same rows in every seed. Only seeds that both have, with the same rows.
    """
    found: dict[str, np.ndarray] = {}
    scored = {job: _scored(job, record) for job, record in records.items()}
    references = {job.seed: job for job in records if job.variant == settings.reference}
    for variant in settings.every_variant:
        pairs = [(job, references[job.seed]) for job in records if job.variant == variant and job.seed in references]
        pairs = [(one, other) for one, other in pairs if records[one]["rows"] == records[other]["rows"]]
        pairs = [(one, other) for one, other in pairs if _same_gold(scored[one], scored[other])]
        if variant == settings.reference or not pairs:
            continue
        sides = [job for side in zip(*pairs, strict=True) for job in side]
        metric = records[sides[0]]["metric"]
        drawn = resampled_scores(metric, [scored[job] for job in sides])
        scores = np.concatenate([[[records[job]["score"]] for job in sides], drawn], axis=1)
        found[variant] = scores[: len(pairs)] - scores[len(pairs) :]
    return found


def _same_gold(one: Scored, other: Scored) -> bool:
    if len(one.gold) != len(other.gold):
        return False
    if isinstance(one.gold, np.ndarray) and isinstance(other.gold, np.ndarray):
        return np.array_equal(one.gold, other.gold)
    return all(np.array_equal(own, theirs) for own, theirs in zip(one.gold, other.gold, strict=True))


def _scored(job: Job, record: Values) -> Scored:
    settings = record["settings"] if record.get("settings") is not None else job.config.task.settings
    return job.scored(kind_named(job.config.task.kind, "task.kind", settings), record["labels"])


def over_seeds(draws: np.ndarray) -> np.ndarray:
    """The mean over seeds, then of resamples, in each of which seeds are drawn too: [1 + resamples].

    draws: differences of each seed, first as they are, then on resampled rows: [seeds, 1 + resamples].
    """
    seeds, count = draws.shape
    drawn = np.random.default_rng(0).integers(seeds, size=(seeds, count - 1))
    resampled = np.take_along_axis(draws[:, 1:], drawn, axis=0).mean(0)
    return np.concatenate([[draws[:, 0].mean()], resampled])


def over_tasks(draws: list[np.ndarray]) -> np.ndarray:
    """The mean over tasks, whose resamples are independent: [1 + resamples], from as many of each."""
    random = np.random.default_rng(1)
    mixed = [np.concatenate([values[:1], random.permutation(values[1:])]) for values in draws]
    return np.mean(mixed, axis=0)


def _interval(values: np.ndarray) -> Interval:
    return bounds_of(float(values[0]), values[1:])


def _of_task(settings: StudySettings, records: dict[Job, Values], task: str, draws: dict[str, np.ndarray]) -> Values:
    found = {}
    for variant in settings.every_variant:
        own = [_job(job, record) for job, record in records.items() if (job.task, job.variant) == (task, variant)]
        if not own:
            continue
        kept = [value for value in map(_retention, own) if value is not None]
        difference = asdict(_interval(over_seeds(draws[variant]))) if variant in draws else None
        found[variant] = {
            "seeds": len(own),
            **_mean_sd("mean", "sd", own, "score"),
            **_mean_sd("mean_unseen", "sd_unseen", own, "score_unseen"),
            "retention": float(np.mean(kept)) if kept else None,
            "retention_sd": float(np.std(kept, ddof=1)) if len(kept) > 1 else None,
            **{key: _mean(own, key) for key in ("agreement", "steps", "seconds", "params")},
            "difference": difference,
        }
    return found


def _of_all(summary: Values, draws: dict[str, dict[str, np.ndarray]]) -> Values:
    tasks = list(draws)
    common = [variant for variant in summary[tasks[0]] if all(variant in summary[task] for task in tasks)]
    found = {}
    for variant in common:
        rows = [summary[task][variant] for task in tasks]
        known = all(variant in draws[task] for task in tasks)
        values = over_tasks([over_seeds(draws[task][variant]) for task in tasks]) if known else None
        keys = ("mean", "mean_unseen", "retention", "agreement", "steps", "seconds", "params")
        found[variant] = {
            "seeds": min(row["seeds"] for row in rows),
            **{key: _mean(rows, key) for key in keys},
            **dict.fromkeys(("sd", "sd_unseen", "retention_sd")),
            "difference": None if values is None else asdict(_interval(values)),
        }
    return found


def _retention(job: Values) -> float | None:
    """The share of its teacher's score that a student keeps, on rows not seen in training where both have them.

    None where the teacher's score is not above 0, as a correlation may be: a share of it means nothing.
    """
    teacher = job["teacher"]
    key = "score_unseen" if teacher and None not in (teacher["score_unseen"], job["score_unseen"]) else "score"
    return job[key] / teacher[key] if teacher and (teacher[key] or 0) > 0 and job[key] is not None else None


def _teacher(records: dict[Job, Values], task: str) -> Values | None:
    """Of a task's teachers, one of each seed: that of its first variant."""
    by_seed = {job.seed: record["teacher"] for job, record in reversed(records.items()) if job.task == task}
    own = [teacher for teacher in by_seed.values() if teacher is not None]
    return {**_mean_sd("mean", "sd", own, "score"), "mean_unseen": _mean(own, "score_unseen")} if own else None


def _mean_sd(mean: str, sd: str, rows: list[Values], key: str) -> Values:
    values = [row[key] for row in rows if row[key] is not None]
    return {mean: _mean(rows, key), sd: float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _mean(rows: list[Values], key: str) -> float | None:
    values = [row[key] for row in rows]
    return float(np.mean(values)) if values and None not in values else None

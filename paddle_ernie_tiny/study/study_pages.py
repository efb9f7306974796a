"""The report of an ablation study: results.csv, report.md and report.html; the page carries its pictures inside."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from ..files import write_text
from ..pipeline.report_pages import data_url, page_templates, png_of
from .study_plots import curve_plot, difference_plot, jobs_of, score_plot
from .study_verdicts import (
    ALL_TASKS,
    Values,
    compared,
    floor_of,
    in_points,
    lead,
    places_of,
    places_of_lead,
    teacher_of,
)

_OF_JOB = ("task", "variant", "seed", "score", "score_unseen", "low", "high", "params", "agreement", "kl")
_OF_TEACHER = ("score", "score_unseen", "params")
_OF_TRAINING = ("steps", "rows_trained", "seconds")
_OF_STAGE = ("steps", "rows_trained", "seconds", "score", "score_kind", "learning_rate", "shared")


@dataclass(frozen=True)
class ReportTable:
    """Cells in text, by heading, and a note on how to read them; a column that no row has is left out."""

    rows: list[dict[str, str]]
    note: str = ""

    @property
    def headings(self) -> list[str]:
        """All headings, in the order in which they appear."""
        return list(dict.fromkeys(heading for row in self.rows for heading in row))

    @property
    def cells(self) -> list[list[str]]:
        """The rows' cells, with a dash for what a row does not have."""
        return [[row.get(heading, "–") for heading in self.headings] for row in self.rows]


@dataclass(frozen=True)
class ReportPart:
    """What is below one heading: texts, tables, pictures with captions, and a command."""

    title: str
    texts: list[str] = field(default_factory=list)
    tables: list[ReportTable] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)  # address, caption
    code: str = ""


def write_study_pages(results: dict[str, Any], folder: Path) -> Path:
    """Writes results.csv (a line per job), report.md and report.html; returns the path of the latter.

    results: what results.json holds, also of a study that is not complete. The folder is made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "results.csv", _csv(results))
    view = {"heading": "Ablation study", "name": results["name"], "line": "job", "lead": lead(results)}
    return write_parts(folder, [*_parts(results)], {**view, "marked": results["reference"]})


def write_parts(folder: Path, parts: list[ReportPart], view: dict[str, Any]) -> Path:
    """Writes report.md and report.html; returns the path of the latter. Parts that are empty are left out.

    view: heading and name of the page, sentences to begin with (`lead`), the first cell of the row that stands out
    (`marked`), and what has a line in results.csv (`line`).
    """
    parts = [part for part in parts if part.texts or part.tables or part.pictures or part.code]
    environment = page_templates("paddle_ernie_tiny.study")
    for page, template in (("report.md", "parts.md.j2"), ("report.html", "parts.html.j2")):
        write_text(folder / page, environment.get_template(template).render({**view, "parts": parts}))
    return folder / "report.html"


def csv_of(lines: list[Values], columns: Iterable[str]) -> str:
    """A table in CSV: these columns first, then further ones that a line has."""
    names = dict.fromkeys([*columns, *(name for line in lines for name in line)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _csv(results: Values) -> str:
    """A line per job in the order of tasks, variants and seeds; the columns of a stage begin with its name."""
    lines = []
    for task in results["tasks"]:
        for jobs in jobs_of(results, task).values():
            for job in sorted(jobs, key=lambda job: job["seed"]):
                low, high = job.get("interval") or (None, None)
                facts, teacher = {**job, "low": low, "high": high}, job.get("teacher") or {}
                line = {name: facts.get(name) for name in _OF_JOB} | {"metric": results["tasks"][task]["metric"]}
                line |= {f"teacher_{name}": teacher.get(name) for name in _OF_TEACHER}
                line |= {name: job.get(name) for name in _OF_TRAINING}
                line["rates"] = " ".join(f"{rate}={score}" for rate, score in (job.get("rates") or {}).items())
                for stage in job.get("stages") or []:
                    line |= {f"{stage['name']}.{name}": stage.get(name) for name in _OF_STAGE}
                lines.append(line)
    return csv_of(lines, [*_OF_JOB, "metric", *(f"teacher_{name}" for name in _OF_TEACHER), *_OF_TRAINING, "rates"])


def _parts(results: Values) -> Iterable[ReportPart]:
    variants = [
        {"variant": name, "title": str(v.get("title", "")), "what differs": str(v.get("changes", ""))}
        for name, v in results["variants"].items()
    ]
    yield ReportPart("Variants", [f"The others are compared with {results['reference']}."], [ReportTable(variants)])
    for place in places_of(results):
        pictures = []
        if place != ALL_TASKS:
            caption = (
                f"{place}: score against training time. Large marks with bars: mean and standard deviation over "
                "seeds; small marks: single seeds. Seconds are of the machine that ran the study"
            )
            pictures = _pictures(score_plot(results, place), caption)
        title = "Scores on all tasks" if place == ALL_TASKS else f"Scores on {place}"
        texts = [] if place in places_of_lead(results) else compared(results, place)  # said at the top
        yield ReportPart(title, texts, [_scores(results, place)], pictures)
    caption = f"Difference from {results['reference']} with its 95 % interval. Hollow marks: the interval includes 0"
    yield ReportPart("Differences", pictures=_pictures(difference_plot(results), caption))
    caption = "Dev score against the steps of the last stage (of a fine-tuned variant: its only one), mean over seeds"
    yield ReportPart("Learning curves", pictures=_pictures(curve_plot(results), caption))
    for task in results["tasks"]:
        yield ReportPart(f"Stages on {task}", tables=_stages(results, task))
    skipped = [{name: str(entry[name]) for name in ("task", "variant", "reason")} for entry in results["not_run"]]
    yield ReportPart("Not run", tables=[ReportTable(skipped)] if skipped else [])
    yield ReportPart("What is approximate", _approximate(results))
    yield how_it_was_made(results)


def how_it_was_made(results: Values) -> ReportPart:
    """Machine, versions and command."""
    facts = [{"": str(name), "value": _flat(value)} for name, value in (results.get("environment") or {}).items()]
    tables = [ReportTable(facts)] if facts else []
    return ReportPart("How it was made", tables=tables, code=results.get("command") or "")


def _pictures(figure: Figure | None, caption: str) -> list[tuple[str, str]]:
    return [(data_url(png_of(figure)), f"{caption}.")] if figure else []


def _scores(results: Values, place: str) -> ReportTable:
    """Teacher, floor, and each variant."""
    tasks = results["tasks"] if place == ALL_TASKS else {place: results["tasks"][place]}
    unseen = any(task.get("rows_unseen") and task["rows_unseen"] != task.get("rows") for task in tasks.values())
    metric = " / ".join(dict.fromkeys(task["metric"] for task in tasks.values()))
    on_rows = {"mean": metric} | ({"mean_unseen": f"{metric}, unseen rows"} if unseen else {})
    difference = f"difference from {results['reference']}, points (95 % interval)"

    def row(name: str, line: Values) -> dict[str, str]:
        sds = {"mean": line.get("sd"), "mean_unseen": line.get("sd_unseen")}
        return {
            "variant": name,
            "seeds": _number(line.get("seeds"), "{:d}"),
            **{heading: _mean(line.get(key), sds[key]) for key, heading in on_rows.items()},
            difference: in_points(line["difference"]) if line.get("difference") else "–",
            "of the teacher kept": _mean(line.get("retention"), line.get("retention_sd"), "{:.1%}"),
            "agreement with the teacher": _number(line.get("agreement"), "{:.1%}"),
            "steps": _number(line.get("steps"), "{:,.0f}"),
            "seconds": _seconds(line.get("seconds")),
            "parameters": _number(line.get("params"), "{:,.0f}"),
        }

    teacher, floor, lines = teacher_of(results, place), floor_of(results, place), results["summary"].get(place) or {}
    sizes = [
        size for job in results["jobs"] if job["task"] == place and (size := (job.get("teacher") or {}).get("params"))
    ]
    rows = [row("teacher", {**teacher, "sd": teacher.get("sd") or None, "params": sizes[0] if sizes else None})]
    rows.append(row("linear floor", {"mean": floor.get("score"), "mean_unseen": floor.get("score_unseen")}))
    rows += [row(name, lines[name]) for name in results["variants"] if name in lines]
    counts = [f"{name}: {task['rows']} rows of {task['evaluated_on']}" for name, task in tasks.items()]
    counts = [
        text + (f", {task['rows_unseen']} unseen in training" if unseen and task.get("rows_unseen") is not None else "")
        for text, task in zip(counts, tasks.values(), strict=True)
    ]
    absent = [name for name in results["variants"] if name not in (results["summary"].get(place) or {})]
    note = (
        f" No figures{' of every task' * (place == ALL_TASKS)} yet, or not run: {', '.join(absent)}." if absent else ""
    )
    return ReportTable(rows, f"{'; '.join(counts)}.{note}")


def _stages(results: Values, task: str) -> list[ReportTable]:
    """Steps and seconds of each stage, the scores after it, and the learning rates that were tried."""
    jobs = jobs_of(results, task)
    names = list(dict.fromkeys(s["name"] for of in jobs.values() for job in of for s in job.get("stages") or []))
    if not names:
        return []

    def by_variant(cell: Callable[[list[Values]], str]) -> list[dict[str, str]]:
        found = []
        for variant, of in jobs.items():
            stages = {name: [s for job in of for s in job.get("stages") or [] if s["name"] == name] for name in names}
            found.append({"variant": variant} | {name: cell(those) if those else "–" for name, those in stages.items()})
        return found

    tables = [
        ReportTable(
            by_variant(_training),
            "Steps and seconds, mean over seeds. * The stage was made by another job of the study, for some seed at "
            "least, and is counted here as well.",
        ),
        ReportTable(by_variant(_after), "Score after each stage, mean over seeds."),
    ]
    tried = {variant: [job for job in of if job.get("rates")] for variant, of in jobs.items()}
    rows = [_rates(variant, of) for variant, of in tried.items() if of]
    if rows:
        order = sorted({rate for row in rows for rate in row if rate not in ("variant", "taken")}, key=float)
        rows = [{name: row.get(name, "–") for name in ("variant", *order, "taken")} for row in rows]
        tables.append(ReportTable(rows, "Dev score by learning rate that was tried, mean over seeds."))
    return tables


def _training(stages: list[Values]) -> str:
    marked = " *" if any(stage.get("shared") for stage in stages) else ""
    steps, seconds = _mean_of(stages, "steps"), _mean_of(stages, "seconds")
    return f"{_number(steps, '{:,.0f}')} steps, {_seconds(seconds)} s{marked}"


def _after(stages: list[Values]) -> str:
    kind, score = stages[0].get("score_kind"), _mean_of(stages, "score")
    return _mean(score, None) + (f" ({kind})" if kind and score is not None else "")


def _rates(variant: str, jobs: list[Values]) -> dict[str, str]:
    rates = dict.fromkeys(rate for job in jobs for rate in job["rates"])
    cells = {rate: _mean(_mean_of([job["rates"] for job in jobs], rate), None) for rate in rates}
    taken = dict.fromkeys(stages[-1].get("learning_rate") for job in jobs if (stages := job.get("stages")))
    return {"variant": variant, **cells, "taken": ", ".join(f"{rate:g}" for rate in taken if rate is not None) or "–"}


def _approximate(results: Values) -> list[str]:
    """What the figures do not say."""
    tasks, summary = results["tasks"], results["summary"]
    compared_lines = [line for place in places_of(results) for line in (summary.get(place) or {}).values()]
    seeds = min((line["seeds"] for line in compared_lines if line.get("difference")), default=len(results["seeds"]))
    said = [
        "Equal steps: every variant has as many student optimiser steps in all. Batch sizes and the teacher's cost "
        "differ between stages, so equal steps are not equal seconds."
        if results["equal_steps"]
        else "The recipes were run with their own steps, which differ, so a difference may come from the steps alone."
    ]
    few = {1: "those of one seed know nothing of how much seeds differ"}
    said.append(
        "Intervals are 95 % intervals of a bootstrap over seeds and rows, of the same seeds and rows for both sides; "
        + few.get(seeds, f"{seeds} seeds are few to say how much seeds differ" if seeds < 10 else f"of {seeds} seeds")
        + ". ± is the standard deviation over seeds."
    )
    count = sum(bool(line.get("difference")) for line in compared_lines)
    if count:
        said.append(
            f"There are {count} differences here. If no variant differed, one in 20 of their intervals or more would "
            "still leave 0 out: with three seeds up to one in four, where seeds differ more than rows."
        )
    metrics = dict.fromkeys(task["metric"] for task in tasks.values())
    if summary.get(ALL_TASKS) and len(metrics) > 1:
        said.append(f"The means over tasks are means of different metrics: {', '.join(metrics)}.")
    if on_dev := [name for name, task in tasks.items() if task["evaluated_on"] == "dev"]:
        said.append(
            f"Scored on the dev split: {', '.join(on_dev)}. The same split chose the best checkpoints, so these scores "
            "are slightly too high."
        )
    said.append(
        "Seconds are of the machine below, with whatever else it did. Where the teacher's signals are cached, its "
        "seconds are in the first stage that needed them, not in later variants. What several jobs share was made "
        "once, so the study took less than their sum."
    )
    return said


def _mean_of(lines: list[Values], key: str) -> float | None:
    known = [line[key] for line in lines if line.get(key) is not None]
    return fmean(known) if known else None


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _mean(mean: float | None, sd: float | None, form: str = "{:.3f}") -> str:
    return _number(mean, form) + ("" if None in (mean, sd) else f" ± {form.format(sd)}")


def _seconds(value: float | None) -> str:
    return _number(value, "{:.1f}" if value is not None and value < 100 else "{:,.0f}")


def _flat(value: Any) -> str:
    return ", ".join(f"{name} {each}" for name, each in value.items()) if isinstance(value, Mapping) else str(value)

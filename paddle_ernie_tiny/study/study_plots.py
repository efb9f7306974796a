"""The plots of an ablation study; a variant has the same colour and mark in all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..pipeline.report_pages import FLOOR_COLOUR, TEACHER_COLOUR
from .study_verdicts import Values, floor_of, places_of, teacher_of

_COLOURS, _MARKS, _COLUMNS = 20, "osD^v<>PXhdp*", 3


def score_plot(results: Values, task: str) -> Figure | None:
    """Score against seconds of training: mean and sd of each variant, a dot per seed, teacher and floor as lines."""
    lines, jobs = results["summary"].get(task) or {}, jobs_of(results, task)
    drawn = [name for name in results["variants"] if _known(lines.get(name), "mean", "seconds")]
    if not drawn:
        return None
    figure, (axis,) = _grid(1, 7.5, 4.2)
    looks = _looks(results)
    for name in drawn:
        line, look = lines[name], looks[name]
        place = line["seconds"], line["mean"]
        axis.errorbar(*place, yerr=line.get("sd") or 0, capsize=4, markersize=6, linestyle="", **look)
        dots = [(job["seconds"], job["score"]) for job in jobs.get(name, []) if _known(job, "seconds", "score")]
        for dot in dots:
            axis.plot(*dot, linestyle="", markersize=3, alpha=0.6, **look)
    teacher, floor = teacher_of(results, task).get("mean"), floor_of(results, task).get("score")
    for text, score, colour, style in (("teacher", teacher, TEACHER_COLOUR, "-"), ("floor", floor, FLOOR_COLOUR, ":")):
        if score is not None:
            axis.axhline(score, color=colour, linestyle=style, linewidth=1.2)
            corner = (0.995, score)
            axis.annotate(text, corner, xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axis.set_xlabel("seconds of training, of all stages")
    axis.set_ylabel(_text(results["tasks"][task]["metric"]))
    axis.margins(0.08)
    _finish(figure, [axis], drawn, looks)
    return figure


def difference_plot(results: Values) -> Figure | None:
    """The differences from the reference with their intervals, a panel for each task and for all of them."""
    found = {
        place: {name: line["difference"] for name, line in (results["summary"].get(place) or {}).items()}
        for place in places_of(results)
        if any(line.get("difference") for line in (results["summary"].get(place) or {}).values())
    }
    drawn = [name for name in results["variants"] if any(of_place.get(name) for of_place in found.values())]
    if not drawn:
        return None
    figure, axes = _grid(len(found), 3.7, 0.3 * len(drawn) + 1.1, share_y=True)
    looks = _looks(results)
    for axis, (place, of_place) in zip(axes, found.items(), strict=True):
        for row, name in enumerate(drawn):
            if values := of_place.get(name):
                score, low, high = (100 * values[key] for key in ("score", "low", "high"))
                axis.hlines(row, low, high, color=looks[name]["color"], linewidth=2)
                axis.plot(score, row, markerfacecolor=None if low > 0 or high < 0 else "white", **looks[name])
        axis.axvline(0, color=TEACHER_COLOUR, linewidth=1)
        axis.set_yticks(range(len(drawn)), [_text(name) for name in drawn], fontsize=8)
        axis.set_ylim(len(drawn) - 0.5, -0.5)
        axis.set_xlabel("points", fontsize=8)
        axis.set_title(_text(place), fontsize=9)
    _finish(figure, axes, [], looks)
    return figure


def curve_plot(results: Values) -> Figure | None:
    """Dev score against steps of each variant's last stage, mean over seeds, a panel for each task."""
    found = {
        task: {name: lines for name, jobs in jobs_of(results, task).items() if (lines := _mean_curves(jobs))}
        for task in results["tasks"]
    }
    found = {task: of_task for task, of_task in found.items() if of_task}
    if not found:
        return None
    figure, axes = _grid(len(found), 3.9, 3.1)
    looks = _looks(results)
    for axis, (task, of_task) in zip(axes, found.items(), strict=True):
        for name, lines in of_task.items():
            for line in lines:
                axis.plot(*zip(*line, strict=True), markersize=4, linewidth=1.2, **looks[name])
        axis.set_xlabel("step of the last stage", fontsize=8)
        axis.set_ylabel(_text(f"{results['tasks'][task]['metric']} on dev"), fontsize=8)
        axis.set_title(_text(task), fontsize=9)
    _finish(figure, axes, [name for name in results["variants"] if any(name in of for of in found.values())], looks)
    return figure


def jobs_of(results: Values, task: str) -> dict[str, list[Values]]:
    """The jobs of a task that are done, by variant, in the order of the variants."""
    found = defaultdict(list)
    for job in results["jobs"]:
        if job["task"] == task:
            found[job["variant"]].append(job)
    return {name: found[name] for name in results["variants"] if name in found}


def _mean_curves(jobs: list[Values]) -> list[list[tuple[float, float]]]:
    """The mean over seeds at the steps that all of them have; the curves themselves, if they share no step."""
    every = [stages[-1].get("curve") or [] for job in jobs if (stages := job.get("stages"))]
    curves = [{step: score for step, score in curve if score is not None} for curve in every]
    curves = [curve for curve in curves if curve]
    if not curves:
        return []
    shared = sorted(set.intersection(*map(set, curves)))
    if not shared:
        return [sorted(curve.items()) for curve in curves]
    return [[(step, fmean(curve[step] for curve in curves)) for step in shared]]


def _looks(results: Values) -> dict[str, dict[str, Any]]:
    """Colour and mark of each variant: strong colours first, then pale ones."""
    colours = [colormaps["tab20"](i) for i in (*range(0, _COLOURS, 2), *range(1, _COLOURS, 2))]
    return {
        name: {"color": colours[i % _COLOURS], "marker": _MARKS[i % len(_MARKS)]}
        for i, name in enumerate(results["variants"])
    }


def _grid(panels: int, width: float, height: float, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with its panels in rows of three at most; width and height of a panel in inches."""
    columns = 2 if panels == 4 else min(_COLUMNS, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=share_y).flat)
    for unused in axes[panels:]:
        unused.remove()
    return figure, axes[:panels]


def _finish(figure: Figure, axes: Iterable[Axes], names: list[str], looks: dict[str, dict[str, Any]]) -> None:
    """Grids, and a legend below the panels."""
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    if names:
        handles = [Line2D([], [], label=_text(name), **looks[name]) for name in names]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)


def _known(values: Values | None, *keys: str) -> bool:
    return values is not None and all(values.get(key) is not None for key in keys)


def _text(name: str) -> str:
    """A name as matplotlib shows it: dollars are no formula, and a first underscore does not hide it."""
    return f" {name}".replace("$", r"\$") if name.startswith("_") else name.replace("$", r"\$")

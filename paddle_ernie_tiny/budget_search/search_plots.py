"""The pictures of a search: score against latency, and how well latency was predicted."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..pipeline.report_pages import FLOOR_COLOUR, TEACHER_COLOUR

Values = dict[str, Any]
_FINAL, _PARTIAL, _WINNER = "#2e86c1", "#aab7b8", "#c0392b"
_LEAST_AREA, _MORE_AREA = 25.0, 400.0  # square points of a circle: of no file, and so many more of the largest


def pareto_plot(results: Values) -> Figure | None:
    """Score against latency: the finalists, partial scores, teacher, no distillation, floor; None: no figures yet."""
    shown = [each for each in results["candidates"] if each["final"] or each["rungs"]]
    if not shown:
        return None
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axis = figure.add_subplot()
    largest = max((each["measured"] or each["predicted"])["files_mb"] for each in shown)
    for each in sorted(shown, key=lambda each: bool(each["final"])):
        has = each["measured"] or each["predicted"]
        final = each["final"]
        score = final["score"] if final else each["rungs"][-1]["score"]
        colour = _WINNER if each["name"] == results["winner"] else _FINAL if final else _PARTIAL
        area = _LEAST_AREA + _MORE_AREA * has["files_mb"] / largest
        axis.scatter(has["latency_ms"], score, s=area, color=colour, alpha=0.6, edgecolors="white")
        if final:
            axis.annotate(
                each["name"], (has["latency_ms"], score), fontsize=7, xytext=(5, 5), textcoords="offset points"
            )
    for name, reference in results["references"].items():
        score, latency = reference.get("score"), reference.get("latency_ms")
        if score is None:
            continue
        if latency is None:
            axis.axhline(score, color=FLOOR_COLOUR, linestyle=":", linewidth=1.2)
            axis.annotate(name, (0.995, score), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
        else:
            axis.plot(latency, score, marker="*", markersize=11, color=TEACHER_COLOUR, linestyle="")
            axis.annotate(name, (latency, score), fontsize=7, xytext=(6, -9), textcoords="offset points")
    limit = results["budget"].get("latency_ms")
    if limit is not None:
        axis.axvline(limit, color=_WINNER, linestyle="--", linewidth=1)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("latency of a call, ms")
    axis.set_ylabel(f"{results['facts']['metric']} (grey: after few steps, on dev)")
    axis.grid(alpha=0.3)
    axis.margins(0.1)
    return figure


def check_plot(speed: Values) -> Figure | None:
    """Predicted against measured latency of the shapes that were held out; None: there are none."""
    shapes = (speed.get("check") or {}).get("held_out") or []
    if not shapes:
        return None
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    axis = figure.add_subplot()
    most = 1.1 * max(max(each["measured_ms"], each["predicted_ms"]) for each in shapes)
    axis.fill_between([0, most], [0, 0.85 * most], [0, 1.15 * most], color=_PARTIAL, alpha=0.3, label="within 15 %")
    axis.plot([each["measured_ms"] for each in shapes], [each["predicted_ms"] for each in shapes], "o", color=_FINAL)
    axis.set_xlim(0, most)
    axis.set_ylim(0, most)
    axis.set_xlabel("measured, ms")
    axis.set_ylabel("predicted, ms")
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    return figure

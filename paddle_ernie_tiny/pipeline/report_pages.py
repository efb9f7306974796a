"""report.md and report.html from report.json's mapping; the page carries its pictures inside."""

from __future__ import annotations

import base64
import io
import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, select_autoescape
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter

from ..benchmark.plots import font_families
from ..benchmark.results import tables
from ..extensions import kind_named
from ..files import write_text
from ..terms import TERMS
from .verdicts import closed, retention, sentences, shown, shown_on, shown_unseen, with_interval

TEACHER_COLOUR, _STUDENT, _BASELINE, _STAGE, FLOOR_COLOUR = "#333333", "#c0392b", "#7f8c8d", "#e6b0aa", "#2471a3"


def terms_of(table: dict[str, Any]) -> list[str]:
    """The latent terms that were measured at the start or after any stage, in the order in which they appear."""
    return [name for name in dict.fromkeys(chain.from_iterable(table["after"])) if name != "stage"]


_FILTERS = {
    "percent": lambda value: "–" if value is None else f"{value:.2%}",
    "score": lambda value: "–" if value is None else f"{value:.3f}",
    "shown": shown,
    "unseen": shown_unseen,
    "on": shown_on,
    "with_interval": with_interval,
    "small": lambda value: "–" if value is None else f"{value:.4g}",
    "cell": lambda text: text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;"),
    "terms": terms_of,
    "millions": lambda value: f"{value / 1e6:.2f} M",
}


def write_pages(report: dict[str, Any], folder: Path) -> Path:
    """report.md, and report.html with its pictures in it; returns the path of the latter.

    The benchmark's pictures are taken from its folder there.
    """
    figures = {"scores": _scores(report), "sizes": _sizes(report), "latent": _latent(report), "curves": _curves(report)}
    view = {
        "r": report,
        "pictures": {name: figure and data_url(png_of(figure)) for name, figure in figures.items()},
        "benchmark": [data_url(picture.read_bytes()) for picture in sorted((folder / "benchmark").glob("*.png"))],
        # what is computed for reading only
        "kind": (kind := kind_named(report["kind"], "report.json")),
        "unit": kind.unit_name,
        "speed": tables(report["benchmark"]) if report.get("benchmark") else [],
        "fewer": report["teacher"].get("params", 0) / report["student"]["params"],  # 0: there is no teacher
        "theirs": report["teacher"].get("breakdown") or defaultdict(lambda: None),
        "unlabelled": _of_pool(report.get("unlabelled")),
        "sentences": sentences(report),
        "retention": retention(report),
        "closed": closed(report),
        "thresholds": any("threshold" in row for row in (report["student"].get("breakdown") or {}).get("labels", [])),
        "teacher_f1": {row["label"]: row["f1"] for row in (report["teacher"].get("breakdown") or {}).get("labels", [])},
        "seconds": sum(entry["seconds"] for entry in report["training"]),
    }
    environment = page_templates("paddle_ernie_tiny.pipeline")
    for name in ("report.md", "report.html"):
        write_text(folder / name, environment.get_template(f"{name}.j2").render(view))
    return folder / "report.html"


def page_templates(package: str) -> Environment:
    """The templates of a package, beside those of this one; in HTML, what they show is escaped."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("paddle_ernie_tiny.pipeline")]),
        autoescape=select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment


def _of_pool(pool: dict[str, Any] | None) -> str:
    """The rows of the pool, and those that were left out, in words."""
    if pool is None:
        return ""
    removed = ", ".join(f"{name} {count}" for name, count in pool["removed"].items())
    share = f"{pool['ratio']:.0%} of every batch" if pool["ratio"] else "in every batch as large a share as of all rows"
    left = f" {sum(pool['removed'].values())} more were left out, as their text occurs elsewhere ({removed})." * bool(
        removed
    )
    return f"{pool['rows']} rows without labels took part in the stages on task data: {share}.{left}"


def _axes(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def png_of(figure: Figure) -> bytes:
    """A figure as a PNG file's bytes; labels and names may be Chinese, if the machine has a font for them."""
    families, buffer = font_families(), io.BytesIO()
    for text in figure.findobj(Text):
        text.set_fontfamily(families)
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def data_url(png: bytes) -> str:
    """A picture as an address that holds it, so that a page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _scores(report: dict[str, Any]) -> Figure:
    """A bar for each stage beside floor (dotted), baseline (dashed) and teacher (solid line)."""
    stages = [stage for stage in report["stages"] if stage["score"] is not None]
    figure, (axis,) = _axes(7, 3.4)
    names = [f"{stage['name']}\n({stage['score_kind']})" for stage in stages]
    colours = [_STUDENT if stage["score_kind"] == "classifier" else _STAGE for stage in stages]
    bars = axis.bar(names, [stage["score"] for stage in stages], color=colours, width=0.6)
    axis.bar_label(bars, fmt="%.3f", fontsize=8)
    shown = [stage["score"] for stage in stages]
    lines = ("teacher", TEACHER_COLOUR, "-"), ("baseline", _BASELINE, "--"), ("floor", FLOOR_COLOUR, ":")
    for name, colour, style in lines:
        score = (report.get(name) or {}).get("score")
        if score is not None:
            axis.axhline(score, color=colour, linestyle=style, linewidth=1.2, label=f"{name} {score:.3f}")
            shown.append(score)
    axis.set_ylim(max(0.0, min(shown) - 0.1), min(1.02, max(shown) + 0.05))
    axis.set_ylabel(report["metric"])
    axis.tick_params(axis="x", labelsize=8)
    figure.legend(fontsize=8, loc="outside lower center", ncols=len(lines))  # inside it would cover a bar
    axis.set_title("Score after each stage (axis does not start at 0)", fontsize=10)
    return figure


def _sizes(report: dict[str, Any]) -> Figure:
    figure, (axis,) = _axes(4.2, 3.4)
    models = (
        {"teacher": TEACHER_COLOUR, "student": _STUDENT} if "params" in report["teacher"] else {"student": _STUDENT}
    )
    sizes = [report[name]["params"] / 1e6 for name in models]
    bars = axis.bar(list(models), sizes, color=list(models.values()), width=0.5)
    axis.bar_label(bars, fmt="%.2f M", fontsize=8)
    axis.set_ylabel("parameters, millions")
    axis.set_title("Size", fontsize=10)
    return figure


def _latent(report: dict[str, Any]) -> Figure | None:
    measured = [table for table in report["latent"] if table["split"] == "held_out" and terms_of(table)]
    if not measured:
        return None  # no latent term in the objective
    figure, axes = _axes(4.2 * len(measured), 3.4, len(measured))
    colours = _colours(term for table in measured for term in terms_of(table))
    for axis, table in zip(axes, measured, strict=True):
        positions = range(len(table["after"]))
        for term in terms_of(table):
            values = [point.get(term) or math.nan for point in table["after"]]  # a stage may leave a term out
            start = next((value for value in values if value > 0), math.nan)
            axis.plot(positions, [value / start for value in values], marker="o", label=term, color=colours[term])
        axis.set_xticks(positions, [point["stage"].replace("_", "\n") for point in table["after"]], fontsize=7)
        axis.set_yscale("log")
        lowest, highest = axis.get_ylim()
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:.3g}" if highest < 10 * lowest else NullFormatter())
        axis.set_title(f"held-out {table['data']} text, {table['teacher']} teacher", fontsize=9)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("latent term / its start")
    axes[0].legend(fontsize=8)
    return figure


def _colours(names: Iterable[str]) -> dict[str, Any]:
    """A colour for each term, the same in every picture; "total" is dark, terms of extensions come last."""
    known = dict.fromkeys([*TERMS, "masked_lm", *sorted({*names} - {*TERMS, "masked_lm", "loss", "step", "total"})])
    return {"total": TEACHER_COLOUR, **{name: colormaps["tab10"](i % 10) for i, name in enumerate(known)}}


def _curves(report: dict[str, Any]) -> Figure:
    curves = {curve["name"]: [point for point in curve["points"] if "loss" in point] for curve in report["training"]}
    curves = {name: points for name, points in curves.items() if points}
    figure, axes = _axes(3.1 * len(curves), 3, len(curves))
    colours = _colours(key.removesuffix("_loss") for points in curves.values() for point in points for key in point)
    for axis, (curve, points) in zip(axes, curves.items(), strict=True):
        for name in sorted({key for point in points for key in point if key.endswith("loss")}):
            line = [(point["step"], point[name]) for point in points if name in point]
            label = name.removesuffix("_loss") if name != "loss" else "total"
            looks = {"color": colours[label], "linewidth": 2 if name == "loss" else 1}
            axis.plot(*zip(*line, strict=True), label=label, marker="o" if len(line) == 1 else "", **looks)
        axis.set_title(curve, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    axes[0].set_ylabel("loss")
    return figure

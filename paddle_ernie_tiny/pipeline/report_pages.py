"""report.md and report.html from report.json's mapping; the page carries its pictures inside."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from ..benchmark.results import tables
from ..extensions import kind_named
from ..files import write_text


def write_markdown(report: dict[str, Any], path: Path) -> None:
    """The report as Markdown."""
    write_text(path, _template("report.md.j2", escape=False).render(**_view(report)))


def write_html(report: dict[str, Any], path: Path) -> None:
    """The report as one HTML file with its pictures in it; the benchmark's are beside `path`."""
    pictures = {
        "scores": _scores_picture(report),
        "sizes": _sizes_picture(report),
        "latent": _latent_picture(report),
        "curves": _curves_picture(report),
        "benchmark": [_inline_file(picture) for picture in sorted((path.parent / "benchmark").glob("*.png"))],
    }
    write_text(path, _template("report.html.j2", escape=True).render(pictures=pictures, **_view(report)))


def _template(name: str, escape: bool):
    environment = Environment(
        loader=PackageLoader("paddle_ernie_tiny.pipeline", "templates"),
        autoescape=select_autoescape() if escape else False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{value:.2%}"
    environment.filters["score"] = lambda value: "–" if value is None else f"{value:.4f}"
    environment.filters["small"] = lambda value: "–" if value is None else f"{value:.4g}"
    environment.filters["cell"] = lambda text: text.replace("|", "\\|").replace("\n", " ")
    environment.filters["millions"] = lambda value: f"{value / 1e6:.2f} M"
    return environment.get_template(name)


def _view(report: dict[str, Any]) -> dict:
    """The report and the few figures that are computed for reading only."""
    baseline, teacher, student = (
        report["baseline"]["score"],
        report["teacher"]["score"],
        report["student"]["score"],
    )
    gap = None if baseline is None else teacher - baseline
    return {
        "r": report,
        "unit": kind_named(report["kind"], "report.json").unit_name,
        "speed": tables(report["benchmark"]) if report.get("benchmark") else [],
        "fewer": report["teacher"]["params"] / report["student"]["params"],
        "gap": gap,
        "closed": (student - baseline) / gap if gap is not None and gap > 0 else None,
        "seconds": sum(entry["seconds"] for entry in report["training"]),
    }


# --- pictures ------------------------------------------------------------------------------------------------

_TEACHER, _STUDENT, _BASELINE, _STAGE = "#333333", "#c0392b", "#7f8c8d", "#e6b0aa"


def _figure(width: float, height: float, columns: int = 1):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=(width, height), squeeze=False, layout="constrained")
    return figure, axes[0]


def _inline(figure) -> str:
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _inline_file(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _scores_picture(report: dict[str, Any]) -> str:
    """A bar for each stage beside baseline (dashed) and teacher (solid line)."""
    stages = [stage for stage in report["stages"] if stage["score"] is not None]
    figure, (axis,) = _figure(7, 3.4)
    names = [f"{s['name']}\n({s['score_kind']})" for s in stages]
    colours = [_STUDENT if s["score_kind"] == "classifier" else _STAGE for s in stages]
    bars = axis.bar(names, [s["score"] for s in stages], color=colours, width=0.6)
    axis.bar_label(bars, fmt="%.3f", fontsize=8)
    lines = [("teacher", report["teacher"]["score"], _TEACHER, "-")]
    if report["baseline"]["score"] is not None:
        lines.append(("baseline", report["baseline"]["score"], _BASELINE, "--"))
    for name, score, colour, style in lines:
        axis.axhline(score, color=colour, linestyle=style, linewidth=1.2, label=f"{name} {score:.3f}")
    lowest = min([s["score"] for s in stages] + [line[1] for line in lines])
    axis.set_ylim(max(0.0, lowest - 0.1), min(1.02, max([s["score"] for s in stages] + [lines[0][1]]) + 0.05))
    axis.set_ylabel(report["metric"])
    axis.tick_params(axis="x", labelsize=8)
    axis.legend(fontsize=8, loc="lower right")
    axis.set_title("Score after each stage (axis does not start at 0)", fontsize=10)
    return _inline(figure)


def _sizes_picture(report: dict[str, Any]) -> str:
    figure, (axis,) = _figure(4.2, 3.4)
    sizes = [report["teacher"]["params"] / 1e6, report["student"]["params"] / 1e6]
    bars = axis.bar(["teacher", "student"], sizes, color=[_TEACHER, _STUDENT], width=0.5)
    axis.bar_label(bars, fmt="%.2f M", fontsize=8)
    axis.set_ylabel("parameters, millions")
    axis.set_title("Size", fontsize=10)
    return _inline(figure)


def _latent_picture(report: dict[str, Any]) -> str:
    tables = [table for table in report["latent"] if table["split"] == "held_out" and len(table["after"][0]) > 1]
    if not tables:
        return ""  # no latent term in the objective
    figure, axes = _figure(4.2 * len(tables), 3.4, len(tables))
    for axis, table in zip(axes, tables, strict=True):
        positions = range(len(table["after"]))
        for term in [key for key in table["after"][0] if key != "stage"]:
            first = table["after"][0][term]
            axis.plot(positions, [point[term] / first for point in table["after"]], marker="o", label=term)
        axis.set_xticks(list(positions), [p["stage"].replace("_", "\n") for p in table["after"]], fontsize=7)
        axis.set_yscale("log")
        axis.set_title(f"held-out {table['data']} text, {table['teacher']} teacher", fontsize=9)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("latent term / its start")
    axes[0].legend(fontsize=8)
    return _inline(figure)


def _curves_picture(report: dict[str, Any]) -> str:
    curves = [curve for curve in report["training"] if any("loss" in point for point in curve["points"])]
    figure, axes = _figure(3.1 * len(curves), 3, len(curves))
    for axis, curve in zip(axes, curves, strict=True):
        points = [point for point in curve["points"] if "loss" in point]
        names = sorted({key for point in points for key in point if key.endswith("loss")})
        for name in names:
            shown = [(p["step"], p[name]) for p in points if name in p]
            label = name.removesuffix("_loss") if name != "loss" else "total"
            axis.plot(*zip(*shown, strict=True), label=label, linewidth=2 if name == "loss" else 1)
        axis.set_title(curve["name"], fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    axes[0].set_ylabel("loss")
    return _inline(figure)

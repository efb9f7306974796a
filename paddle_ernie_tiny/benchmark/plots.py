"""Plots of a benchmark, each only if there are figures for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager, rc_context
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from .request import Record
from .results import named

_COLOURS = ("#333333", "#c0392b", "#2e86c1", "#7d6608", "#7d3c98", "#117a65", "#d68910", "#7f8c8d")
_PARTS = {"tokenise": "#2e86c1", "model": "#c0392b", "rest": "#bdc3c7"}
# of Linux, Windows and macOS
_CHINESE = (
    *("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Microsoft YaHei", "SimHei", "PingFang SC", "Heiti SC", "Noto Sans CJK JP", "Droid Sans Fallback"),
)
_STYLE: Any = {
    "axes.prop_cycle": cycler(color=_COLOURS),
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "grid.alpha": 0.3,
}


def font_families() -> list[str]:
    """Matplotlib's own font, and one of this machine for the Chinese characters that it lacks, if there is one."""
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *[name for name in _CHINESE if name in installed][:1]]


def write_plots(result: Record, folder: Path) -> list[str]:
    """Writes the plots as PNG; returns their names."""
    with rc_context({**_STYLE, "font.family": font_families()}):
        figures = {
            "speed-and-accuracy.png": _speed_and_accuracy(result),
            "latency.png": result["records"] and _latency(result["records"]),
            "text-to-label.png": result["text"] and _text_to_label(result["text"]),
            "profile.png": result.get("profiles") and _profile(result["profiles"]),
        }
    drawn = {name: figure for name, figure in figures.items() if figure}
    for name, figure in drawn.items():
        figure.savefig(folder / name, dpi=130, metadata={"Software": None})
    return list(drawn)


def _label(record: Record) -> str:
    return "{model} {precision}".format(**named(record))


def _speed_and_accuracy(result: Record) -> Figure | None:
    """A disc per scored model: throughput across, score upwards, area as the size of the files."""
    measured = [r for r in result["text"] if r["pipeline"] == "toolkit"]
    if not measured and result["records"]:
        keys, first = ("engine", "threads", "batch", "length"), result["records"][0]
        measured = [r for r in result["records"] if all(r[key] == first[key] for key in keys)]
    in_order = sorted(measured, key=lambda r: r["items_per_second"])
    speeds = {_label(r): r["items_per_second"] for r in in_order}  # of each the fastest engine
    scored = [m for m in result["models"] if m.get("score") is not None and _label(m) in speeds]
    if not scored:
        return None
    figure = Figure(figsize=(6.4, 4.2))
    axis = figure.subplots()
    for model in scored:
        place = speeds[_label(model)], model["score"]
        axis.scatter(*place, s=model["file_mb"] * 6, alpha=0.6)
        text = f"{_label(model)}\n{model['file_mb']:.1f} MB"
        axis.annotate(text, place, textcoords="offset points", xytext=(8, 6), fontsize=8)
    if floor := result.get("floor"):  # of a run: the linear model on n-grams, on one thread
        place = floor["texts_per_second"], floor["score"]
        axis.scatter(*place, s=max(6, floor["mb"] * 6), marker="s", color="#2471a3", alpha=0.6)
        text = f"floor\n{floor['mb']:.1f} MB"
        axis.annotate(text, place, textcoords="offset points", xytext=(8, 6), fontsize=8)
    axis.set(xscale="log", xlabel="texts per second (log)", ylabel="score")
    axis.set_title("Speed against score; the area is the size of the files")
    axis.margins(0.3)
    axis.grid()
    return figure


def _latency(records: list[Record]) -> Figure:
    """Median latency over batch and over length, if there are several; else a bar per candidate."""
    names = [f"{_label(r)}, {r['engine']}, {r['threads']} thread(s)" for r in records]
    medians = [r["latency_ms"]["p50"] for r in records]
    panels = [key for key in ("batch", "length") if len({r[key] for r in records}) > 1]
    if not panels:
        meaning = f"ms per call of {records[0]['batch']} x {records[0]['length']} tokens (log)"
        figure = _bars(names, [{"median": median} for median in medians], {"median": _COLOURS[1]}, meaning)
        (axis,) = figure.axes
        axis.set_xscale("log")
        axis.bar_label(axis.containers[0], fmt="%.2f", fontsize=8)  # type: ignore[arg-type]
        return figure
    figure = Figure(figsize=(5.2 * len(panels), 4.0))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, key in zip(axes, panels, strict=True):
        other = "length" if key == "batch" else "batch"
        fixed = records[0][other]
        lines = defaultdict(list)
        for r, name, median in zip(records, names, medians, strict=True):
            if r[other] == fixed:
                lines[name].append((r[key], median))
        for name, points in lines.items():
            axis.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
        axis.set_xscale("log", base=2)
        ticks = sorted({r[key] for r in records})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set(yscale="log", xlabel="texts per call" if key == "batch" else "tokens per text")
        axis.set_title(f"{fixed} tokens per text" if key == "batch" else f"{fixed} text(s) per call")
        axis.grid()
    axes[0].set_ylabel("milliseconds per call, median (log)")
    axes[0].legend(fontsize=6)
    return figure


def _text_to_label(records: list[Record]) -> Figure:
    """Where a text's time goes in each pipeline, as shares, with its throughput."""
    shares = [{part: 100 * share for part, share in r["share"].items()} for r in records]
    names = [f"{r['pipeline']}: {_label(r)}, {r['engine']}\n{r['items_per_second']:.1f} texts/s" for r in records]
    return _bars(names, shares, _PARTS, "share of the time from text to label, %")


def _profile(profiles: list[Record]) -> Figure:
    """A stacked bar per profile: the operations that take most of the time."""
    shares = [{entry["operation"]: 100 * entry["share"] for entry in p["operations"]} for p in profiles]
    largest = [name for name, _ in sum(map(Counter, shares), Counter()).most_common(len(_COLOURS) - 1)]
    for of_one in shares:
        of_one["other"] = sum(share for name, share in of_one.items() if name not in largest)
    names = [f"{_label(p)}\n{p['batch']} x {p['length']}" for p in profiles]
    return _bars(names, shares, dict(zip([*largest, "other"], _COLOURS, strict=False)), "share of the engine's time, %")


def _bars(names: list[str], parts: list[Record], colours: dict[str, str], meaning: str) -> Figure:
    """A bar per name, of its parts one after another, in the order of `colours`."""
    figure = Figure(figsize=(7.6, 0.5 * len(names) + 1.8))
    axis, left = figure.subplots(), np.zeros(len(names))
    for part, colour in colours.items():
        values = np.array([of_one.get(part, 0.0) for of_one in parts])
        axis.barh(range(len(names)), values, left=left, color=colour, label=part)
        left = left + values
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel(meaning)
    figure.legend(fontsize=6, ncols=4, loc="outside upper center")
    return figure

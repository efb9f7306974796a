"""Plots of a benchmark, each only where there are figures for it."""

from __future__ import annotations

from pathlib import Path

_COLOURS = ("#333333", "#c0392b", "#2e86c1", "#7d6608", "#7d3c98", "#117a65", "#d68910", "#7f8c8d")
_PARTS = {"tokenise": "#2e86c1", "model": "#c0392b", "rest": "#bdc3c7"}


def write_plots(result: dict, folder: Path) -> list[str]:
    """Writes the plots as PNG; returns their names."""
    makers = {
        "speed-and-accuracy.png": _speed_and_accuracy,
        "latency.png": _latency,
        "text-to-label.png": _text_to_label,
        "profile.png": _profile,
    }
    written = []
    for name, make in makers.items():
        figure = make(result)
        if figure is not None:
            figure.savefig(folder / name, dpi=130, metadata={"Software": None})
            written.append(name)
    return written


def _axes(width: float, height: float, columns: int = 1):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _label(record: dict) -> str:
    plain = ", plain graph" if record["graph"] == "plain" else ""
    return f"{record['model']} {record['precision']}{plain}"


def _speed_and_accuracy(result: dict):
    """A disc a scored model: throughput across, score upwards, area as the files' size."""
    scored = {_label(model): model for model in result["models"] if model.get("score") is not None}
    speeds = {_label(r): r["items_per_second"] for r in result["text"] if r["pipeline"] == "toolkit"}
    if not speeds and result["records"]:
        first = result["records"][0]
        speeds = {
            _label(r): r["items_per_second"]
            for r in result["records"]
            if all(r[key] == first[key] for key in ("engine", "threads", "batch", "length"))
        }
    shown = [name for name in scored if name in speeds]
    if not shown:
        return None
    figure, (axis,) = _axes(6.4, 4.2)
    for index, name in enumerate(shown):
        model, colour = scored[name], _COLOURS[index % len(_COLOURS)]
        axis.scatter(speeds[name], model["score"], s=model["file_mb"] * 6, color=colour, alpha=0.6)
        text = f"{name}\n{model['file_mb']:.1f} MB"
        axis.annotate(text, (speeds[name], model["score"]), textcoords="offset points", xytext=(8, 6), fontsize=8)
    axis.set_xscale("log")
    axis.margins(0.3)
    axis.set_xlabel("texts a second (log)")
    axis.set_ylabel("score")
    axis.set_title("Speed against score; the area is the size of the files", fontsize=10)
    axis.grid(alpha=0.3)
    return figure


def _latency(result: dict):
    """Median latency over batch and over length, where there are several; else a bar a candidate."""
    records = result["records"]
    if not records:
        return None
    panels = [key for key in ("batch", "length") if len({r[key] for r in records}) > 1]
    if not panels:
        return _latency_bars(records)
    figure, axes = _axes(5.2 * len(panels), 4.0, len(panels))
    for axis, key in zip(axes, panels, strict=True):
        other = "length" if key == "batch" else "batch"
        fixed = records[0][other]
        lines: dict[str, list[tuple[int, float]]] = {}
        for r in records:
            if r[other] == fixed:
                name = f"{_label(r)}, {r['engine']}, {r['threads']} thread(s)"
                lines.setdefault(name, []).append((r[key], r["latency_ms"]["p50"]))
        for index, (name, points) in enumerate(lines.items()):
            axis.plot(*zip(*sorted(points), strict=True), marker="o", color=_COLOURS[index % len(_COLOURS)], label=name)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        ticks = sorted({r[key] for r in records})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_xlabel("texts a call" if key == "batch" else "tokens a text")
        axis.set_title(f"{fixed} tokens a text" if key == "batch" else f"{fixed} text(s) a call", fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("milliseconds a call, median (log)")
    axes[0].legend(fontsize=6)
    return figure


def _latency_bars(records: list[dict]):
    figure, (axis,) = _axes(6.4, 0.45 * len(records) + 1.2)
    names = [f"{_label(r)}, {r['engine']}, {r['threads']} thread(s)" for r in records]
    bars = axis.barh(range(len(records)), [r["latency_ms"]["p50"] for r in records], color=_COLOURS[1])
    axis.bar_label(bars, fmt="%.2f", fontsize=8)
    axis.set_yticks(range(len(records)), names, fontsize=7)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlabel(f"ms a call of {records[0]['batch']} x {records[0]['length']} tokens, median (log)")
    return figure


def _text_to_label(result: dict):
    """Where a text's time goes in each pipeline, as shares, with its throughput."""
    records = result["text"]
    if not records:
        return None
    figure, (axis,) = _axes(7.2, 0.5 * len(records) + 1.4)
    left = [0.0] * len(records)
    for part, colour in _PARTS.items():
        values = [record["share"][part] * 100 for record in records]
        axis.barh(range(len(records)), values, left=left, color=colour, label=part)
        left = [a + b for a, b in zip(left, values, strict=True)]
    names = [f"{r['pipeline']}: {_label(r)}\n{r['items_per_second']:.1f} texts/s" for r in records]
    axis.set_yticks(range(len(records)), names, fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("share of the time from text to label, %")
    figure.legend(fontsize=7, ncols=3, loc="outside upper center")
    return figure


def _profile(result: dict):
    """A stacked bar a profile: the kinds of operations that take most of the time."""
    profiles = result.get("profiles")
    if not profiles:
        return None
    totals: dict[str, float] = {}
    for profile in profiles:
        for entry in profile["operations"]:
            totals[entry["operation"]] = totals.get(entry["operation"], 0.0) + entry["share"]
    largest = sorted(totals, key=totals.get, reverse=True)[: len(_COLOURS) - 1]
    figure, (axis,) = _axes(7.6, 0.5 * len(profiles) + 1.8)
    left = [0.0] * len(profiles)
    for name, colour in zip([*largest, "other"], _COLOURS, strict=False):
        values = []
        for profile in profiles:
            shares = {entry["operation"]: entry["share"] * 100 for entry in profile["operations"]}
            rest = sum(value for operation, value in shares.items() if operation not in largest)
            values.append(rest if name == "other" else shares.get(name, 0.0))
        axis.barh(range(len(profiles)), values, left=left, color=colour, label=name)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axis.set_yticks(range(len(profiles)), [f"{_label(p)}\n{p['batch']} x {p['length']}" for p in profiles], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("share of the engine's time, %")
    figure.legend(fontsize=6, ncols=4, loc="outside upper center")
    return figure

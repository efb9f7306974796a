"""The report of a search: results.csv, report.md and report.html."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..files import write_text
from ..pipeline.report_pages import data_url, png_of
from ..study.study_pages import ReportPart, ReportTable, csv_of, how_it_was_made, write_parts
from .bounds import broken_bounds, sign
from .search_plots import check_plot, pareto_plot
from .search_settings import BOUNDS

Values = dict[str, Any]
_FIGURES = ("latency_ms", "texts_per_second", "files_mb", "parameters_m", "rss_mb")


def write_search_pages(results: Values, folder: Path) -> Path:
    """Writes results.csv (a line per candidate), report.md and report.html; returns the path of the latter.

    results: what results.json holds, also of a search that is not complete.
    """
    write_text(folder / "results.csv", csv_of([_line(each) for each in results["candidates"]], ["name"]))
    view = {"heading": "Search", "name": results["name"], "line": "candidate", "lead": lead(results)}
    return write_parts(folder, [*_parts(results)], {**view, "marked": results["winner"]})


def lead(results: Values) -> list[str]:
    """What was found, in sentences."""
    budget = ", ".join(f"{name} {sign(name)} {limit:g}" for name, limit in results["budget"].items())
    asked = f"Asked for: {budget}, at {_place(results)}."
    known = {each["name"]: each for each in results["candidates"]}
    if results["winner"]:
        one = known[results["winner"]]
        final, has = one["final"], one["measured"] or one["predicted"]
        by = "measured in another process" if one["measured"] else "predicted from the table of another device"
        kept = f", {final['retention']:.1%} of the teacher" if final.get("retention") else ""
        figures = ", ".join(f"{_shown(has[name])} {BOUNDS[name][0]}" for name in results["budget"])
        spread = f" (latency {has['latency_low_ms']:.3g} to {has['latency_high_ms']:.3g} ms)"
        metric, rows = results["facts"]["metric"], results["facts"]["evaluated_on"]
        found = f"The winner is {one['name']}: {metric} {final['score']:.4f} on {rows}{kept}; {figures}{spread}, {by}. "
        return [asked, found + f"Its bundle is {final['bundle']}, its run winner.yaml."]
    if results["nearest"]:
        one = known[results["nearest"]]
        measured = " when its bundle is measured" if one["final"] else ""
        who = "finalist" if one["final"] else "candidate"
        return [asked, f"No {who} keeps to the budget{measured}. The nearest is {one['name']}: {one['out']}."]
    return [asked, "The search is not finished."]


def _place(results: Values) -> str:
    at, speed = results["at"], results["speed"] or {}
    lengths = results["facts"].get("lengths") or []
    length = f"lengths of the data ({', '.join(map(str, lengths))} tokens)" if at["length"] == "data" else ""
    texts = "1 text" if at["batch"] == 1 else f"{at['batch']} texts"
    engine = (speed.get("setting") or at)["engine"]
    return f"{texts} per call, {length or str(at['length']) + ' tokens'}, {at['threads']} thread(s), {engine}"


def _line(each: Values) -> Values:
    """A candidate as a line of results.csv."""
    flat = {name: value for name, value in each.items() if name != "final" and not isinstance(value, dict | list)}
    has, final = each["measured"] or each["predicted"], each["final"] or {}
    flat |= {name: has.get(name) for name in (*_FIGURES, "latency_low_ms", "latency_high_ms")}
    flat |= {f"rung_{number}": rung["score"] for number, rung in enumerate(each["rungs"], start=1)}
    return flat | {name: final.get(name) for name in ("dev", "score", "retention", "agreement", "steps", "seconds")}


def _parts(results: Values) -> Iterable[ReportPart]:
    finals = [each for each in results["candidates"] if each["final"]]
    caption = "Score against latency; the larger a circle, the larger the files. Dashed: the budget"
    picture = pareto_plot(results)
    yield ReportPart(
        "The last ones",
        ["Trained with the full recipe, exported, and measured as bundles."] if finals else [],
        [finals_table(results)] if finals else [],
        [(data_url(png_of(picture)), f"{caption}.")] if picture else [],
    )
    trained = [each for each in results["candidates"] if each["rungs"]]
    yield ReportPart("Halving", _halving(results) if trained else [], [_rungs(trained)] if trained else [])
    yield ReportPart("All candidates", [], [_all(results)])
    speed = results["speed"] or {}
    picture = check_plot(speed)
    yield ReportPart(
        "How well latency was predicted",
        _prediction(speed),
        [],
        [(data_url(png_of(picture)), "Predicted and measured latency of shapes that the regression has not seen.")]
        if picture
        else [],
    )
    left = [{"candidate": name, "why": why} for name, why in results["left_out"].items()]
    yield ReportPart("Left out", [], [ReportTable(left)] if left else [])
    yield ReportPart("What is approximate", _approximate(results))
    yield how_it_was_made(results)


def finals_table(results: Values) -> ReportTable:
    """The finalists, the best first, and what they are to be compared with; no rows before there are finalists."""
    metric, finals = results["facts"]["metric"], [each for each in results["candidates"] if each["final"]]
    if not finals:
        return ReportTable([])

    def row(name: str, score: Values, has: Values, note: str = "") -> dict[str, str]:
        return {
            "student": name,
            f"{metric} on {results['facts']['evaluated_on']}": _shown(score.get("score"), "{:.4f}"),
            "on dev": _shown(score.get("dev"), "{:.4f}"),
            "of the teacher kept": _shown(score.get("retention"), "{:.1%}"),
            "agreement": _shown(score.get("agreement"), "{:.1%}"),
            "ms": _spread(has),
            "texts per second": _shown(has.get("texts_per_second")),
            "files, MB": _shown(has.get("files_mb")),
            "memory, MB": _shown(has.get("rss_mb")),
            "million parameters": _shown(has.get("parameters_m")),
            "budget": note,
        }

    rows = [
        row(each["name"], each["final"], each["measured"] or each["predicted"], each["out"] or "kept")
        for each in sorted(finals, key=lambda each: -each["final"]["dev"])
    ]
    rows += [row(name, values, values) for name, values in results["references"].items()]
    note = (
        "The one with the best dev score that keeps to the budget wins. In brackets: the fastest and the slowest turn. "
        "The teacher's latency is that of a BERT of its size with random weights; without distillation: the winner's "
        "size, trained on the labels alone as `baseline` says."
    )
    return ReportTable(rows, note)


def _rungs(trained: list[Values]) -> ReportTable:
    rows = []
    for each in sorted(trained, key=lambda each: (-len(each["rungs"]), -each["rungs"][-1]["score"])):
        scores = {f"dev after {rung['steps']} steps": f"{rung['score']:.4f}" for rung in each["rungs"]}
        final = {"dev, full recipe": f"{each['final']['dev']:.4f}"} if each["final"] else {}
        rows.append({"candidate": each["name"], **scores, **final, "out": each["out"] or "–"})
    headings = dict.fromkeys(heading for row in rows for heading in row if heading != "out")
    return ReportTable([{**{name: row.get(name, "–") for name in headings}, "out": row["out"]} for row in rows])


def _halving(results: Values) -> list[str]:
    steps = results["steps"]
    if not steps["full_recipe"]:
        return []
    return [
        f"{steps['candidates']} candidates were trained, in {steps['trained']:,} optimiser steps in all: "
        f"{steps['times_full_recipe']:.1f} times the full recipe of one student, "
        f"{steps['times_per_4_candidates']:.2f} times per 4 candidates."
    ]


def _all(results: Values) -> ReportTable:
    rows = []
    for each in results["candidates"]:
        has = each["measured"] or each["predicted"]
        broken = broken_bounds(has, results["budget"]) if has else []
        by = "bundle" if each["measured"] else "shape" if has.get("measured") else "predicted"
        rows.append(
            {
                "candidate": each["name"],
                "ms": _spread(has) if by != "predicted" else _shown(has.get("latency_ms")),
                "texts per second": _shown(has.get("texts_per_second")),
                "files, MB": _shown(has.get("files_mb")),
                "memory, MB": _shown(has.get("rss_mb")),
                "million parameters": _shown(has.get("parameters_m")),
                "figures": by,
                "budget": "kept" if not broken else "; ".join(map(str, broken)),
            }
        )
    return ReportTable(rows, "Figures of shapes with random weights, of bundles, or predicted by the regression.")


def _prediction(speed: Values) -> list[str]:
    check = speed.get("check") or {}
    if not check.get("of"):
        return ["There was no shape to check it on."] if speed else []
    how = "each shape from all others" if check["one_by_one"] else "the regression has not seen these shapes"
    share = f"within {check['within']:.0%} of what was measured"
    return [f"{check['right']} of {check['of']} predictions are {share}; {how}."]


def _approximate(results: Values) -> list[str]:
    table = results["at"]["table"]
    said = ["Latency before training is that of a BERT of the same size with random weights"]
    said[0] += "." if table else "; the finalists' is that of their bundles."
    if results["steps"]["general"]:
        said.append(
            "The general stages were trained once for each width, for the deepest student with the widest FFN; others "
            "of that width started from a part of it, in the rungs and in the final."
        )
    said.append("A rung ranks candidates by few steps: one that learns slowly may be dropped wrongly.")
    said.append("One seed was trained.")
    if results["at"]["batch"] > 1 and results["at"]["length"] == "data":
        said.append("Calls of several texts have all texts of one length; in a service the longest decides.")
    if table:
        said.append("Figures come from the table of another device; nothing was measured on it after training.")
    return said


def _spread(has: Values) -> str:
    if has.get("latency_low_ms") is None:
        return _shown(has.get("latency_ms"))
    low, high = has["latency_low_ms"], has["latency_high_ms"]
    return f"{_shown(has['latency_ms'])} ({_shown(low)} to {_shown(high)})"


def _shown(value: float | None, form: str = "{:.3g}") -> str:
    return "–" if value is None else f"{value:,.0f}" if form == "{:.3g}" and value >= 1000 else form.format(value)

"""The finalists' bundles measured again, with a model of the teacher's size, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from ..benchmark.bench import bench
from ..benchmark.request import BenchRequest
from ..benchmark.subjects import Shape
from ..config.student_settings import SIZES
from ..deploy.bundle import MANIFEST
from ..deploy.card import CARD
from ..files import cache_folder, read_json, write_json
from ..machine import cpu_name
from ..pipeline.step import fingerprint
from .measure_shapes import turn_medians
from .search_state import SearchState, figures_as_values
from .shape_speed import Figures, Setting
from .space import CandidateStudent
from .speed_fit import shape_name

MEASURED = "bundles.json"


def measure_finalists(
    state: SearchState, finalists: list[CandidateStudent], setting: Setting, root: Path, say: Callable[[str], None]
) -> None:
    """Fills in the figures of the finalists' bundles and of the teacher's size; kept, and not measured twice."""
    folders = {one: root / (state.entries[one].final or {})["bundle"] for one in finalists}
    speeds = state.speeds
    assert speeds is not None, "shapes are measured first"
    elsewhere = state.settings.at.table is not None
    teacher = state.facts["teacher"]
    shape = shape_name(Shape(**{name: teacher[name] for name in SIZES}, vocab_size=teacher["vocab_size"]))
    shape += "@plain" if setting.graph == "plain" else ""
    bundles = [_measured_files(folder) for folder in folders.values()]
    key = fingerprint([bundles, setting.batch, setting.lengths, setting.threads, speeds.engine, shape, cpu_name()])
    kept = read_json(root / MEASURED) if (root / MEASURED).is_file() else None
    if not elsewhere and (not isinstance(kept, dict) or kept.get("key") != key):
        request = BenchRequest(
            models=[shape, *map(str, folders.values())],
            batches=[setting.batch],
            lengths=[*dict.fromkeys(setting.lengths)],
            threads=[setting.threads],
            engines=[speeds.engine],
            cache=cache_folder() / "bench",
        )
        say("the bundles and the teacher's size are measured, in other processes")
        result = bench(request, say=say)
        models = range(1 + len(folders))  # the teacher's size is the first
        kept = {"key": key, "figures": [asdict(_figures(result, number, setting)) for number in models]}
        write_json(root / MEASURED, kept)
    first = read_json((root / (state.entries[finalists[0]].final or {})["report"]).with_name("report.json"))
    state.environment = first.get("environment") or {}
    state.references["teacher"] = {**(first.get("teacher") or {}), "latency_ms": None}
    if floor := state.facts.get("floor"):
        state.references["linear floor"] = {"score": floor["score"], "latency_ms": None}
    if elsewhere:
        return
    assert kept is not None, "it was measured"
    teachers, *own = (Figures(**figures) for figures in kept["figures"])
    state.references["teacher"]["latency_ms"] = teachers.latency_ms
    for one, figures in zip(finalists, own, strict=True):
        count = (state.entries[one].final or {})["parameters"]
        state.entries[one].measured = figures_as_values(figures, setting.batch, count)


def _measured_files(folder: Path) -> dict[str, str]:
    """A bundle's files by SHA-256, without its card, which may be written again and of which nothing is measured."""
    return {name: digest for name, digest in read_json(folder / MANIFEST)["files"].items() if name != CARD}


def _figures(result: dict[str, Any], number: int, setting: Setting) -> Figures:
    """Of the model at this place: means over the setting's lengths, in each of which all models took turns."""
    models = result["models"]
    by_length = {record["length"]: record for record in result["records"][number :: len(models)]}
    own = [by_length[length] for length in setting.lengths]
    rounds = [turn_medians(record) for record in own]
    return Figures(
        latency_ms=fmean(record["latency_ms"]["p50"] for record in own),
        low=fmean(min(each) for each in rounds),
        high=fmean(max(each) for each in rounds),
        files_mb=models[number]["file_mb"],
        rss_mb=max(record["rss_mb"] for record in own),
        measured=True,
    )

"""Measures shapes with random weights, in groups that a kill does not undo; or reads what another machine measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from ..benchmark.bench import bench
from ..benchmark.request import BenchRequest, Record, Say
from ..benchmark.subjects import flops, parse_shape
from ..defaults import AUTO
from ..engines import CONVERTER, ENGINES, EngineRow
from ..errors import ErnieTinyError, InputError
from ..files import read_json, write_json
from ..machine import cpu_flags, cpu_name, versions
from .shape_speed import (
    FITTED,
    FURTHER,
    HELD_OUT,
    STEADY,
    Asked,
    Effort,
    Key,
    MeasuredShape,
    Pass,
    Setting,
    ShapeSpeeds,
    shape_of_json,
)
from .speed_fit import LEAST_SHAPES, choose, shape_name

FILE = "speed.json"
_GROUP = 5  # shapes that are measured together, beside the reference
_MORE_TRIES = 2  # of a shape beside which the reference was slow
_SEED = 3


def measure_space(
    shapes: Sequence[Asked], setting: Setting, folder: Path, say: Say = print, effort: Effort | None = None
) -> ShapeSpeeds:
    """Measures a part of a space of shapes, from which the rest is predicted; a small space as a whole.

    What is measured is in `folder`/speed.json at once: the same call again goes on from there. Raises InputError for
    a setting that cannot be measured here, ErnieTinyError where an engine fails.
    """
    effort, file = effort or Effort(), folder / FILE
    shapes = list(dict.fromkeys(shapes))
    key = json.loads(json.dumps(_key(shapes, setting, effort)))
    kept = read_json(file)
    if not isinstance(kept, dict) or kept.get("key") != key:
        if kept:
            say(f"{file}: measured for another space, setting or machine; measured again")
        precisions = list(dict.fromkeys(precision for _, precision in shapes))
        middle = _middle(shapes, setting)
        engine = _fastest_engine(middle, precisions, setting, effort, say) if setting.engine == AUTO else setting.engine
        kept = {
            "key": key,
            "engine": engine,
            "reference": f"{middle}@{precisions[0]}",
            "reference_ms": [],
            "shapes": [],
        }
        write_json(file, kept)
    if not kept["reference_ms"]:
        _measure(kept, design(shapes, setting, effort), setting, effort, file, say)
        levels = [one["reference_ms"] for shape in kept["shapes"] for one in shape["passes"]]
        kept["reference_ms"] = np.median(levels, axis=0).tolist()  # from here on no figure changes
        write_json(file, kept)
    return _speeds(kept, setting, file)


def measure_more(
    speeds: ShapeSpeeds, shapes: Iterable[Asked], say: Say = print, effort: Effort | None = None
) -> ShapeSpeeds:
    """Measures further shapes, those that were not measured, and keeps them in the same file; other figures stay.

    Raises InputError for speeds of another device.
    """
    if speeds.from_table:
        remedy = "measure them there with `ernie-tiny bench --json`"
        raise InputError("further shapes cannot be measured for another device", str(speeds.source), remedy)
    kept = read_json(speeds.source)
    asked = [(shape_name(shape), precision) for shape, precision in shapes]
    new = {key: FURTHER for key in asked if key not in speeds.shapes}
    _measure(kept, new, speeds.setting, effort or Effort(), speeds.source, say)
    return _speeds(kept, speeds.setting, speeds.source)


def design(shapes: Sequence[Asked], setting: Setting, effort: Effort) -> dict[Key, str]:
    """Which shapes of a space are measured, and for what: by name and precision, in turn of the precisions."""
    chosen = []
    for precision in dict.fromkeys(precision for _, precision in shapes):
        own = [shape for shape, asked in shapes if asked == precision]
        if len(own) <= effort.fitted + effort.held_out:
            chosen.append([((shape_name(shape), precision), FITTED) for shape in own])
            continue
        fitted = choose(own, setting.batch, setting.lengths, effort.fitted, setting.graph)
        rest = [shape for shape in own if shape not in fitted]
        drawn = np.random.default_rng(_SEED).permutation(len(rest))[: effort.held_out]
        roles = [(shape, FITTED) for shape in fitted] + [(rest[index], HELD_OUT) for index in drawn]
        chosen.append([((shape_name(shape), precision), role) for shape, role in roles])
    return dict(each for each in chain(*zip_longest(*chosen)) if each is not None)


def run_bench(models: list[str], setting: Setting, engines: list[str], effort: Effort, say: Say) -> Record:
    """A benchmark of shapes, the first of which is the reference, as `ernie-tiny bench` makes it."""
    mark = "@plain" if setting.graph == "plain" else ""
    request = BenchRequest(
        models=[f"{model}{mark}" for model in models],
        batches=[setting.batch],
        lengths=[*dict.fromkeys(setting.lengths)],
        threads=[setting.threads],
        engines=engines,
        device=setting.device,
        seconds=effort.seconds,
        rounds=effort.rounds,
        cache=effort.cache,
    )
    return bench(request, say=say)


def _key(shapes: Sequence[Asked], setting: Setting, effort: Effort) -> Record:
    """All that decides what is measured, and how fast it is."""
    thorough = {name: value for name, value in asdict(effort).items() if name != "cache"}
    libraries = sorted({*CONVERTER, *(row.library for row in ENGINES.values())})
    return {
        "setting": asdict(setting),
        "shapes": [[shape_name(shape), precision] for shape, precision in shapes],
        **thorough,
        "cpu": [cpu_name(), *sorted(cpu_flags())],
        "versions": {**versions(), **versions(libraries)},
    }


def _middle(shapes: Sequence[Asked], setting: Setting) -> str:
    """The name of the shape in the middle of the space by its work."""
    length = round(sum(setting.lengths) / len(setting.lengths))
    by_work = sorted({shape for shape, _ in shapes}, key=lambda shape: (flops(shape, length, True), shape_name(shape)))
    return shape_name(by_work[len(by_work) // 2])


def _fastest_engine(middle: str, precisions: list[str], setting: Setting, effort: Effort, say: Say) -> str:
    """The engine in which the middle shape is fastest, over all precisions and lengths. Raises ErnieTinyError: none."""
    able = [name for name, row in ENGINES.items() if _runs_here(row, precisions, setting.device)]
    result = run_bench([f"{middle}@{precision}" for precision in precisions], setting, able, effort, say)
    times: dict[str, list[float]] = {name: [] for name in able}
    for record in result["records"]:
        times[record["engine"]].append(record["latency_ms"]["p50"])
    count = len(precisions) * len(set(setting.lengths))
    whole = {name: sum(own) / count for name, own in times.items() if len(own) == count}
    if not whole:
        raise ErnieTinyError(f"no engine runs {middle} in {', '.join(precisions)}", "engine", "leave out a precision")
    engine = min(whole, key=whole.__getitem__)
    shown = ", ".join(f"{name} {ms:.3g} ms" for name, ms in whole.items())
    say(f"engine: {engine}, in which {middle} is fastest ({shown})")
    return engine


def _runs_here(row: EngineRow, precisions: list[str], device: str) -> bool:
    """Is all installed that a shape needs to run in the engine, and can this machine run it?"""
    packages = (row.library, *(CONVERTER if row.reads_onnx else ()))
    able = row.has_bf16 or device != "cpu" or "bf16" not in precisions
    return able and all(map(find_spec, packages)) and (device != "cpu" or not row.needs_gpu)


def _measure(kept: Record, roles: dict[Key, str], setting: Setting, effort: Effort, file: Path, say: Say) -> None:
    """Adds those of `roles` to kept["shapes"] that are not there, in groups; each is in the file as soon as it is done.

    A pass beside which the reference was slow is made again.
    """
    found = {each.key: each for each in map(shape_of_json, kept["shapes"])}
    while todo := _next(found, list(roles), effort.passes):
        group = todo[:_GROUP]
        say(f"speed of {len(group)} shapes, {len(todo)} to go in this pass")
        models = [kept["reference"], *("@".join(key) for key in group)]
        result = run_bench(models, setting, [kept["engine"]], effort, say)
        kept.setdefault("environment", result["environment"])
        for key in group:
            new = _of_records(key, roles[key], kept["reference"], result["records"], setting)
            old = found.get(key)
            passes = sorted([*(old.passes if old else ()), *new.passes], key=lambda one: one.slowness)
            found[key] = replace(new, passes=passes[: effort.passes], tries=old.tries + 1 if old else 1)
        kept["shapes"] = [asdict(each) for each in found.values()]
        write_json(file, kept)


def _next(found: dict[Key, MeasuredShape], keys: list[Key], passes: int) -> list[Key]:
    """What the present pass has still to measure, in an order of its own; then what was slow in all others' company."""
    for number in range(passes):
        order = np.random.default_rng([_SEED, number]).permutation(len(keys))  # shapes to fit and to check, mixed
        todo = [keys[n] for n in order if keys[n] not in found or found[keys[n]].tries <= number]
        if todo:
            return todo
    usual = np.median([one.slowness for each in found.values() for one in each.passes] or [0.0])
    slow = [key for key in keys if any(one.slowness > STEADY * usual for one in found[key].passes)]
    return [key for key in slow if found[key].tries < passes + _MORE_TRIES]


def _of_records(key: Key, role: str, reference: str, records: list[Record], setting: Setting) -> MeasuredShape:
    """A shape's part of a benchmark's records. Raises ErnieTinyError if the engine left it out."""
    by_length = {(r["model"], r["precision"], r["length"]): r for r in records}
    try:
        own = [by_length[(*key, length)] for length in setting.lengths]
    except KeyError:
        what = f"{key[0]} in {key[1]} was left out by the engine: its export does not agree there"
        raise ErnieTinyError(what, setting.engine, "leave the precision out, or choose another engine") from None
    name, _, precision = reference.partition("@")
    beside = [by_length[name, precision, length] for length in setting.lengths]
    return MeasuredShape(
        *key,
        role,
        [Pass([turn_medians(record) for record in own], [float(np.median(turn_medians(record))) for record in beside])],
        files_mb=own[0]["file_mb"],
        rss_mb=max(record["rss_mb"] for record in own),
    )


def _speeds(kept: Record, setting: Setting, file: Path) -> ShapeSpeeds:
    shapes = {each.key: each for each in map(shape_of_json, kept["shapes"])}
    parts = kept["engine"], file, kept["environment"], kept["reference"], kept["reference_ms"]
    return ShapeSpeeds(setting, *parts, shapes)


def read_device_table(file: Path, setting: Setting, precisions: Sequence[str]) -> ShapeSpeeds:
    """The figures that `ernie-tiny bench --json` found on another machine, and predictions from them.

    Of the table, shapes as they are served count, in the setting. Raises InputError for a file that is no such table,
    has nothing in this setting, or has too few shapes in one of the precisions to predict others.
    """
    if not file.is_file():
        raise InputError("no such file", f"at.table: {file}", "make it with `ernie-tiny bench --json FILE`")
    table = read_json(file)
    if not isinstance(table, dict) or not isinstance(table.get("records"), list) or "environment" not in table:
        raise InputError("not the result of a benchmark", str(file), "make it with `ernie-tiny bench --json FILE`")
    try:
        records = _in_setting([r for r in table["records"] if r["random_weights"]], setting, precisions, file)
        engine, shapes = _of_table(records, setting)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        what = f"not the records of a benchmark ({type(error).__name__}: {error})"
        raise InputError(what, str(file), "make it again with this version's `ernie-tiny bench --json`") from error
    for precision in precisions:
        count = sum(each.precision == precision for each in shapes)
        if count < LEAST_SHAPES:
            what = f"{count} shapes in {precision} in {engine} have every length: too few to predict others"
            raise InputError(what, str(file), f"measure at least {LEAST_SHAPES} there, small and large ones")
    parts = engine, file, table["environment"], "", [1.0] * len(setting.lengths)
    return ShapeSpeeds(setting, *parts, {each.key: each for each in shapes}, from_table=True)


def _in_setting(records: list[Record], setting: Setting, precisions: Sequence[str], file: Path) -> list[Record]:
    """The records in the setting. Raises InputError where there is none with a value of it."""
    asked: dict[str, list[Any]] = {
        "graph": [setting.graph],
        "device": [setting.device],
        "batch": [setting.batch],
        "threads": [setting.threads],
    }
    asked |= {"length": [*setting.lengths], "precision": [*precisions]}
    asked |= {} if setting.engine == AUTO else {"engine": [setting.engine]}
    for name, values in asked.items():
        there = sorted({record[name] for record in records})
        for value in values:
            if value not in there:
                what = f"no shape with {name} {value}, only {', '.join(map(str, there)) or 'bundles'}"
                raise InputError(
                    what, str(file), f"measure it there (`ernie-tiny bench`), or ask for the {name} it has"
                )
        records = [record for record in records if record[name] in values]
    return records


def _of_table(records: list[Record], setting: Setting) -> tuple[str, list[MeasuredShape]]:
    """The engine of a table's shapes, and those shapes; of several engines the fastest, over the shapes of all."""
    groups: dict[str, dict[Key, dict[int, Record]]] = {}
    for each in records:
        key = shape_name(parse_shape(each["model"])), each["precision"]
        groups.setdefault(each["engine"], {}).setdefault(key, {})[each["length"]] = each
    whole = {
        engine: {key: by_length for key, by_length in found.items() if len(by_length) == len(set(setting.lengths))}
        for engine, found in groups.items()
    }
    common = set.intersection(*(set(found) for found in whole.values()))

    def slowness(engine: str) -> tuple[float, float]:
        times = [float(np.mean([r["latency_ms"]["p50"] for r in whole[engine][key].values()])) for key in common]
        return float(np.sum(np.log(times))), -len(whole[engine])

    engine = min(whole, key=slowness)
    shapes = []
    for key, found in whole[engine].items():
        own = [found[length] for length in setting.lengths]
        turns, memory = [turn_medians(record) for record in own], max(record["rss_mb"] for record in own)
        shapes.append(MeasuredShape(*key, FITTED, [Pass(turns, [1.0] * len(own))], own[0]["file_mb"], memory))
    return engine, shapes


def turn_medians(record: Record) -> list[float]:
    """The median of each turn, in ms."""
    return [float(np.median(turn)) for turn in record["rounds_ms"]]

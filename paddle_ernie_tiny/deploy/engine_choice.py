"""The engine that a bundle runs in: the one that is named, or the fastest of those that it was compared in.

Which is the fastest depends on the CPU, the model, the threads and the number of rows per call; many rows can be faster
in several passes, whose hidden states stay in the CPU's cache. It is measured on first use, in turns, which takes
seconds, and kept in the user's folder of caches.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..defaults import AUTO
from ..engines import ENGINES, IN_ONNX, Engine
from ..errors import InputError
from ..files import cache_folder, write_text
from ..machine import cpu_facts, cpu_flags, import_paddle, versions
from .bundle import Manifest, read_manifest
from .program import check_program

BATCHES = (1, 8, 32)  # rows per call for which the fastest is sought
LENGTH_TOKENS = 128  # of the rows, at most the bundle's own
PASS_ROWS = 8  # of one pass, where calls of more rows are split
_ENOUGH = 1.03  # one engine is used alone where it takes at most so many times as long as the fastest
_ROUNDS, _TURN_SECONDS, _LONGEST_CALL_SECONDS = 15, 0.06, 1.0
_PAUSE_SECONDS = 0.05  # threads that spin after a call would slow down the next engine
_PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "numpy", *(ENGINES[name].library for name in IN_ONNX))


class Way(NamedTuple):
    """How a call is made: in which engine, and how many rows at a time (0: all of them)."""

    engine: str
    rows_per_pass: int = 0


Choice = dict[int, Way]  # rows per call, of BATCHES, to the fastest way


class ByRows(Engine):
    """Engines of one model, by name, each for calls of so many rows as it was the fastest with."""

    def __init__(self, choice: Choice, engines: dict[str, Engine]):
        self._choice, self._engines = choice, engines

    def __call__(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        count = len(input_ids)
        name, size = self._choice[_nearest(max(1, count), self._choice)]
        if not 0 < size < count:
            return self._engines[name](input_ids, token_type_ids)
        parts = [slice(start, start + size) for start in range(0, count, size)]
        return np.concatenate([self._engines[name](input_ids[part], token_type_ids[part]) for part in parts])

    def clone(self) -> ByRows:
        return ByRows(self._choice, {name: engine.clone() for name, engine in self._engines.items()})


def open_engine(
    folder: Path, manifest: Manifest, name: str, device: str, threads: int, precision: str
) -> tuple[str, Engine]:
    """The bundle in the engine called `name`, or the fastest with "auto"; and what it is called.

    Raises InputError for an engine that is not known or installed, or that the bundle was not compared in.
    """
    able = candidates(folder, manifest, name, device, precision)

    def opened(names: Iterable[str]) -> dict[str, Engine]:
        if any(ENGINES[each].library == "paddle" for each in names):
            import_paddle()
            check_program(folder, manifest)
        return {each: ENGINES[each].open(folder, device, threads, precision) for each in names}

    if len(able) == 1:
        return able[0], opened(able)[able[0]]
    file = _file(manifest, able, threads, precision)
    if (choice := _kept(file, able)) is not None:
        return describe(choice), _of_choice(choice, opened({way.engine for way in choice.values()}))
    engines = opened(able)
    measured = measure(engines, manifest, threads)
    choice = fastest(measured)
    what = f"of {', '.join(able)} the fastest on this CPU with {threads} thread(s): {describe(choice)}"
    print(f"{folder}: {what} ({_keep(file, choice, measured)})", file=sys.stderr)
    return describe(choice), _of_choice(choice, engines)


def open_fastest(folder: Path, device: str, threads: int, precision: str) -> Engine:
    """As `open_engine` with "auto", for what has only the folder."""
    return open_engine(folder, read_manifest(folder), AUTO, device, threads, precision)[1]


def candidates(folder: Path, manifest: Manifest, name: str, device: str, precision: str) -> list[str]:
    """The engines among which `name` leaves the choice: itself, or of "auto" all that can run the bundle here.

    Raises InputError where there is none.
    """
    if name != AUTO and name not in ENGINES:
        raise InputError(f"unknown engine {name!r}", "engine", f"use {', '.join((AUTO, *ENGINES))}")
    if not manifest.runs_in:
        raise InputError("no model.pdmodel in this bundle, and no model.onnx", str(folder), "export it again")
    if name != AUTO:
        graph = name if name in IN_ONNX else "paddle"
        if graph not in manifest.runs_in:
            what = f"this bundle was not compared in {name}, only in {', '.join(manifest.runs_in)}"
            verb = "onnx BUNDLE OUT" if precision == "fp32" else f"quantize FP32_BUNDLE OUT --precision {precision}"
            remedy = f"make one that was: ernie-tiny {verb} --engine {name}"
            raise InputError(what, str(folder), remedy if ENGINES[name].reads_onnx else "leave the engine out")
        ENGINES[name].require_packages("engine", ENGINES[name].extra, convert=False)
        ENGINES[name].check_precision(precision, device)
        return [name]
    installed = [each for each in manifest.runs_in if ENGINES[each].installed]
    if not installed:
        needed = " or ".join(ENGINES[each].library for each in manifest.runs_in)
        raise InputError(f"no engine that runs this bundle is installed ({needed})", str(folder), f"install {needed}")
    able = installed if device == "cpu" else installed[:1]
    for each in able:
        ENGINES[each].check_precision(precision, device)
    return able


def measure(engines: dict[str, Engine], manifest: Manifest, threads: int) -> dict[int, dict[Way, float]]:
    """Seconds of a call in each way, by rows per call (of BATCHES): the median over rounds of taking turns.

    Calls of many rows are left out where they would take long: of a large model their times are in proportion.
    """
    length, found = min(LENGTH_TOKENS, manifest.max_length_tokens), {}
    random = np.random.default_rng(0)
    for rows in BATCHES:
        ids = random.integers(0, manifest.architecture.get("vocab_size", 2), (rows, length))
        types = np.zeros_like(ids)
        sizes = (0, PASS_ROWS) if rows > PASS_ROWS else (0,)
        ways = {way: ByRows({rows: way}, engines) for way in (Way(name, size) for size in sizes for name in engines)}
        calls = [_seconds(call, ids, types, 0.0) for call in ways.values()]  # sets it up
        if rows > 1 and min(calls) > _LONGEST_CALL_SECONDS:
            break
        times: dict[Way, list[float]] = {way: [] for way in ways}
        for number in range(_ROUNDS):
            for way in list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]:
                times[way].append(_seconds(ways[way], ids, types, _TURN_SECONDS))
                if threads > 1:
                    time.sleep(_PAUSE_SECONDS)
        found[rows] = {way: float(np.median(seconds)) for way, seconds in times.items()}
    return found


def fastest(seconds: dict[int, dict[Way, float]]) -> Choice:
    """The way for each number of rows: of one engine for all of them where it is nearly as fast as the fastest."""

    def best(names: set[str]) -> Choice:
        return {
            rows: min((w for w in times if w.engine in names), key=times.__getitem__) for rows, times in seconds.items()
        }

    names = {way.engine for times in seconds.values() for way in times}
    of_all, alone = best(names), [best({name}) for name in sorted(names)]

    def worst(choice: Choice) -> float:
        return max(times[choice[rows]] / times[of_all[rows]] for rows, times in seconds.items())

    one = min(alone, key=worst)
    return one if worst(one) <= _ENOUGH else of_all


def describe(choice: Choice) -> str:
    """The choice as it is shown: one name, or "onnxruntime (batch 1), paddle (batch 8 and 32)"."""
    ways = list(dict.fromkeys(choice.values()))
    if ways == [Way(ways[0].engine)]:
        return ways[0].engine
    shown = []
    for way in ways:
        rows = " and ".join(str(rows) for rows in choice if choice[rows] == way)
        passes = f", {way.rows_per_pass} rows at a time" if way.rows_per_pass else ""
        shown.append(f"{way.engine} (batch {rows}{passes})")
    return ", ".join(shown)


def _of_choice(choice: Choice, engines: dict[str, Engine]) -> Engine:
    ways = set(choice.values())
    used = {way.engine: engines[way.engine] for way in ways}
    return used[next(iter(used))] if ways == {Way(next(iter(used)))} else ByRows(choice, used)


def _nearest(rows: int, known: Iterable[int]) -> int:
    """Of the known numbers of rows the nearest one in proportion."""
    return min(known, key=lambda each: max(each / rows, rows / each))


def _seconds(engine: Engine, ids: np.ndarray, types: np.ndarray, least: float) -> float:
    """The shortest of the calls in about `least` seconds; at least one."""
    shortest, end = float("inf"), time.perf_counter() + least
    while True:
        start = time.perf_counter()
        engine(ids, types)
        now = time.perf_counter()
        shortest = min(shortest, now - start)
        if now >= end:
            return shortest


def _file(manifest: Manifest, able: list[str], threads: int, precision: str) -> Path:
    """Where a choice is kept: the name changes with all that decides it."""
    key = {
        "files": manifest.files,
        "engines": able,
        "threads": threads,
        "precision": precision,
        "cpu": [cpu_facts().get("model name"), sorted(cpu_flags())],
        "versions": versions(_PACKAGES),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "engines" / f"{digest[:24]}.json"


def _kept(file: Path, able: list[str]) -> Choice | None:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))["choice"]
        choice = {int(rows): Way(*way) for rows, way in kept.items()}
        known = {Way(name, rows) for name in able for rows in (0, PASS_ROWS)}
        return choice if choice and min(choice) > 0 and set(choice.values()) <= known else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # not measured yet, or something else wrote it


def _keep(file: Path, choice: Choice, measured: dict[int, dict[Way, float]]) -> str:
    """Keeps a choice; returns where it is, or why it is not kept."""
    milliseconds = {
        rows: {describe({rows: way}): 1e3 * value for way, value in times.items()} for rows, times in measured.items()
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({"choice": choice, "milliseconds_per_call": milliseconds}, indent=1) + "\n")
    except (OSError, InputError) as error:
        return f"not kept: {error}"
    return f"kept in {file}"

"""The engine that a bundle runs in: the one that is named, or the fastest of those that it was compared in.

Which is the fastest depends on the CPU, the model, the threads and the number of rows per call. It is measured on first
use, in turns, which takes seconds, and kept in the user's folder of caches.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

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
_ENOUGH = 1.03  # one engine is used alone where it takes at most so many times as long as the fastest
_ROUNDS, _TURN_SECONDS, _LONGEST_CALL_SECONDS = 7, 0.06, 1.0
_PAUSE_SECONDS = 0.05  # threads that spin after a call would slow down the next engine
_PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "numpy", *(ENGINES[name].library for name in IN_ONNX))
Choice = dict[int, str]  # rows per call, of BATCHES, to the engine


class ByRows(Engine):
    """Engines of one model, each for calls of so many rows as it was the fastest with."""

    def __init__(self, engines: dict[int, Engine]):
        self._engines = engines

    def __call__(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        return self._engines[_nearest(len(input_ids), self._engines)](input_ids, token_type_ids)

    def clone(self) -> ByRows:
        twins = {id(engine): engine.clone() for engine in self._engines.values()}
        return ByRows({rows: twins[id(engine)] for rows, engine in self._engines.items()})


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
        return describe(choice), _of_choice(choice, opened(set(choice.values())))
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


def measure(engines: dict[str, Engine], manifest: Manifest, threads: int) -> dict[int, dict[str, float]]:
    """Seconds of a call of each engine, by rows per call (of BATCHES): the median over rounds of taking turns.

    Calls of many rows are left out where they would take long: of a large model their times are in proportion.
    """
    length, found = min(LENGTH_TOKENS, manifest.max_length_tokens), {}
    random = np.random.default_rng(0)
    for rows in BATCHES:
        ids = random.integers(0, manifest.architecture.get("vocab_size", 2), (rows, length))
        types = np.zeros_like(ids)
        calls = {name: _seconds(engine, ids, types, 0.0) for name, engine in engines.items()}  # sets it up
        if rows > 1 and min(calls.values()) > _LONGEST_CALL_SECONDS:
            break
        times: dict[str, list[float]] = {name: [] for name in engines}
        for number in range(_ROUNDS):
            for name in np.roll(list(engines), number).tolist():
                times[name].append(_seconds(engines[name], ids, types, _TURN_SECONDS))
                if threads > 1:
                    time.sleep(_PAUSE_SECONDS)
        found[rows] = {name: float(np.median(seconds)) for name, seconds in times.items()}
    return found


def fastest(seconds: dict[int, dict[str, float]]) -> Choice:
    """The engine for each number of rows: one for all of them where it is nearly as fast as the fastest of each."""
    best = {rows: min(times, key=times.__getitem__) for rows, times in seconds.items()}

    def worst(name: str) -> float:
        return max(times[name] / times[best[rows]] for rows, times in seconds.items())

    one = min(next(iter(seconds.values())), key=worst)
    return dict.fromkeys(best, one) if worst(one) <= _ENOUGH else best


def describe(choice: Choice) -> str:
    """The choice as it is shown: one name, or "onnxruntime (batch 1), paddle (batch 8 and 32)"."""
    names = list(dict.fromkeys(choice.values()))
    if len(names) == 1:
        return names[0]
    rows_of = {name: " and ".join(str(rows) for rows in choice if choice[rows] == name) for name in names}
    return ", ".join(f"{name} (batch {rows})" for name, rows in rows_of.items())


def _of_choice(choice: Choice, opened: dict[str, Engine]) -> Engine:
    if len(set(choice.values())) == 1:
        return opened[next(iter(choice.values()))]
    return ByRows({rows: opened[name] for rows, name in choice.items()})


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
        choice = {int(rows): name for rows, name in json.loads(file.read_text(encoding="utf-8"))["choice"].items()}
        return choice if choice and min(choice) > 0 and set(choice.values()) <= set(able) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # not measured yet, or something else wrote it


def _keep(file: Path, choice: Choice, measured: dict[int, dict[str, float]]) -> str:
    """Keeps a choice; returns where it is, or why it is not kept."""
    milliseconds = {rows: {name: 1e3 * value for name, value in times.items()} for rows, times in measured.items()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({"choice": choice, "milliseconds_per_call": milliseconds}, indent=1) + "\n")
    except (OSError, InputError) as error:
        return f"not kept: {error}"
    return f"kept in {file}"

"""Models in processes of their own take turns, so that what slows the machine down for a while slows down all alike."""

from __future__ import annotations

import importlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil

from ..engines import Engine
from ..errors import ErnieTinyError
from ..machine import import_paddle
from ..processes import Workers
from .subjects import Subject

T = TypeVar("T")
Ask = Callable[..., Any]  # (function, *args) -> what `function(loaded, *args)` gives in the process


@dataclass(frozen=True)
class Candidate:
    """A model that is loaded in a process of its own."""

    subject: Subject
    runs_in: str  # the engine, or the pipeline
    ask: Ask
    loaded: dict[str, float]  # seconds and memory of loading


@contextmanager
def own_process(
    name: str, threads: int, library: str, build: Callable[..., Any], *args: Any
) -> Iterator[tuple[Ask, dict[str, float]]]:
    """A fresh process with its own number of threads that imports `library` and keeps what `build(*args)` gives.

    Gives a function to ask it, and seconds and memory of loading. Raises the toolkit's own errors as they are, and
    ErnieTinyError, with `name`, when anything else fails or the process dies.
    """
    environment = {"TOKENIZERS_PARALLELISM": str(threads > 1).lower()}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads))
    with tempfile.TemporaryDirectory(prefix="ernie-tiny-") as folder:
        log = Path(folder) / "output.log"
        log.touch()
        with Workers(1, environment, log) as process:

            def ask(function: Callable[..., Any], *args: Any) -> Any:
                try:
                    return process.submit(_with_loaded, function, *args).result()
                except ErnieTinyError:
                    raise
                except BrokenProcessPool:
                    last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
                    raise ErnieTinyError(f"the worker ended without an answer: {last or 'no output'}", name) from None
                except Exception as error:  # whatever the engine raises
                    raise ErnieTinyError(f"the worker ended with {type(error).__name__}: {error}", name) from error

            yield ask, ask(_load, library, build, *args)


def take_turns(rounds: int, candidates: list[Candidate], measure: Callable[[Candidate, int], T]) -> list[list[T]]:
    """What `measure(candidate, round)` gives, by candidate and round; one candidate at a time.

    Each round starts with another candidate, so that none always follows the same neighbour.
    """
    found: list[list[T]] = [[] for _ in candidates]
    for number in range(rounds):
        for index in np.roll(np.arange(len(candidates)), number):
            found[index].append(measure(candidates[index], number))
    return found


def latency(samples_ms: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 (linear between samples) and mean of durations in milliseconds."""
    p50, p90, p99 = map(float, np.percentile(samples_ms, [50, 90, 99]))
    return {"p50": p50, "p90": p90, "p99": p99, "mean": float(np.mean(samples_ms))}


def times_as_fast(reference: Sequence[Sequence[float]], own: Sequence[Sequence[float]]) -> dict[str, float]:
    """How many times as fast as the reference, from durations by round.

    The medians of each round are compared with each other: the median of the rounds' ratios, the lowest, the highest.
    """
    ratios = [float(np.median(a) / np.median(b)) for a, b in zip(reference, own, strict=True)]
    return {"median": float(np.median(ratios)), "low": min(ratios), "high": max(ratios)}


_loaded: Any = None  # in its process: what `build` gave


@dataclass(frozen=True)
class Turn:
    """Calls of one turn: their durations, CPU time of all of them, and the process's memory after them (1e6 bytes)."""

    samples_ms: list[float]
    cpu_ms: float
    rss_mb: float
    peak_rss_mb: float


def _load(_: None, library: str, build: Callable[..., Any], *args: Any) -> dict[str, float]:
    global _loaded
    start = time.perf_counter()
    import_paddle() if library == "paddle" else importlib.import_module(library)
    imported, (before, _peak) = time.perf_counter(), memory_mb()
    _loaded = build(*args)
    seconds = time.perf_counter() - imported
    return {"import_seconds": imported - start, "load_seconds": seconds, "rss_before_load_mb": before}


def _with_loaded(function: Callable[..., Any], *args: Any) -> Any:
    return function(_loaded, *args)


def time_model(model: Engine, tokens: int, batch: int, length: int, seconds: float = 0.0) -> Turn:
    """Calls for about `seconds`, at least one; `tokens`: the size of the model's vocabulary."""
    ids, types = inputs(tokens, batch, length)
    samples: list[float] = []
    busy, end = time.process_time(), time.perf_counter() + seconds
    while not samples or time.perf_counter() < end:
        start = time.perf_counter()
        model(ids, types)
        samples.append((time.perf_counter() - start) * 1e3)
    busy = time.process_time() - busy
    if os.environ["OMP_NUM_THREADS"] != "1":
        time.sleep(0.3)  # threads that spin after the last call would slow down the next process
    return Turn(samples, busy * 1e3, *memory_mb())


def inputs(tokens: int, batch: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids, none of them padding, and token types: int64 [batch, length] twice, always the same."""
    ids = np.random.default_rng(batch * 1000 + length).integers(5, tokens, (batch, length))
    return ids, np.zeros_like(ids)


def memory_mb() -> tuple[float, float]:
    """This process's resident memory and its peak, in MB (1e6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return psutil.Process().memory_info().rss / 1e6, peak / 1e6

"""One engine with one model in a process of its own: loads, answers the parent's orders, times.

Orders and answers are JSON, one a line, on standard input and output. What the engines print goes to standard
error. The parent sends one order at a time over all workers, so that only one of them computes.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from ..runtime import tune_process


def main() -> None:
    tune_process()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the libraries print to standard output is no answer
    worker = None
    for line in sys.stdin:
        order = json.loads(line)
        kind = order.pop("order")
        if kind == "load":
            worker, answer = _load(**order)
        else:
            answer = getattr(worker, kind)(**order)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _load(subject: str, **order):
    if subject == "text":
        from .text import TextWorker

        return TextWorker.load(**order)
    return ModelWorker.load(**order)


class ModelWorker:
    """A bare model: token ids to logits."""

    def __init__(self, run, vocabulary: int, settle_seconds: float):
        self.run, self.vocabulary, self.settle_seconds = run, vocabulary, settle_seconds

    @classmethod
    def load(cls, engine: str, model: str, device: str, threads: int, precision: str, vocabulary: int):
        from .engines import ENGINES

        start = time.perf_counter()
        import_engine(engine)
        imported, before = time.perf_counter(), resident_mb()
        run = ENGINES[engine](Path(model), device, threads, precision)
        loaded = time.perf_counter()
        worker = cls(run, vocabulary, settle_seconds=0.3 if threads > 1 else 0.0)
        ids, types = worker.inputs(1, 16)
        run(ids, types)
        answer = {
            "import_seconds": imported - start,
            "load_seconds": loaded - imported,
            "first_call_ms": (time.perf_counter() - loaded) * 1e3,
            "rss_before_load_mb": before,
        }
        return worker, answer

    def inputs(self, batch: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """The same ids in every engine, none of them padding: int64 [batch, length] twice."""
        ids = np.random.default_rng(batch * 1000 + length).integers(5, self.vocabulary, (batch, length))
        return np.ascontiguousarray(ids, dtype=np.int64), np.zeros((batch, length), dtype=np.int64)

    def time(self, batch: int, length: int, seconds: float, least: int) -> dict:
        """Calls for about `seconds` and at least `least` times: durations in ms, and the CPU time of all of them."""
        ids, types = self.inputs(batch, length)
        samples, busy, end = [], time.process_time(), time.perf_counter() + seconds
        while len(samples) < least or time.perf_counter() < end:
            start = time.perf_counter()
            self.run(ids, types)
            samples.append((time.perf_counter() - start) * 1e3)
        busy = time.process_time() - busy
        time.sleep(self.settle_seconds)  # threads that spin after the last call would slow down the next worker
        return {"samples_ms": samples, "cpu_ms": busy * 1e3, "rss_mb": resident_mb(), "peak_rss_mb": peak_mb()}

    def logits(self, batch: int, length: int) -> list:
        return self.run(*self.inputs(batch, length)).tolist()


def import_engine(engine: str) -> None:
    """Imports the engine's library, so that its own time and memory are told apart from the model's."""
    if engine.startswith("paddle"):
        from ..runtime import import_paddle

        import_paddle()
    else:
        __import__(engine)


def resident_mb() -> float | None:
    """This process's resident memory in MB (1e6 bytes); None where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return None


def peak_mb() -> float:
    """This process's peak resident memory in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()

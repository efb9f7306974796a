"""Where a forward pass's time goes, by operation: Paddle Inference's own profiler, in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import tempfile
from pathlib import Path

from ..errors import ErnieTinyError
from ..processes import in_child
from .request import Record
from .subjects import Subject
from .turns import inputs

_WARM_UP, _CALLS = 3, 20
Report = dict[str, tuple[int, float]]  # operation: (calls, total ms)
# An event of the profiler's report: name, calls, total (ms), least, most, average, share; children are indented.
_EVENT = re.compile(r"^thread\d+::(\S+)\s+(\d+)\s+([\d.e+-]+)(?:\s+[\d.e+-]+){4}\s*$")


def profile_model(subject: Subject, device: str, batch: int, length: int) -> Record:
    """The operations of one call on one thread, by time: {"operations": [{"operation", "calls", "ms", "share"}]}.

    Two processes are profiled, of which one makes 20 more calls; the difference is free of loading and of the first
    calls, in which kernels are made. Raises ErnieTinyError when the engine writes no profile.
    """
    how = subject.folder.resolve(), device, subject.precision, subject.tokens, batch, length
    few, many = (
        parse_report(in_child("profile", _profiled_calls, *how, calls, environment={"OMP_NUM_THREADS": "1"}))
        for calls in (_WARM_UP, _WARM_UP + _CALLS)
    )
    if not few or not many:
        raise ErnieTinyError("the profile failed: no profile was written", subject.label)
    return {**subject.identity, "batch": batch, "length": length, "operations": difference(few, many, _CALLS)}


def parse_report(report: str) -> Report:
    """The operations in the profiler's text."""
    found = (_EVENT.match(line) for line in report.splitlines())
    return {event[1]: (int(event[2]), float(event[3])) for event in found if event}


def difference(few: Report, many: Report, calls: int) -> list[Record]:
    """Operations of one call, the longest first: what `many` has beyond `few`, over `calls`."""
    operations: list[Record] = []
    for name, (count, total) in many.items():
        count_few, total_few = few.get(name, (0, 0.0))
        if count > count_few:  # loading happens once in both
            ms = max(0.0, total - total_few) / calls  # noise may make a tiny one negative
            operations.append({"operation": name, "calls": (count - count_few) / calls, "ms": ms})
    whole = sum(entry["ms"] for entry in operations) or 1.0
    operations.sort(key=lambda entry: -entry["ms"])
    return [{**entry, "share": entry["ms"] / whole} for entry in operations]


def _profiled_calls(folder: Path, device: str, precision: str, tokens: int, batch: int, length: int, calls: int) -> str:
    """In the child process: the profiler's text about some calls."""
    from paddle import inference

    from ..deploy.engines import PaddleEngine, paddle_config

    config = paddle_config(folder, device, 1, precision)
    config.enable_profile()
    engine = PaddleEngine(inference.create_predictor(config))
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # the profiler also writes a profile.log where it is
        for _ in range(calls):
            engine(*inputs(tokens, batch, length))
        with open("report.txt", "w", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            del engine  # Paddle prints the profile when the engine goes
            gc.collect()
            ctypes.CDLL(None).fflush(None)  # what C++ prints waits in the C library
        return Path("report.txt").read_text(encoding="utf-8", errors="replace")

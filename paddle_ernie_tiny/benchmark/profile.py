"""Where a forward pass's time goes, by kind of operation: Paddle Inference's own profiler, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import ErnieTinyError
from .models import Model

WARM_UP, CALLS = 3, 20
# An event of the profiler's report: name, calls, total (ms), least, most, average, share; children are indented.
_EVENT = re.compile(r"^thread\d+::(\S+)\s+(\d+)\s+([\d.e+-]+)(?:\s+[\d.e+-]+){4}\s*$")


def profile_model(model: Model, device: str, batch: int, length: int) -> dict:
    """The operations of one call on one thread, by time: {"operations": [{"operation", "calls", "ms", "share"}]}.

    Two processes are profiled, of which one makes `CALLS` more calls; the difference is free of loading and of the
    first calls, in which kernels are made. Raises ErnieTinyError when the engine writes no profile.
    """
    reports = [_report(model, device, batch, length, calls) for calls in (WARM_UP, WARM_UP + CALLS)]
    return {
        "model": model.name,
        "precision": model.precision,
        "graph": model.graph,
        "batch": batch,
        "length": length,
        "operations": difference(*map(parse_report, reports), CALLS),
    }


def _report(model: Model, device: str, batch: int, length: int, calls: int) -> str:
    arguments = [str(model.folder.resolve()), device, str(batch), str(length), str(model.tokens), str(calls)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "paddle_ernie_tiny.benchmark.profile", scratch, *arguments]
        child = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)
    if child.returncode != 0 or not parse_report(child.stdout):
        last = (child.stderr.strip().splitlines() or ["no profile was written"])[-1]
        raise ErnieTinyError(f"the profile failed: {last}", model.label)
    return child.stdout


def parse_report(report: str) -> dict[str, tuple[int, float]]:
    """The profiler's text as {kind of operation: (calls, total ms)}."""
    found = (_EVENT.match(line) for line in report.splitlines())
    return {event[1]: (int(event[2]), float(event[3])) for event in found if event}


def difference(few: dict, many: dict, calls: int) -> list[dict]:
    """Operations of one call, the longest first: what `many` has beyond `few`, over `calls`."""
    operations = []
    for name, (count, total) in many.items():
        count_few, total_few = few.get(name, (0, 0.0))
        if count > count_few:  # loading happens once in both
            ms = max(0.0, total - total_few) / calls  # noise may make a tiny one negative
            operations.append({"operation": name, "calls": (count - count_few) / calls, "ms": ms})
    whole = sum(entry["ms"] for entry in operations)
    for entry in operations:
        entry["share"] = entry["ms"] / whole if whole else 0.0
    return sorted(operations, key=lambda entry: -entry["ms"])


def main() -> None:
    """The child: SCRATCH BUNDLE DEVICE BATCH LENGTH VOCABULARY CALLS; Paddle prints the profile when it leaves."""
    scratch, bundle, device, batch, length, vocabulary, calls = sys.argv[1:]

    from ..runtime import tune_process

    tune_process()

    from paddle import inference

    from ..deploy.bundle import MODEL_STEM, read_manifest
    from ..deploy.predictor import create_engine
    from .engines import paddle_run
    from .worker import ModelWorker

    create = inference.create_predictor

    def create_with_profile(config):
        config.enable_profile()
        return create(config)

    inference.create_predictor = create_with_profile  # in this process: the predictor's settings and the profiler
    run = paddle_run(create_engine(Path(bundle) / MODEL_STEM, device, 1, read_manifest(bundle).precision))
    ids, types = ModelWorker(run, int(vocabulary), 0.0).inputs(int(batch), int(length))
    os.chdir(scratch)  # the profiler leaves a profile.log where it stands
    for _ in range(int(calls)):
        run(ids, types)


if __name__ == "__main__":
    main()

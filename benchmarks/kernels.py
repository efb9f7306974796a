"""Which kernels does the time of one forward pass go to, in Paddle Inference and in ONNX Runtime?

    python benchmarks/kernels.py BUNDLE [BUNDLE ...] --onnx model.onnx --batch 1 --length 128 --json OUT.json

oneDNN, which Paddle computes with on CPUs, tells of every kernel (ONEDNN_VERBOSE); ONNX Runtime has a profiler. Each
model runs in a process of its own on one thread. `call_ms` is measured in further calls that nothing is told of, so
what the kernels leave of it is the engine around them. Medians over calls; the models take turns, and each is
told of as in its quietest round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from common import machine

from paddle_ernie_tiny.machine import tune_process

START = "-- calls --"
WARM_UP = 20


def main() -> None:
    """Parses the arguments, measures, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--onnx", type=Path, help="one of them as an ONNX model")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    shape = (given.batch, given.length)
    rounds = []
    for _ in range(given.rounds):
        rounds.append([of_paddle(bundle.resolve(), shape, given.calls) for bundle in given.bundles])
        if given.onnx:
            rounds[-1].append(json.loads(child("onnx", given.onnx.resolve(), shape, given.calls)[-1]))
    records = [quietest(found) for found in zip(*rounds, strict=True)]
    for record in records:
        print(
            f"{record['model']} ({record['engine']}): {record['call_ms']} ms per call, kernels {record['kernels_ms']}"
        )
        for kernel in record["kernels"][:12]:
            print(f"  {kernel['ms']:8.3f} ms  {kernel['times']:5.1f} x  {kernel['kernel']}")
    given.json.write_text(
        json.dumps({"shape": shape, "machine": machine(), "records": records}, indent=1) + "\n", encoding="utf-8"
    )


def of_paddle(bundle: Path, shape: tuple[int, int], calls: int) -> dict:
    """A bundle's record: quiet calls in one process, told ones in another."""
    call_ms = json.loads(child("paddle", bundle, shape, calls)[-1])
    lines = child("paddle", bundle, shape, calls, ONEDNN_VERBOSE="1")
    kernels: dict[str, list[float]] = defaultdict(list)
    for line in lines[lines.index(START) :]:
        fields = line.split(",")
        if line.startswith("onednn_verbose") and "exec" in fields:
            kind, implementation = fields[fields.index("cpu") + 1 :][:2]
            kernels[f"{kind} {implementation} {fields[-2]}"].append(float(fields[-1]))
    return {"model": bundle.name, "engine": "paddle", "call_ms": call_ms, **summary(kernels, calls)}


def quietest(rounds: Iterable[dict]) -> dict:
    """The round whose kernels took least, with the least time of a call; of all rounds: `call_ms_of_rounds`."""
    calls = [record["call_ms"] for record in rounds]
    return {
        **min(rounds, key=lambda record: record["kernels_ms"]),
        "call_ms": min(calls),
        "call_ms_of_rounds": calls,
    }


def summary(kernels: dict[str, list[float]], calls: int) -> dict:
    """Kernels by time: how often a call, and the median of one of them times that."""
    found: list[dict[str, Any]] = [
        {"kernel": name, "times": len(all_ms) / calls, "ms": round(median(all_ms) * len(all_ms) / calls, 4)}
        for name, all_ms in kernels.items()
    ]
    found.sort(key=lambda kernel: -kernel["ms"])
    return {"kernels_ms": round(sum(kernel["ms"] for kernel in found), 3), "kernels": found}


def child(engine: str, model: Path, shape: tuple[int, int], calls: int, **environment: str) -> list[str]:
    """Lines that the measurement of one model prints, in a process of its own."""
    code = f"import kernels; kernels.in_{engine}({str(model)!r}, {shape}, {calls})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    return done.stdout.splitlines()


def in_paddle(bundle: str, shape: tuple[int, int], calls: int) -> None:
    """Child process: prints START, then milliseconds a call."""
    tune_process()
    from paddle_ernie_tiny.deploy.bundle import read_manifest
    from paddle_ernie_tiny.engines import open_paddle

    engine = open_paddle(Path(bundle), "cpu", 1, read_manifest(bundle).precision)
    print(json.dumps(call_ms(engine, shape, calls)))


def in_onnx(model: str, shape: tuple[int, int], calls: int) -> None:
    """Child process: prints the record of ONNX Runtime."""
    import onnxruntime

    def session(profile: str | None):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def of(session) -> Callable:
        return lambda ids, types: session.run(None, {"input_ids": ids, "token_type_ids": types})

    quiet = call_ms(of(session(None)), shape, calls)
    with tempfile.TemporaryDirectory() as folder:
        told = session(f"{folder}/profile")
        call_ms(of(told), shape, calls)
        events = json.loads(Path(told.end_profiling()).read_text(encoding="utf-8"))
    kernels: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["args"]["op_name"]
            shapes = ":".join("x".join(map(str, *one.values())) for one in event["args"].get("input_type_shape", []))
            kernels[f"{name} {shapes}"].append(event["dur"] / 1000)
    name = Path(model).parent.name
    print(json.dumps({"model": name, "engine": "onnxruntime", "call_ms": quiet, **summary(kernels, calls + WARM_UP)}))


def call_ms(run: Callable, shape: tuple[int, int], calls: int) -> float:
    """Median milliseconds of a call on random ids; prints START after the warm-up."""
    import numpy as np

    ids = np.random.default_rng(0).integers(1000, 2000, shape)
    types, seconds = np.zeros_like(ids), []
    for _ in range(WARM_UP):
        run(ids, types)
    print(START, flush=True)
    for _ in range(calls):
        start = time.perf_counter()
        run(ids, types)
        seconds.append(time.perf_counter() - start)
    return round(1000 * median(seconds), 3)


if __name__ == "__main__":
    main()

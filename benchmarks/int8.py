"""An fp32 bundle against its int8 bundle: latency in turns in one process, files, and what the manifest says of scores.

python benchmarks/int8.py BUNDLE INT8_BUNDLE --json result.json
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

from paddle_ernie_tiny.machine import tune_process

tune_process()

import numpy as np  # noqa: E402
import paddle  # noqa: E402

from paddle_ernie_tiny.deploy.bundle import read_manifest  # noqa: E402
from paddle_ernie_tiny.engines import Engine, open_paddle  # noqa: E402


def latencies(engines: list[Engine], batch: int, length: int, rounds: int, repeats: int) -> list[np.ndarray]:
    """Milliseconds a forward pass of each, [rounds * repeats]; the first round warms up."""
    ids = np.random.default_rng(0).integers(1000, 2000, (batch, length))
    times: list[list[float]] = [[] for _ in engines]
    for turn in range(rounds + 1):
        for own, engine in zip(times, engines, strict=True):
            for _ in range(repeats):
                start = time.perf_counter()
                engine(ids, np.zeros_like(ids))
                if turn:
                    own.append(1000 * (time.perf_counter() - start))
    return [np.array(own) for own in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fp32", type=Path)
    parser.add_argument("int8", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    folders = [given.fp32, given.int8]
    manifests = [read_manifest(folder) for folder in folders]
    engines: list[Engine] = [
        open_paddle(folder, "cpu", 1, manifest.precision) for folder, manifest in zip(folders, manifests, strict=True)
    ]
    records = []
    for batch, rounds, repeats in ((1, 10, 10), (32, 3, 2)):
        found = latencies(engines, batch, 128, rounds, repeats)
        p50 = [float(np.median(own)) for own in found]
        records.append({"batch": batch, "length": 128, "threads": 1, "fp32_p50_ms": p50[0], "int8_p50_ms": p50[1]})
        records[-1] |= {"fp32_min_ms": float(found[0].min()), "int8_min_ms": float(found[1].min())}
        records[-1]["times_as_fast"] = p50[0] / p50[1]
        print(records[-1], flush=True)
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in folders]
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    result = {
        "environment": {
            "paddle": paddle.__version__,
            "machine": platform.machine(),
            "instructions": [
                name for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni") if f" {name} " in flags + " "
            ],
        },
        "latency": records,
        "bytes": {"fp32": sizes[0], "int8": sizes[1], "ratio": sizes[1] / sizes[0]},
        "parity": manifests[1].parity,
        "quantization": manifests[1].quantization,
    }
    given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

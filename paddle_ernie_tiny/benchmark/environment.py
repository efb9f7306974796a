"""The machine that a benchmark ran on, and whether it was idle."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..machine import cpu_name, describe_machine, git_commit, versions

_ENGINE_PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "onnxruntime", "openvino", "paddle2onnx", "tokenizers", "numpy")
_INSTRUCTION_SETS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
BUSY_SHARE = 0.10  # of all cores, by other processes, from which on figures are not to be trusted


def describe() -> dict:
    """CPU, instruction sets that decide speed, versions, commit, and the load just before the start."""
    values = describe_machine()
    values.pop("threads")  # each record has its own
    return {
        **values,
        "cpu": cpu_name(),
        "instruction_sets": instruction_sets(),
        "versions": {**values["versions"], **versions(_ENGINE_PACKAGES)},
        "git_commit": git_commit(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "busy_share": busy_share(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def instruction_sets() -> list[str]:
    """Which of the vector and int8 instruction sets this CPU has (Linux; elsewhere empty)."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                return [name for name in _INSTRUCTION_SETS if name in flags]
    except OSError:
        pass
    return []


def busy_share(seconds: float = 1.0) -> float | None:
    """The share of all cores that is at work while this process sleeps; None where the system does not tell."""
    before = _jiffies()
    if before is None:
        return None
    time.sleep(seconds)
    after = _jiffies()
    total = sum(after) - sum(before)
    idle = sum(after[3:5]) - sum(before[3:5])  # idle, iowait
    return round(1 - idle / total, 3) if total else None


def _jiffies() -> list[int] | None:
    try:
        with open("/proc/stat", encoding="ascii") as file:
            return [int(part) for part in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None


def warnings(environment: dict, records: list[dict]) -> list[str]:
    """What makes the figures doubtful, in sentences."""
    found = []
    busy = environment["busy_share"]
    if busy is not None and busy > BUSY_SHARE:
        found.append(f"other processes used {busy:.0%} of the machine at the start; run it again when it is idle")
    waiting = [r for r in records if r.get("cpu_share") is not None and r["threads"] == 1 and r["cpu_share"] < 0.9]
    if waiting:
        worst = min(waiting, key=lambda record: record["cpu_share"])
        found.append(
            f"{len(waiting)} of {len(records)} measurements had to wait for a core (the worst had one for "
            f"{worst['cpu_share']:.0%} of its time): other processes were at work"
        )
    return found

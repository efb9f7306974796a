"""The machine that a benchmark ran on, and whether it was idle."""

from __future__ import annotations

import time

import psutil

from ..machine import cpu_flags, describe_machine, git_commit, versions
from .request import Record

_ENGINE_PACKAGES = ("onnxruntime", "openvino", "paddle2onnx")
_INSTRUCTION_SETS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
BUSY_SHARE = 0.10  # of all cores, by other processes, from which on figures are not to be trusted


def describe() -> Record:
    """CPU, instruction sets that decide speed, versions, commit, and the load just before the start."""
    values = describe_machine()
    values.pop("threads")  # each record has its own
    return {
        **values,
        "instruction_sets": [name for name in _INSTRUCTION_SETS if name in cpu_flags()],
        "versions": {**values["versions"], **versions(_ENGINE_PACKAGES)},
        "git_commit": git_commit(),
        "load_average": list(psutil.getloadavg()),
        "busy_share": round(psutil.cpu_percent(interval=1.0) / 100, 3),  # while this process sleeps
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def warnings(environment: Record, records: list[Record]) -> list[str]:
    """What makes the figures doubtful, in sentences."""
    found = []
    busy = environment["busy_share"]
    if busy is not None and busy > BUSY_SHARE:
        found.append(f"other processes used {busy:.0%} of the machine at the start; run it again when it is idle")
    shares = [r["cpu_share"] for r in records if r["threads"] == 1 and r["cpu_share"] is not None]
    waited = [share for share in shares if share < 0.9]
    if waited:
        found.append(
            f"{len(waited)} of {len(records)} measurements had to wait for a core (the worst had one for "
            f"{min(waited):.0%} of its time): other processes were at work"
        )
    return found

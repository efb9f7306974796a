"""Facts about the machine: its processor, cores and memory, and the versions that a result was measured with."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil

from . import __version__

_PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "paddlenlp", "numpy", "tokenizers", "datasets", "scikit-learn")


@cache
def cpu_facts() -> dict[str, str]:
    """What Linux says of the first processor: "vendor_id", "model name", "flags" (elsewhere empty)."""
    facts: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.strip():
                break
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    except OSError:
        pass
    return facts


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    return cpu_facts().get("model name") or platform.processor() or "unknown"


def cpu_flags() -> frozenset[str]:
    """The processor's instruction sets by their Linux names, such as "avx2" (empty if the system does not say)."""
    facts = cpu_facts()
    return frozenset((facts.get("flags") or facts.get("Features") or "").split())


def has_vnni() -> bool:
    """Does this CPU have the instructions that make int8 matrix products faster than fp32 ones?"""
    return not {"avx512_vnni", "amx_int8"}.isdisjoint(cpu_flags())


def cpu_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int:
    """Bytes of memory that are available without swapping."""
    return psutil.virtual_memory().available


def versions(packages: tuple[str, ...] = _PACKAGES) -> dict[str, str]:
    """Installed versions of the toolkit, Python and `packages`; those that are not installed are left out."""
    found = {"paddle_ernie_tiny": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_machine() -> dict:
    """CPU, cores, threads, system and versions."""
    return {
        "cpu": cpu_name(),
        "cores": cpu_cores(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
    }


def git_commit() -> str | None:
    """The commit of the toolkit's own checkout; None for an installed copy."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).resolve().parents[1]), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

"""The machine and the versions that a figure was taken with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from . import __version__
from .runtime import cpu_cores

_PACKAGES = (
    "paddlepaddle",
    "paddlepaddle-gpu",
    "paddlenlp",
    "numpy",
    "tokenizers",
    "datasets",
    "scikit-learn",
)


def versions(packages: tuple[str, ...] = _PACKAGES) -> dict[str, str]:
    """Installed versions of the packages that decide results."""
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


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


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

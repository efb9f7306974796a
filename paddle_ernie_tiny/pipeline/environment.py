"""The machine, the versions and the device of a run."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from .. import __version__
from ..errors import InputError
from ..runtime import cpu_cores

_PACKAGES = (
    "paddlepaddle",
    "paddlepaddle-gpu",
    "paddlenlp",
    "numpy",
    "tokenizers",
    "datasets",
    "scikit-learn",
)


def find_device(device: str) -> str:
    """ "cpu" or "gpu" ("auto": the GPU where Paddle finds one). Raises InputError for a GPU that is not there."""
    import paddle

    gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if device == "gpu" and not gpu:
        raise InputError(
            "no GPU that this Paddle can use",
            "device",
            "install the gpu extra and check nvidia-smi, or set device=cpu",
        )
    return "gpu" if device == "gpu" or (device == "auto" and gpu) else "cpu"


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide results."""
    found = {"paddle_ernie_tiny": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict:
    """What a reader needs to judge a measurement: CPU, cores, threads, device, versions."""
    import paddle

    return {
        "cpu": _cpu_name(),
        "cores": cpu_cores(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "device": paddle.get_device(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
    }


def header(context) -> dict:
    """What decided a run beside its configuration; stands in config.resolved.yaml."""
    values = {
        "environment": describe(),
        "git_commit": _git_commit(),
        "data_fingerprints": context.data.fingerprints,
        "labels": context.data.labels,
    }
    if context.config.general_corpus is not None:
        values["general_corpus_fingerprint"] = context.corpus_fingerprint
    return values


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _git_commit() -> str | None:
    """The commit of the toolkit's own checkout; None for an installed copy."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).resolve().parents[2]), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

"""The devices that a run trains on, and a run in several processes of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from ..config import RunConfig
from ..errors import InputError
from ..machine import cpu_cores, import_paddle
from ..processes import SAFE_PATH
from ..watch import interrupted


def find_device(device: str) -> str:
    """ "cpu" or "gpu" ("auto": the GPU if Paddle finds one). Raises InputError for a GPU that is not there."""
    import paddle

    gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if device == "gpu" and not gpu:
        remedy = "install the gpu extra and check nvidia-smi, or set device=cpu"
        raise InputError("no GPU that this Paddle can use", "device", remedy)
    return "gpu" if device != "cpu" and gpu else "cpu"


def run_on_devices(config: RunConfig, devices: str, arguments: list[str]) -> int:
    """Runs `ernie-tiny ARGUMENTS` by `paddle.distributed.launch`, one process per device; returns its exit code.

    On CPUs, `devices` ("0,1") says no more than how many processes. Raises InputError for devices that are not
    numbers, or named twice, or not there.
    """
    numbers = devices.split(",")
    if not all(number.strip().isdigit() for number in numbers) or len(set(numbers)) < len(numbers):
        raise InputError(f"not a list of device numbers: {devices!r}", "--devices", "write them like 0,1,2,3")
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cpu_cores() // len(numbers)))
    import_paddle()
    environment = {**os.environ, "OMP_NUM_THREADS": threads, SAFE_PATH: "1"}
    command = [sys.executable, "-m", "paddle.distributed.launch", "--log_level", "ERROR"]
    command += ["--log_dir", f"{config.output_dir}/.launch"]  # what each process said
    if find_device(config.device) == "gpu":
        import paddle

        there = paddle.device.cuda.device_count()
        absent = [number for number in numbers if int(number) >= there]
        if absent:
            raise InputError(f"there is no GPU {absent[0]}; {there} are here", "--devices", f"use 0 to {there - 1}")
        command += ["--devices", ",".join(numbers)]
    else:
        command += ["--nproc_per_node", str(len(numbers))]
        environment["PADDLE_DISTRI_BACKEND"] = "gloo"
    program = str(Path(__file__).parents[1] / "__main__.py")
    # in a session of its own: it hears of Ctrl-C and SIGTERM from here alone
    line = [*command, program, *arguments]
    process = subprocess.Popen(line, env=environment, start_new_session=True, preexec_fn=_end_with_parent)
    try:
        return process.wait()
    except KeyboardInterrupt:
        for child in psutil.Process().children(recursive=True):  # the launcher itself tells them one after another
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGTERM)
        process.wait()
        raise interrupted() from None


def _end_with_parent() -> None:
    """Asks Linux for SIGTERM when the process that started this one has ended, also by a kill."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

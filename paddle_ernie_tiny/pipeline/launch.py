"""Starts a run in several processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..config import RunConfig
from ..errors import InputError, Interrupted
from ..machine import cpu_cores, import_paddle
from .device import find_device

PROGRAM = Path(__file__).parents[1] / "__main__.py"
LOGS = ".launch"  # in output_dir: what each process said


def run_on_devices(config: RunConfig, devices: str, arguments: list[str]) -> int:
    """Runs `ernie-tiny ARGUMENTS` by `paddle.distributed.launch`, one process a device; returns its exit code.

    On CPUs, `devices` ("0,1") says no more than how many processes. Raises InputError for devices that are not
    numbers, or named twice, or not there.
    """
    numbers = devices.split(",")
    if not all(number.strip().isdigit() for number in numbers) or len(set(numbers)) < len(numbers):
        raise InputError(f"not a list of device numbers: {devices!r}", "--devices", "write them like 0,1,2,3")
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cpu_cores() // len(numbers)))
    import_paddle()
    environment = dict(os.environ, OMP_NUM_THREADS=threads)
    command = [sys.executable, "-m", "paddle.distributed.launch", "--log_level", "ERROR"]
    command += ["--log_dir", str(Path(config.output_dir) / LOGS)]
    if find_device(config.device) == "gpu":
        _require_gpus([int(number) for number in numbers])
        command += ["--devices", ",".join(numbers)]
    else:
        command += ["--nproc_per_node", str(len(numbers))]
        environment["PADDLE_DISTRI_BACKEND"] = "gloo"
    process = subprocess.Popen([*command, str(PROGRAM), *arguments], env=environment)
    interrupted = False
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the launcher has heard it too: it tells the processes, which save and stop
            interrupted = True
            continue
        if interrupted:
            raise Interrupted("interrupted; run the same command again to carry on")
        return code


def _require_gpus(numbers: list[int]) -> None:
    import paddle

    there = paddle.device.cuda.device_count()
    absent = [number for number in numbers if number >= there]
    if absent:
        raise InputError(f"there is no GPU {absent[0]}; {there} are here", "--devices", f"use 0 to {there - 1}")

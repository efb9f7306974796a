"""The disk fills up in every kind of moment; then room is made and the run goes on to the same result."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .commands import judge_failure
from .harness import Outcome, Part
from .miniature import miniature
from .moments import MOMENTS, resumed

_SIZE = 4 << 30  # bytes of the small disk while there is room; memory is taken only for what is written
_LEFT = (0, 4096, 40_000)  # bytes that are left to the run
_LIMIT_SECONDS = 120


class Disk(Part):
    """A case is a moment and how many bytes are left then.

    On a tmpfs where mounting is allowed; elsewhere no file of the process may grow beyond that size (RLIMIT_FSIZE).
    """

    name, unit, whole = "disk", "full disks", 20
    bar = "20 moments of a full disk: clear message, resume hash-equal"

    def cases(self, count: int) -> list[dict[str, Any]]:
        """The moments in an order of the seed, sizes in turn."""
        order = list(MOMENTS)
        random.Random(f"disk {self.seed}").shuffle(order)
        return [{"moment": order[n % len(order)].name, "left": _LEFT[n % len(_LEFT)]} for n in range(count)]

    def attack(self, case: dict[str, Any]) -> Outcome:
        """Fills the disk under one run, makes room, and lets it finish."""
        moment = next(moment for moment in MOMENTS if moment.name == case["moment"])
        made = miniature(self.work, moment.variant)
        log = self.work / "logs" / f"disk-{case['id']}.log"
        log.unlink(missing_ok=True)
        with small_disk(self.work / f"disk-{case['id']}") as (folder, mounted):
            root = folder / "run"
            command = moment.reach(made, root, log, piped=not mounted)
            if mounted:
                resize(folder, used_bytes(folder) + case["left"])
            else:
                limit_files(command.process.pid, case["left"])
            code = command.finish(_LIMIT_SECONDS)
            facts: dict[str, Any] = {"how": "tmpfs" if mounted else "RLIMIT_FSIZE", "exit": code}
            facts["orphans"] = len(command.family())
            command.kill_all()
            time.sleep(0 if mounted else 0.2)  # what it said last is on its way to the log
            outcome = Outcome("right") if code == 0 else judge_failure(code, command.text, codes=(1, 2))
            outcome.facts = facts
            if mounted:
                resize(folder, _SIZE)
            outcome = resumed(made, root, log, outcome)
        if outcome.good:
            log.unlink()
        return outcome

    def figures(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        """How the disk was filled."""
        return {"how": sorted({line["facts"]["how"] for line in lines if "how" in line["facts"]})}


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """(a folder, True if it is a disk of its own)."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield folder, mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def limit_files(process: int, size: int) -> None:
    """No file of a running process may grow beyond `size` bytes from now on."""
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def used_bytes(folder: Path) -> int:
    """What is taken of the disk."""
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


def resize(folder: Path, size: int) -> None:
    """Gives a tmpfs that many bytes, or what the run has taken meanwhile."""
    for more in range(0, 1 << 20, 1 << 14):
        options = f"remount,size={size + more}"
        if subprocess.run(["mount", "-o", options, str(folder)], capture_output=True).returncode == 0:
            return
    raise RuntimeError(f"{folder} cannot be resized to {size} bytes")

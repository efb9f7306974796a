"""Finished steps that several runs share: what was made once from the same inputs is taken, not made again."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from ..files import new_folder, read_json, write_json
from ..models.weights import WEIGHTS
from ..seals import whole_or_none
from .step import DONE, Step, fingerprint

TAKEN = "shared.json"  # in a step that was taken: the run that made it


class StepStore:
    """A folder of finished steps by the fingerprint of their inputs, for one run at a time in each process.

    A step keeps its id when it is taken, so the steps that build on it have the same inputs too, and are shared in
    turn. Of several processes that need a step at the same time one makes it, and the others wait. Only steps whose
    product is in their own folder are shared: teachers, baselines, stages.
    """

    def __init__(self, folder: Path, run: str):
        self.folder, self.run = folder, run
        self._held: dict[str, int] = {}  # locks of steps that this run is making, by key

    def take(self, step: Step) -> bool:
        """Puts the step of another run into its place; if there is none, this run is to make it (see `give`)."""
        if not step.product.is_relative_to(step.folder):
            return False
        key = _key(step)
        self._lock(key)
        kept = self.folder / key
        if whole_or_none(kept / DONE, f"{step.title} that runs share") is None:
            shutil.rmtree(kept, ignore_errors=True)  # damaged: `give` brings a whole one
            return False
        shutil.rmtree(step.folder, ignore_errors=True)
        with new_folder(step.folder, marker=DONE) as temporary:
            _copy(kept, temporary)
        self._release(key)
        return True

    def give(self, step: Step) -> None:
        """Keeps a finished and measured step for other runs."""
        if not step.product.is_relative_to(step.folder):
            return
        key = _key(step)
        kept = self.folder / key
        if not (kept / DONE).is_file():
            with new_folder(kept, marker=DONE) as temporary:
                _copy(step.folder, temporary)
                teacher = not step.folder.is_relative_to(step.context.folder.root)
                write_json(temporary / TAKEN, {"from": self.run, "teacher": teacher})
        self._release(key)

    def close(self) -> None:
        """Lets other processes make what this run has not finished."""
        for key in list(self._held):
            self._release(key)

    def remove_of(self, runs: str) -> None:
        """Removes the steps that were made by runs whose names begin so, but for teachers: others may have the same."""
        for record in self.folder.glob(f"*/{TAKEN}"):
            made = read_json(record)  # None: damaged, or another process has just removed it
            if not isinstance(made, dict):
                unused = record.is_file()  # one that is needed is made again
            else:
                unused = str(made.get("from")).startswith(runs) and not made.get("teacher")
            if unused:
                self._lock(record.parent.name)  # another process may be taking it
                shutil.rmtree(record.parent, ignore_errors=True)  # which may have removed it meanwhile
                self._release(record.parent.name)

    def _lock(self, key: str) -> None:
        if key in self._held:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        file = os.open(self.folder / f"{key}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX)
        self._held[key] = file

    def _release(self, key: str) -> None:
        if key in self._held:
            os.close(self._held.pop(key))


def _key(step: Step) -> str:
    return fingerprint({"step": [type(step).__name__, step.name], "inputs": step.record.inputs})


def _copy(source: Path, target: Path) -> None:
    """Weights, which nobody changes, are linked where both folders are on one disk that can; the rest is copied."""

    def copy(old: str, new: str) -> None:
        if os.path.basename(old) == WEIGHTS:
            with suppress(OSError):
                return os.link(old, new)
        shutil.copy2(old, new)

    shutil.copytree(source, target, copy_function=copy, dirs_exist_ok=True)

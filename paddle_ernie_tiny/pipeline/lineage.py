"""Which finished work still holds: every step records what decided it, and is compared before it is reused."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import write_text

DONE = "done.json"
INPUTS = "inputs.json"
PREFLIGHT = "preflight.json"  # of a run: what preflight found
RESOLVED = "config.resolved.yaml"  # of a run, in its output_dir; written before anything else there


@dataclass
class Step:
    """One step: its folder, what decides its training, and what decides its measurement."""

    name: str
    folder: Path
    train: Callable[[Path], dict]
    inputs: Callable[[], dict]  # asked for only after the steps before it are done
    product: Path  # what the step leaves; work whose product is gone is made anew
    measure: Callable[[Path], dict] | None = None
    measure_inputs: Callable[[], dict] | None = None
    shared: bool = True  # do all processes take part, where there are several?
    gate: Callable[[Path], None] | None = None  # raises GateError when what was measured must not be built upon


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file is either the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, default=float) + "\n")


def read_json(path: Path) -> Any | None:
    """The file's content; None where there is none, or where it is not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def fingerprint(value: Any) -> str:
    """Short SHA-256 of a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """What changed between two nested mappings, as `a.b: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(set(old) | set(new)):
            below = f"{path}.{key}" if path else str(key)
            found += differences(old.get(key), new.get(key), below)
        return found
    return [] if old == new else [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


class StepRecord:
    """The record of one step in its folder: `inputs.json` while it runs, `done.json` once it is finished."""

    def __init__(self, folder: Path, inputs: dict):
        self.folder, self.inputs = folder, json.loads(json.dumps(inputs))

    @property
    def done(self) -> dict | None:
        return read_json(self.folder / DONE)

    def state(self) -> tuple[str, list[str]]:
        """("done" | "resume" | "stale" | "new", what changed)."""
        done = self.done
        if done is not None:
            changed = differences(done["inputs"], self.inputs)
            return ("stale", changed) if changed else ("done", [])
        started = read_json(self.folder / INPUTS)
        if started is not None:
            changed = differences(started, self.inputs)
            return ("stale", changed) if changed else ("resume", [])
        return ("new", [])

    def begin(self, fresh: bool) -> None:
        """Opens the folder; `fresh` throws away what an earlier, different run left there."""
        if fresh and self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / INPUTS, self.inputs)

    def finish(self, result: dict) -> None:
        """Writes `done.json`, last and atomically. The id lets later steps see that this one ran again."""
        write_json(self.folder / DONE, {"id": uuid.uuid4().hex, "inputs": self.inputs, "result": result})

    def identity(self) -> str:
        """What a later step records of this one."""
        done = self.done
        return done["id"] if done else "unfinished"

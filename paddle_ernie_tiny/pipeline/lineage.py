"""Which finished work is still valid: every step records what decided it, and is compared before it is reused."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from ..files import read_json, write_json
from .layout import DONE, INPUTS


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

    def __init__(self, folder: Path, inputs: dict[str, Any]):
        self.folder, self.inputs = folder, json.loads(json.dumps(inputs))

    def state(self) -> tuple[str, list[str]]:
        """("done" | "resume" | "stale" | "new", what changed)."""
        done = read_json(self.folder / DONE)
        recorded = done["inputs"] if done is not None else read_json(self.folder / INPUTS)
        if recorded is None:
            return "new", []
        changed = differences(recorded, self.inputs)
        if changed:
            return "stale", changed
        return "resume" if done is None else "done", []

    def begin(self, fresh: bool) -> None:
        """Opens the folder; `fresh` removes what an earlier, different run left there."""
        if fresh and self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / INPUTS, self.inputs)

    def finish(self, result: dict[str, Any]) -> None:
        """Writes `done.json`, last and atomically. The id lets later steps see that this one ran again."""
        write_json(self.folder / DONE, {"id": uuid.uuid4().hex, "inputs": self.inputs, "result": result})


def identity(folder: Path) -> str:
    """What a later step records of the step in `folder`: changes whenever that one runs again."""
    done = read_json(folder / DONE)
    return done["id"] if done else "unfinished"

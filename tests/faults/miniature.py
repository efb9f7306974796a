"""Whole runs in seconds: their configurations, what they produce, when each step began, and states cut off inside."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.conftest import TINY, tiny_config, write_data

from .commands import ROOT, Command

_STEP = re.compile(r"^\[\d+/\d+\] ([^:\n]+?)(?:: (?:resuming|re-running.*))?$", re.MULTILINE)
# What decides that two runs have the same result.
_PRODUCTS = ("**/final/*.safetensors", "**/final/config.json", "**/final/tokenizer.json", "**/final/vocab.txt") + (
    "**/predictions.npz",
    "**/bundle*/model.*",
    "**/bundle*/tokenizer.json",
    "**/bundle*/vocab.txt",
    "**/data/augmented/*.jsonl",
)
# Not the logged losses: one after a resume is the mean since the resume.
_SCORES = re.compile(r"score|accuracy|agreement|kl$|metric_|max_abs_diff")


@dataclass(frozen=True)
class Variant:
    """A kind of run: what differs from the plain one, and the options of the command line."""

    name: str
    config: dict[str, Any]
    options: tuple[str, ...] = ()


_CACHED = {"teacher_signals": "cached"}
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("plain", {}),
        Variant(
            "augmented",
            {
                "augmentation": {"copies_per_row": 1, "replace_probability": 0.3},
                "export": {"rows": 8, "int8": {"calibration_rows": 16, "max_drop_points": 100.0}},
            },
        ),
        Variant("two processes", {}, ("--devices", "0,1")),
        Variant(
            "students",
            {"students": {"one": {**TINY, "num_hidden_layers": 1, "hidden_size": 8}, "two": TINY}, "student": None},
        ),
    )
}


@dataclass
class Miniature:
    """One variant in a folder: its data and configuration, and a finished run that nothing disturbed."""

    folder: Path
    variant: Variant

    @property
    def file(self) -> Path:
        """The configuration."""
        return self.folder / "run.yaml"

    @property
    def reference(self) -> Path:
        """The finished run."""
        return self.folder / "reference"

    def arguments(self, root: Path, *more: str) -> list[str]:
        """`run` of this configuration in the run folder `root`."""
        return ["run", str(self.file), f"output_dir={root}", *more, *self.variant.options]

    @property
    def timeline(self) -> list[tuple[str, float, float]]:
        """(step's name, second in which it began, seconds that it took) of the undisturbed run; import first."""
        return [tuple(entry) for entry in json.loads((self.folder / "timeline.json").read_text(encoding="utf-8"))]

    @property
    def snapshots(self) -> dict[str, Path]:
        """States of the run folder by name: cut off inside of each step that trains, and finished."""
        return {path.name: path for path in sorted((self.folder / "snapshots").iterdir()) if path.suffix != ".tmp"}


def miniature(work: Path, name: str, snapshots: tuple[str, ...] | None = ()) -> Miniature:
    """The variant's miniature below `work`, made if it is not there; only one process makes it at a time.

    snapshots: the steps, such as "baseline", inside of which a run is cut off for `Miniature.snapshots`; None: all.
    """
    folder = work / name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    made = Miniature(folder, VARIANTS[name])
    with _alone(folder / "lock"):
        if not (folder / "timeline.json").is_file():
            shutil.rmtree(made.reference, ignore_errors=True)
            _write(made)
            _run_undisturbed(made)
        if snapshots is None or snapshots:
            _make_snapshots(made, snapshots)
    return made


def _write(made: Miniature) -> None:
    data = made.folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    write_data(data, ROOT / "examples" / "data" / "demo")
    config = tiny_config(data)
    for section in (config["teacher"]["pretrain"]["training"], config["teacher"]["finetune"], config["baseline"]):
        section["save_steps"] = 2
    for stage in config["stages"]:
        stage["training"]["save_steps"] = 2
        stage.update(_CACHED if stage["stage"].startswith("task") else {})
    config["teacher"]["pretrain"]["shape"] = {**TINY, "hidden_dropout_prob": 0.1}  # random state has to be kept too
    config["student"]["hidden_dropout_prob"] = 0.1
    config.update(made.variant.config)
    config = {key: value for key, value in config.items() if value is not None}
    made.file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")


def _run_undisturbed(made: Miniature) -> None:
    command = Command.start(made.arguments(made.reference), made.folder / "reference.log")
    began, seen = time.monotonic(), [("import", 0.0)]
    while command.alive:
        names = begun(command.text)
        seen += [(name, time.monotonic() - began) for name in names[len(seen) - 1 :]]
        time.sleep(0.005)
    if command.finish(1) != 0:
        raise RuntimeError(f"the undisturbed run failed: {command.text[-2000:]}")
    ends = [start for _, start in seen[1:]] + [time.monotonic() - began]
    timeline = [(name, round(start, 3), round(end - start, 3)) for (name, start), end in zip(seen, ends, strict=True)]
    (made.folder / "timeline.json").write_text(json.dumps(timeline), encoding="utf-8")


def _make_snapshots(made: Miniature, wanted: tuple[str, ...] | None) -> None:
    """Kills a run inside each step that trains, each time further on, and copies its folder."""
    target, root = made.folder / "snapshots", made.folder / "cut"
    shutil.rmtree(root, ignore_errors=True)
    for done in sorted(made.reference.glob("**/done.json"), key=lambda path: path.stat().st_mtime):
        step = done.parent.relative_to(made.reference)
        copy = target / f"in {'-'.join(step.parts)}"
        chosen = (wanted is None or step.name in wanted) and not copy.is_dir()
        if chosen and (made.reference / step / "final").is_dir():
            command = Command.start(made.arguments(root), made.folder / "cut.log")
            command.wait_until(lambda step=step: len(list((root / step).glob("checkpoint-*"))) >= 2, 120)
            command.kill_all()
            _copy(root, copy)
    if not (target / "finished").is_dir():
        _copy(made.reference, target / "finished")


def _copy(source: Path, target: Path) -> None:
    """All of it or nothing."""
    unfinished = target.with_name(target.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished, symlinks=True)
    unfinished.rename(target)


def begun(text: str) -> list[str]:
    """The steps that a run says it has begun, as they are called on the screen."""
    return _STEP.findall(text)


def products(root: Path) -> dict[str, str]:
    """SHA-256 of all weights, tokenizers, predictions and graphs of a run folder, and its scores, by place."""
    from paddle_ernie_tiny.files import sha256

    files = sorted({path for pattern in _PRODUCTS for path in root.glob(pattern) if path.is_file()})
    found = {str(path.relative_to(root)): sha256(path) for path in files}
    for path in sorted([*root.glob("**/report.json"), *root.glob("**/metrics.json")]):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            values = {"unreadable": True}
        found[str(path.relative_to(root))] = json.dumps(_scores(values), sort_keys=True)
    return found


def _scores(value: Any, name: str = "") -> Any:
    """What is a score in a JSON value; times, ids and places differ between equal runs."""
    if isinstance(value, dict):
        kept = {key: _scores(part, key) for key, part in value.items() if key not in ("inputs", "environment")}
        return {key: part for key, part in kept.items() if part not in ({}, [], None)}
    if isinstance(value, list):
        return [part for part in (_scores(item, name) for item in value) if part not in ({}, [], None)]
    return value if isinstance(value, int | float) and _SCORES.search(name) else None


def differences(root: Path, reference: Path) -> list[str]:
    """The products of `root` that differ from the undisturbed run's, or are missing there."""
    wanted, found = products(reference), products(root)
    missing = [f"{name} is missing" for name in wanted if name not in found]
    return missing + [name for name in wanted if name in found and found[name] != wanted[name]]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""The steps of a run, their folders and records: finished work is reused while what decided it is the same."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..deploy.bundle import MANIFEST
from ..deploy.card import CARD
from ..distributed import processes
from ..files import known_sha256, read_json, text_sha256
from ..seals import FILES, SEAL, SEALED, DamageError, read_seal, sums_of, whole_or_none, write_seal
from .sources import extension_files

if TYPE_CHECKING:
    from .context import RunContext

DONE, INPUTS, METRICS, PREDICTIONS = "done.json", "inputs.json", "metrics.json", "predictions.npz"  # of a step
FINAL = "final"  # the model that a training step leaves in its folder
_OWN = ("teacher", "start", "baseline", "stages", "students", "bundle", "bundle-int8", "benchmark", "vdl", "data")
_TOLD = {CARD, MANIFEST}  # files of a bundle that the step of the card writes again
_OWN_FILES = ("config.resolved.yaml", "preflight.json", "report.json", "report.md", "report.html")


class RunFolder:
    """The places of one student's run.

    `root` holds what is the student's; teacher and prepared data are in `shared`, which is the same folder unless the
    run has several students.
    """

    def __init__(self, root: Path, shared: Path | None = None):
        self.root, self.shared = root, shared or root
        self.resolved = root / "config.resolved.yaml"  # what decided the run, written before anything else
        self.preflight = root / "preflight.json"
        self.report = root / "report.json"  # the other two are beside it
        self.seal = root / "data" / SEALED  # of a finished run: the report, the records of its steps
        # steps that train, or measure a teacher that was fine-tuned elsewhere
        self.pretrained = self.shared / "teacher" / "pretrained"
        self.finetuned = self.shared / "teacher" / "finetuned"
        self.given = self.shared / "teacher" / "given"
        self.start = root / "start"  # without a teacher: what a student that starts at random is made from
        self.baseline = root / "baseline"
        self.quantization_aware = root / "stages" / "quantization_aware"  # the last stage again
        # products after training; the records of their steps are elsewhere, see `record`
        self.bundle = root / "bundle"
        self.int8_bundle = root / "bundle-int8"
        self.benchmark = root / "benchmark"

    def stage(self, index: int, name: str) -> Path:
        """The step of the stage at `index`, from 0."""
        return self.root / "stages" / f"{index + 1}-{name}"

    def record(self, step: str) -> Path:
        """The step whose product is in one of the three folders that hold nothing but the product."""
        return self.root / "data" / step

    def prepared(self, name: str) -> Path:
        """Data that several steps use: a tokenised corpus, augmented rows, teacher signals."""
        return self.shared / "data" / name

    def student(self, name: str) -> Path:
        """The folder of one of several students."""
        return self.root / "students" / name

    def vdl(self, step: Path) -> Path:
        """The VisualDL log of a step's training."""
        root = self.root if step.is_relative_to(self.root) else self.shared
        return root / "vdl" / step.relative_to(root)

    def seal_run(self) -> None:
        """Records that the run is finished, and what its records and its report are."""
        own = [self.resolved, self.preflight, *self.root.glob("report.*")]
        records = (path for name in (DONE, METRICS) for path in self.root.rglob(name))
        own += (path for path in records if not path.is_relative_to(self.root / "students"))
        write_seal(self.seal, {}, filter(Path.is_file, own))

    def clear(self) -> None:
        """Removes all work of earlier runs; of several processes, `.launch` is already this run's."""
        for name in (*_OWN, *(() if processes() > 1 else (".launch",))):
            shutil.rmtree(self.root / name, ignore_errors=True)
        for name in _OWN_FILES:
            (self.root / name).unlink(missing_ok=True)


class Step:
    """One step of one student's run, or of the teacher.

    `folder` holds its record and what it trains. `settings` is its section of the configuration. `product` is what it
    leaves (default: the model in its folder); if that is gone, the step runs again.
    """

    name: str
    every_process = True  # do all processes of a distributed run take part?
    record: StepRecord  # since `state` was asked

    def __init__(self, context: RunContext, folder: Path, settings: Any = None, product: Path | None = None):
        self.context, self.folder, self.settings = context, folder, settings
        self.product = product or folder / FINAL

    def inputs(self) -> dict[str, Any]:
        """What decides the result, as JSON values; asked for only after the steps before it are done."""
        raise NotImplementedError

    def run(self) -> dict[str, Any]:
        """Does the work, from the last checkpoint if there is one. Returns what the record keeps.

        Paddle names parameters by a counter, and optimiser states by parameters. A run lets each step count from
        zero, so that a process that skips finished steps finds the names that its checkpoint holds.
        """
        raise NotImplementedError

    def measure_inputs(self) -> dict[str, Any] | None:
        """What decides the measurement beside the result; None: nothing is measured."""
        return None

    def measure(self) -> dict[str, Any]:
        """What `metrics.json` keeps of the finished step."""
        raise NotImplementedError

    def gate(self) -> list[str]:
        """Lines for the screen. Raises GateError if later steps must not be built on what was measured."""
        return []

    @property
    def title(self) -> str:
        """The step's name on the screen; the teacher's steps belong to no student."""
        own = self.context.student and self.folder.is_relative_to(self.context.folder.root)
        return f"{self.name} of {self.context.student}" if own else self.name

    def state(self) -> tuple[str, list[str]]:
        """("done" | "resume" | "stale" | "new", what changed since it was recorded)."""
        code = [known_sha256(file) for file in extension_files(self.context.config)]  # terms, kinds of task, metrics
        self.record = StepRecord(self.folder, {**self.inputs(), **({"extensions": code} if code else {})})
        state, changed = self.record.state()
        if state == "done" and not self.product.exists():
            return "stale", [f"{self.product} is gone"]
        return state, changed

    def files(self) -> list[Path]:
        """The product's files, for which the record vouches."""
        return _files_in(self.product if self.product.is_dir() else self.product.parent)

    def begin(self, fresh: bool) -> None:
        """Opens the folder; `fresh` removes what an earlier, different run left there. In the main process alone."""
        self.record.begin(fresh)

    def finish(self, result: dict[str, Any]) -> None:
        """Records the step as done. In the main process alone."""
        self.record.finish(result, self.files())

    def seal_old(self) -> None:
        """Gives the record of an earlier version, which has no checksums, those of the files as they are, and says so.

        In the main process alone.
        """
        begun, done = read_json(self.folder / INPUTS), read_json(self.folder / DONE)
        if isinstance(begun, dict) and SEAL not in begun:
            write_seal(self.folder / INPUTS, begun)
        if isinstance(done, dict) and set(done) == {"id", "inputs", "result"} and self.product.exists():
            print(f"  {self.folder}: finished by an earlier version; its files are taken as they are", flush=True)
            write_seal(self.folder / DONE, done, self.files())

    def remove(self) -> None:
        """Removes the step's work, so that it runs again."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def measure_if_needed(self, say: Callable[[str], None]) -> None:
        """Measures, unless that was done for the same inputs; says so before, and the score if there is one."""
        inputs = self.measure_inputs()
        if inputs is None:
            return
        decisive = fingerprint({"step": identity(self.folder), **inputs})
        known = whole_or_none(self.folder / METRICS, f"measurement of {self.title}")
        if known is not None and known["inputs"] == decisive:
            return
        say(f"{self.title}: measuring")
        values, outputs = self.measure(), self.folder / PREDICTIONS
        write_seal(self.folder / METRICS, {"inputs": decisive, **values}, [outputs] if outputs.is_file() else [])
        if (score := values.get("score")) is not None:
            say(f"{self.title}: score {score:.4f} ({values.get('score_kind', 'classifier')})")


class StepRecord:
    """The record of one step in its folder: `inputs.json` while it runs, `done.json` once it is finished.

    Both are seals; `done.json` vouches for the product's files.
    """

    def __init__(self, folder: Path, inputs: dict[str, Any]):
        self.folder, self.inputs = folder, json.loads(json.dumps(inputs))
        self._before: dict[str, Any] = {}  # the record of the same step whose files are damaged

    def state(self) -> tuple[str, list[str]]:
        """("done" | "resume" | "stale" | "new", what changed, or which file is damaged)."""
        try:
            self._before = read_seal(self.folder / DONE, files=False) or {}
            done = read_seal(self.folder / DONE)
            recorded = done["inputs"] if done is not None else read_seal(self.folder / INPUTS)
        except DamageError as damage:
            return "stale", [f"{damage.where}: {damage.what}"]
        if recorded is None:
            left = self.folder.is_dir() and any(self.folder.iterdir())
            return ("stale", [f"{self.folder / INPUTS}: the file is gone"]) if left else ("new", [])
        changed = differences(recorded, self.inputs)
        if changed:
            return "stale", changed
        return "resume" if done is None else "done", []

    def begin(self, fresh: bool) -> None:
        """Opens the folder; `fresh` removes what an earlier, different run left there."""
        if fresh and self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_seal(self.folder / INPUTS, self.inputs)

    def finish(self, result: dict[str, Any], files: Iterable[Path] = ()) -> None:
        """Writes `done.json`, last and atomically, once `files` are on the disk.

        The id lets later steps see that this one ran again. Where it ran again because a file was damaged, and made the
        same files, it keeps its id.
        """
        seal, files, before = self.folder / DONE, list(files), self._before
        same = FILES in before and before["inputs"] == self.inputs
        same = same and _made(before[FILES]) == _made(sums_of(seal, files))
        identifier = before["id"] if same else uuid.uuid4().hex
        write_seal(seal, {"id": identifier, "inputs": self.inputs, "result": result}, files)


def seal_again(folder: Path, product: Path) -> None:
    """Lets the record in `folder` vouch for its product's files as they are now; the step keeps its id."""
    done = read_seal(folder / DONE, files=False) or {}
    write_seal(folder / DONE, {key: done[key] for key in ("id", "inputs", "result")}, _files_in(product))


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _made(sums: dict[str, str]) -> dict[str, str]:
    """The checksums of what a step alone has made."""
    return {name: digest for name, digest in sums.items() if Path(name).name not in _TOLD}


def identity(folder: Path) -> str:
    """What a later step records of the step in `folder`: changes whenever that one runs again."""
    done = read_seal(folder / DONE, files=False)
    return done["id"] if done else "unfinished"


def fingerprint(value: Any) -> str:
    """Short SHA-256 of a JSON value."""
    return text_sha256(json.dumps(value, sort_keys=True, ensure_ascii=False))[:16]


_DECIDE_NOTHING = {"per_device_eval_batch_size", "logging_steps"}  # what earlier versions recorded all the same


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """What changed between two nested mappings, as `a.b: old -> new`.

    A switch that is off is as one that an earlier version did not know.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted((set(old) | set(new)) - _DECIDE_NOTHING):
            found += differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if old == new or (old is None and new is False) else [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."

"""The layout of a run folder: where each step works, and where its products are."""

from __future__ import annotations

import shutil
from pathlib import Path

DONE, INPUTS, METRICS, PREDICTIONS = "done.json", "inputs.json", "metrics.json", "predictions.npz"  # of a step
FINAL = "final"  # the model that a training step leaves in its folder
_OWN = ("teacher", "baseline", "stages", "students", "bundle", "bundle-int8", "benchmark", "vdl", "data")


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
        # steps that train, or measure a teacher that was fine-tuned elsewhere
        self.pretrained = self.shared / "teacher" / "pretrained"
        self.finetuned = self.shared / "teacher" / "finetuned"
        self.given = self.shared / "teacher" / "given"
        self.baseline = root / "baseline"
        # products after training; the records of their steps are elsewhere, see `record`
        self.bundle = root / "bundle"
        self.int8_bundle = root / "bundle-int8"
        self.benchmark = root / "benchmark"

    def stage(self, index: int, name: str) -> Path:
        """The step of the stage at `index`, from 0."""
        return self.root / "stages" / f"{index + 1}-{name}"

    def record(self, step: str) -> Path:
        """The step whose product is one of the three folders that hold nothing but the product."""
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

    def clear(self) -> None:
        """Removes all work of earlier runs."""
        for name in _OWN:
            shutil.rmtree(self.root / name, ignore_errors=True)

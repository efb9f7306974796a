"""The layout of a run folder: where each step works, and where its products are."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

DONE, INPUTS, METRICS, PREDICTIONS = "done.json", "inputs.json", "metrics.json", "predictions.npz"  # of a step
FINAL = "final"  # the model that a training step leaves in its folder
_OWN = ("teacher", "baseline", "stages", "students", "bundle", "bundle-int8", "benchmark", "vdl", "data")


@dataclass(frozen=True)
class RunFolder:
    """The places of one student's run.

    `root` holds what is the student's; teacher and prepared data are in `shared`, which is the same folder unless the
    run has several students.
    """

    root: Path
    shared: Path

    @property
    def resolved(self) -> Path:
        """The configuration that decided the run, written before anything else."""
        return self.root / "config.resolved.yaml"

    @property
    def preflight(self) -> Path:
        """What preflight found."""
        return self.root / "preflight.json"

    @property
    def report(self) -> Path:
        """report.json; the other two are beside it."""
        return self.root / "report.json"

    @property
    def pretrained(self) -> Path:
        """The step that pre-trains the teacher."""
        return self.shared / "teacher" / "pretrained"

    @property
    def finetuned(self) -> Path:
        """The step that fine-tunes the teacher."""
        return self.shared / "teacher" / "finetuned"

    @property
    def given(self) -> Path:
        """The step that measures a teacher that was fine-tuned elsewhere."""
        return self.shared / "teacher" / "given"

    @property
    def baseline(self) -> Path:
        """The step that fine-tunes the student without distillation."""
        return self.root / "baseline"

    def stage(self, index: int, name: str) -> Path:
        """The step of the stage at `index`, from 0."""
        return self.root / "stages" / f"{index + 1}-{name}"

    def together(self, index: int, name: str) -> Path:
        """Where several students train together in the stage at `index`, while that lasts."""
        return self.shared / "stages" / f"{index + 1}-{name}"

    @property
    def bundle(self) -> Path:
        """The exported student."""
        return self.root / "bundle"

    @property
    def int8_bundle(self) -> Path:
        """The exported student in int8."""
        return self.root / "bundle-int8"

    @property
    def benchmark(self) -> Path:
        """Speed of teacher and student."""
        return self.root / "benchmark"

    def record(self, step: str) -> Path:
        """The step whose product is one of the three folders above, which hold nothing but the product."""
        return self.root / "data" / step

    def prepared(self, name: str) -> Path:
        """Data that several steps use: a tokenised corpus, augmented rows, teacher signals."""
        return self.shared / "data" / name

    def vdl(self, step: Path) -> Path:
        """The VisualDL log of a step's training."""
        root = self.root if step.is_relative_to(self.root) else self.shared
        return root / "vdl" / step.relative_to(root)

    def student(self, name: str) -> RunFolder:
        """The folder of one of several students."""
        return RunFolder(self.root / "students" / name, self.shared)

    def clear(self) -> None:
        """Removes all work of earlier runs."""
        for name in _OWN:
            shutil.rmtree(self.root / name, ignore_errors=True)

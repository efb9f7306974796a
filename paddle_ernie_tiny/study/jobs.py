"""The jobs of a study: one variant of one task with one seed, where it works, and what is recorded of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import RunConfig, check_config
from ..config.load import on_top_of
from ..errors import ErnieTinyError, InputError
from ..kinds import Kind
from ..kinds.scored import Scored
from ..machine import import_paddle
from ..pipeline.sources import Sources
from ..pipeline.step import FINAL, PREDICTIONS, fingerprint
from ..pipeline.step_store import StepStore
from ..seals import whole_or_none, write_seal
from .study_settings import StudySettings
from .variants import VARIANTS

RECORD, PROGRESS = "job.json", "progress.json"  # of a finished job; what one at work does
_SHARED = {"task", "data", "teacher", "general_corpus", "augmentation", "seed", "extensions"}  # what decides a teacher
_DECIDE_NOTHING = {"output_dir", "signals_folder", "save_minutes", "export", "benchmark", "card"}  # in a study
_ROWS = {"task", "data", "general_corpus", "augmentation", "teacher"}  # what decides how many there are
_STEPS = {"max_steps", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"}


@dataclass(frozen=True, eq=False)
class Job:
    """A variant of a task with a seed. `config` is its run before steps are made equal; `root` the study's folder.

    store: folder of the steps that several jobs have in common.
    reference: the run whose steps it gets where they are made equal.
    """

    task: str
    seed: int
    variant: str
    config: RunConfig
    fine_tuned: bool
    root: Path
    store: Path
    reference: RunConfig | None = None

    @property
    def name(self) -> str:
        """Unique in the study; also its folder there."""
        return f"{self.task}/seed-{self.seed}/{self.variant}/"

    @property
    def group(self) -> tuple[str, int]:
        """Task and seed: its jobs run one after the other."""
        return self.task, self.seed

    @property
    def folder(self) -> Path:
        """Where it works."""
        return self.root / self.name

    @property
    def shared(self) -> Path:
        """Teacher and prepared data, for all variants that do not change them."""
        decides = self.config.model_dump(mode="json", include=_SHARED)
        return self.folder.parent / f"shared-{fingerprint(decides)[:8]}"

    def key(self, settings: StudySettings) -> str:
        """Changes with everything that decides its result."""
        left_out = _DECIDE_NOTHING | ({"objective", "stages"} if self.fine_tuned else {"baseline"})
        config = self.config.model_dump(mode="json", exclude=left_out)
        decisive = {"steps", *(["rates"] if self.fine_tuned else [])} if settings.equal_steps else set()
        study = settings.model_dump(mode="json", include={"equal_steps", *decisive})
        reference = self.reference if settings.equal_steps and settings.steps is None else None
        how = [config, study, reference and _steps(reference), Sources(self.config).sums]
        return fingerprint([*how, "fine-tuned"] if self.fine_tuned else how)

    def record(self, settings: StudySettings) -> dict[str, Any] | None:
        """What a finished job has recorded; None: it is not finished, or changed since, or damaged."""
        known = whole_or_none(self.folder / RECORD, self.name[:-1])
        return known if known and known["key"] == self.key(settings) else None

    def finish(self, key: str, values: dict[str, Any]) -> None:
        """Records the job as done. key: its key from before the work, as files may have changed since."""
        write_seal(self.folder / RECORD, {"key": key, **values}, [self.folder / PREDICTIONS])

    def scored(self, kind: Kind, labels: list[str]) -> Scored:
        """The answers of its student to the scored split."""
        with np.load(self.folder / PREDICTIONS) as arrays:
            return kind.of_arrays(dict(arrays), labels)


@dataclass(frozen=True)
class Group:
    """What a process is to do: the jobs that are not finished, and the reference, whose steps the others get.

    last: no job of the same task and seed is left for later.
    """

    jobs: list[Job]
    reference: Job
    settings: StudySettings
    last: bool


def run_group(group: Group) -> dict[str, ErnieTinyError]:
    """What a fresh process calls: see `do_jobs`. Imports Paddle in its way, before anything else does."""
    import_paddle()
    from .group import do_jobs

    return do_jobs(group)


def clean_up(job: Job, settings: StudySettings) -> None:
    """Removes what only the jobs of this one's group could have used again: gigabytes, on task data."""
    if not settings.keep_models:
        if settings.store_folder is None:
            StepStore(job.store, job.name).remove_of(f"{job.task}/seed-{job.seed}/")
        for final in job.folder.parent.glob(f"*/**/{FINAL}"):  # students that a kill has left behind
            if not final.relative_to(job.folder.parent).parts[0].startswith("shared-"):
                shutil.rmtree(final)
    for signals in job.folder.parent.glob("shared-*/data/signals"):
        shutil.rmtree(signals)


def given_steps(config: RunConfig) -> list[int] | None:
    """Optimiser steps of each stage; None: some stage gives epochs, whose steps are known once there is the data."""
    steps = [stage.training.max_steps for stage in config.stages if stage.training.max_steps]
    return steps if len(steps) == len(config.stages) else None


def shared_out(steps: list[int], total: int, where: str = "steps") -> list[int]:
    """As many steps for each stage in proportion, `total` in all; none has 0. Raises InputError."""
    ends = [round(sum(steps[: index + 1]) * total / sum(steps)) for index in range(len(steps))]
    parts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    if min(parts) < 1:
        given = ", ".join(map(str, steps))
        what = f"{total} steps are too few: shared out as {given}, some stage would get none"
        raise InputError(what, where, "give more steps, or take the shortest stage out")
    return parts


def steps_too_few(job: Job, settings: StudySettings) -> InputError | None:
    """The error that a stage of the job would get no step, as far as that is known without the data."""
    if not settings.equal_steps or job.fine_tuned or job.reference is None:
        return None
    total = settings.steps or sum(given_steps(job.reference) or [])
    own, count = given_steps(job.config), len(job.config.stages)
    where = f"variant {job.variant} of task {job.task}: steps"
    if own is None and 0 < total < count:
        return InputError(f"{total} steps are too few for {count} stages", where, "give more steps")
    try:
        if own and total:  # else the data decides them
            shared_out(own, total, where)
    except InputError as error:
        return error
    return None


def _steps(config: RunConfig) -> list[Any]:
    """What decides the optimiser steps of a run's stages."""
    stages = [[stage.stage, stage.training.model_dump(include=_STEPS)] for stage in config.stages]
    return [stages, config.model_dump(mode="json", include=_ROWS)]


def make_job(
    settings: StudySettings, mapping: dict[str, Any], teacher: dict[str, Any] | None, task: str, seed: int, variant: str
) -> Job:
    """The job of a variant. mapping: of the task's run; teacher: sizes of its teacher, where they are known.

    Raises NotApplicable for a variant that the run cannot have, InputErrors for a configuration that is wrong.
    """
    (name, own), where = settings.changes(variant), f"variant {variant} of task {task}"
    row, root = VARIANTS[name], Path(settings.output_dir)
    raw = on_top_of(row.of(mapping, teacher), own, where)
    raw |= {"output_dir": str(root / task / f"seed-{seed}" / variant / "run"), "seed": seed}
    config = check_config(raw, where)
    if config.students is not None:
        raise InputError("a study compares variants of one student", f"{where}: students", "give student")
    if row.fine_tuned and config.baseline is None:
        raise InputError("this variant is fine-tuned as `baseline` says, and there is none", where, "give baseline")
    store = root / ".store" if settings.store_folder is None else Path(settings.store_folder)
    return Job(task, seed, variant, config, row.fine_tuned, root, store)

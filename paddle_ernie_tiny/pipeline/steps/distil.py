"""The step that distils: one stage, from the student of the stage before it (or its start) to its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...distillation.objective import Objective
from ...distillation.students import DistilledStudent
from ...distillation.trainers import TRAINERS, DistillationTrainer
from ...distributed import is_main
from ...models.weights import save_model
from ...terms import TERMS
from ...training.trainer import Training, remove_checkpoints, training_arguments
from ..context import RunContext
from ..kept_signals import stage_teacher
from ..layout import FINAL
from ..lineage import identity
from ..measure import LATENT_SPLITS, latent_settings, measure_stage
from ..step import Step
from .classifiers import dev_score


class Distil(Step):
    """One distillation stage of one student; `name` tells a stage that is repeated apart by a number."""

    def __init__(self, context: RunContext, index: int, name: str):
        super().__init__(context)
        self.index, self.name = index, name
        self.stage, self.settings = context.stage(index), context.config.stages[index]
        self.folder = context.stage_folder(index)
        self.product = self.folder / FINAL

    def run(self) -> dict[str, Any]:
        context, stage = self.context, self.stage
        model = context.load_teacher(stage.teacher)
        objective, student = context.load_student(self.index, model, context.student_before(self.index))
        trainer = stage_trainer(context, self.index, self.folder, model, student, objective)
        result = {**trainer.fit(), "objective": objective.equation()}
        trainer.teacher.sync()
        if stage.data == "task" and context.config.augmentation is not None:
            made = context.augmented
            result["augmentation"] = {"rows": len(made.examples), "given_up": made.given_up, "samples": made.samples}
        save_student(context, student, self.product)
        remove_checkpoints(self.folder)
        return result

    def inputs(self) -> dict[str, Any]:
        context, config, stage = self.context, self.context.config, self.stage
        upstream = {f"{stage.teacher} teacher": context.teacher_identity(stage.teacher)}
        values = {
            "seed": config.seed,
            "kind": context.data.kind.name,
            "labels": context.data.labels,
            "student": config.student.model_dump(mode="json"),
            "training": self.settings.training.decisive(),
            "teacher_signals": self.settings.teacher_signals,
            "objective": self._objective_inputs(),
            "upstream": upstream,
        }
        if self.index:
            upstream["student"] = identity(context.stage_folder(self.index - 1))
        else:
            upstream.update(context.start_inputs())
        if stage.data == "general":
            return {**values, "general_corpus": context.corpus_inputs()}
        if config.augmentation is not None:
            values["augmentation"] = config.augmentation.model_dump(mode="json", exclude={"rows_per_batch"})
            upstream["masked language model"] = context.teacher_identity("pretrained")
        return {**values, **context.task_inputs()}

    def _objective_inputs(self) -> dict[str, Any]:
        """Of the objective, only what this stage uses: a new temperature does not make a latent stage stale."""
        unused = {name for name, term in TERMS.items() if not (term.latent or self.stage.label_terms)}
        return self.context.config.stage_objective(self.index).model_dump(mode="json", exclude=unused)

    def measure_inputs(self) -> dict[str, Any]:
        context, pairs = self.context, latent_settings(self.context)
        return {
            **context.test_inputs(),
            "latent": [pairs, LATENT_SPLITS],
            "teachers": {teacher: context.teacher_identity(teacher) for teacher, _ in pairs},
            "corpus": context.corpus_inputs() if any(data == "general" for _, data in pairs) else None,
        }

    def measure(self) -> dict[str, Any]:
        return measure_stage(self.context, self.index, self.folder, self.product)


def stage_trainer(
    context: RunContext, index: int, folder: Path, model: Any, student: Any, objective: Objective
) -> DistillationTrainer:
    """The trainer of a stage, with checkpoints in `folder`; `model` is the teacher. Prints the objective."""
    settings, stage = context.config.stages[index], context.stage(index)
    rows = context.stage_rows(index)
    teacher = stage_teacher(context, model, objective, stage, settings, rows)
    args = training_arguments(settings.training, len(rows), folder, context.folder.vdl(folder), context.config.seed)
    score = dev_score(context, student.classifier, settings.training) if stage.label_terms else None
    if is_main():
        print(f"  {objective.equation()}", flush=True)
        print(f"  layer map (student: teacher) {objective.layers}", flush=True)
    training = Training(args, rows, context.tokenizer.pad_id, stage.title, score, context.watcher)
    return TRAINERS[stage.name](student, teacher, objective, training)


def save_student(context: RunContext, student: DistilledStudent, folder: Path) -> None:
    """Writes the student's model folder, with its projections for the next stage."""
    save_model(student.classifier, context.tokenizer, folder, student.projection_arrays())

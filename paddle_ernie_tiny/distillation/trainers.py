"""The distillation trainer, one for each of the four stages, and the terms measured outside training."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import paddle

from ..data.rows import EncodedRows
from ..models.student import DistilledStudent
from ..stages import STAGES, Stage
from ..training.batches import NumberedRows, collate, sorted_batches
from ..training.trainer import ToolkitTrainer
from ..watch import Watcher
from .objective import Objective
from .teacher import CachedTeacher, Teacher


class DistillationTrainer(ToolkitTrainer):
    """One training step: the teacher's forward pass, the student's, named terms, their weighted sum."""

    stage: ClassVar[Stage]

    def __init__(
        self,
        student: DistilledStudent,
        teacher: Teacher | CachedTeacher,
        objective: Objective,
        args: Any,
        rows: Any,
        pad_id: int,
        evaluate_with: Any = None,
        watcher: Watcher | None = None,
    ):
        self.teacher, self.objective = teacher, objective
        for classifier in student.classifiers:
            for parameter in _head_parameters(classifier):
                parameter.stop_gradient = not self.stage.label_terms
        super().__init__(student, args, NumberedRows(rows), pad_id, self.stage.title, evaluate_with, watcher)

    def compute_loss(self, model: Any, inputs: dict[str, paddle.Tensor], return_outputs: bool = False) -> paddle.Tensor:
        """The loss of one batch, a scalar.

        inputs: input_ids, token_type_ids int64 and attention_mask float32 [batch, length]; rows int64 [batch], the
        rows' numbers; labels as the kind of task has them, or none.
        """
        labels, rows = inputs.pop("labels", None), inputs.pop("rows")
        teacher = self.teacher(inputs, rows)
        student = model(**inputs)
        mask = inputs["attention_mask"]
        values = self.objective(student, teacher, mask, labels)
        values = self.over_all(values, self.objective.counts(mask, labels))
        self.record(values)
        return self.objective.total(values, self.state.global_step / self.args.max_steps)

    def create_optimizer(self, lr_scheduler: Any = None) -> Any:
        """PaddleNLP's AdamW, with the student's own way of clipping gradients."""
        optimizer = super().create_optimizer(lr_scheduler)
        if self.args.max_grad_norm > 0:
            optimizer._grad_clip = self.model.gradient_clip(self.args.max_grad_norm)
        return optimizer

    def _save_checkpoint(self, model, metrics=None):
        self.teacher.sync()
        super()._save_checkpoint(model, metrics=metrics)


class GeneralDistillation(DistillationTrainer):
    """Pretrained teacher, general text, latent terms."""

    stage = STAGES["general"]


class GeneralEnhancedDistillation(DistillationTrainer):
    """Changes the teacher: the fine-tuned one."""

    stage = STAGES["general_enhanced"]


class TaskAdaptiveDistillation(DistillationTrainer):
    """Changes the data: the task's own."""

    stage = STAGES["task_adaptive"]


class TaskSpecificDistillation(DistillationTrainer):
    """Changes the objective: soft and hard labels join the latent terms."""

    stage = STAGES["task_specific"]


TRAINERS: dict[str, type[DistillationTrainer]] = {
    trainer.stage.name: trainer
    for trainer in (
        GeneralDistillation,
        GeneralEnhancedDistillation,
        TaskAdaptiveDistillation,
        TaskSpecificDistillation,
    )
}


def distilled_student(classifier: Any, objective: Objective, teacher_width: int) -> DistilledStudent:
    """Wraps a student classifier with the captures and projections that the objective needs."""
    return DistilledStudent(classifier, objective.needs("student"), teacher_width, objective.projection)


def measure_terms(
    student: DistilledStudent,
    teacher: Teacher,
    objective: Objective,
    rows: EncodedRows,
    pad_id: int,
    batch_size: int = 32,
) -> dict[str, float]:
    """Mean latent terms on given rows, dropout off; batches are weighted by their number of rows."""
    student.eval()
    sums: dict[str, float] = {}
    with paddle.no_grad():
        for indices in sorted_batches(rows, batch_size):
            batch = collate([rows[int(i)] for i in indices], pad_id)
            batch.pop("labels", None)
            inputs = {name: paddle.to_tensor(value) for name, value in batch.items()}
            values = objective(student(**inputs), teacher(inputs), inputs["attention_mask"])
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
    return {name: float(np.round(value / len(rows), 6)) for name, value in sums.items()}


def _head_parameters(classifier):
    """Classifier and pooler: latent terms give them no gradient, so only label terms train them."""
    return [p for name, p in classifier.named_parameters() if "classifier" in name or "pooler" in name]

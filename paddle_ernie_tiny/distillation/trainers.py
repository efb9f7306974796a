"""The distillation trainer, one for each of the four stages, and the terms measured outside training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import paddle

from ..data.rows import EncodedRows
from ..stages import STAGES, Stage
from ..training.batches import NumberedRows, input_batches
from ..training.trainer import ToolkitTrainer, Training
from .objective import Objective
from .students import ClipEachStudent, DistilledStudent, JointStudents, students_of
from .teacher import Teacher


class DistillationTrainer(ToolkitTrainer):
    """One training step: the teacher's forward pass, the student's, named terms, their weighted sum."""

    stage: ClassVar[Stage]

    def __init__(
        self, student: DistilledStudent | JointStudents, teacher: Teacher, objective: Objective, training: Training
    ):
        self.teacher, self.objective = teacher, objective
        for each in students_of(student):
            for name, parameter in each.classifier.named_parameters():
                if "classifier" in name or "pooler" in name:  # latent terms give them no gradient
                    parameter.stop_gradient = not self.stage.label_terms
        super().__init__(student, replace(training, rows=NumberedRows(training.rows)))

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
        """PaddleNLP's AdamW, with the gradients of each student clipped alone."""
        optimizer = super().create_optimizer(lr_scheduler)
        if self.args.max_grad_norm > 0:
            optimizer._grad_clip = ClipEachStudent(self.args.max_grad_norm, students_of(self.model))
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


def measure_terms(
    student: DistilledStudent, teacher: Teacher, objective: Objective, rows: EncodedRows, pad_id: int
) -> dict[str, float]:
    """Mean latent terms on given rows, dropout off; batches are weighted by their number of rows."""
    student.eval()
    sums: dict[str, float] = {}
    with paddle.no_grad():
        for indices, inputs in input_batches(rows, pad_id, 32):
            values = objective(student(**inputs), teacher(inputs), inputs["attention_mask"])
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
    return {name: float(np.round(value / len(rows), 6)) for name, value in sums.items()}

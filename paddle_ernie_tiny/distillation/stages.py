"""The distillation trainer and the four stages of ERNIE-Tiny (arXiv 2106.02241).

Distillation has three components: teacher, data, objective. Each stage below follows the one above it and
changes exactly one of them. Steps, rates and batch sizes are configuration.
"""

from __future__ import annotations

import numpy as np
import paddle

from ..config import ObjectiveSettings
from ..models.student import DistilledStudent
from ..training.batches import EncodedRows, NumberedRows, collate, sorted_batches
from ..training.trainer import ToolkitTrainer
from .objective import Objective
from .teacher import CachedTeacher, Teacher
from .together import ClipEachStudent, JointObjective, JointStudents


class DistillationTrainer(ToolkitTrainer):
    """One training step: teacher forward, student forward, named terms, weighted sum."""

    name: str
    title: str
    teacher_kind: str  # "pretrained" or "finetuned"
    data_kind: str  # "general" or "task"
    label_terms: bool  # are soft and hard labels part of the objective?

    def __init__(
        self,
        student: DistilledStudent | JointStudents,
        teacher: Teacher | CachedTeacher,
        objective: Objective | JointObjective,
        args,
        rows,
        pad_id,
        evaluate_with=None,
    ):
        self.teacher, self.objective = teacher, objective
        head_trains = self.label_terms
        for classifier in student.classifiers:
            for parameter in _head_parameters(classifier):
                parameter.stop_gradient = not head_trains
        super().__init__(student, args, NumberedRows(rows), pad_id, self.title, evaluate_with)

    def compute_loss(self, model, inputs, return_outputs=False):
        labels, rows = inputs.pop("labels", None), inputs.pop("rows")
        teacher_logits, teacher_states = self.teacher(inputs, rows)
        student_logits, student_states = model(**inputs)
        mask = inputs["attention_mask"]
        values = self.objective(student_states, teacher_states, mask, student_logits, teacher_logits, labels)
        values = self.over_all(values, self.objective.counts(mask, labels))
        self.record(values)
        return self.objective.total(values, self.state.global_step / self.args.max_steps)

    def create_optimizer(self, lr_scheduler=None):
        optimizer = super().create_optimizer(lr_scheduler)
        if isinstance(self.model, JointStudents) and self.args.max_grad_norm > 0:
            optimizer._grad_clip = ClipEachStudent(self.args.max_grad_norm, dict(self.model.students.items()))
        return optimizer

    def _save_checkpoint(self, model, metrics=None):
        self.teacher.sync()
        super()._save_checkpoint(model, metrics=metrics)


class GeneralDistillation(DistillationTrainer):
    """Pretrained teacher, general text, latent terms."""

    name, title = "general", "general distillation"
    teacher_kind, data_kind, label_terms = "pretrained", "general", False


class GeneralEnhancedDistillation(GeneralDistillation):
    """Changes the teacher: the fine-tuned one."""

    name, title = "general_enhanced", "general-enhanced distillation"
    teacher_kind = "finetuned"


class TaskAdaptiveDistillation(GeneralEnhancedDistillation):
    """Changes the data: the task's own."""

    name, title = "task_adaptive", "task-adaptive distillation"
    data_kind = "task"


class TaskSpecificDistillation(TaskAdaptiveDistillation):
    """Changes the objective: soft and hard labels join the latent terms."""

    name, title = "task_specific", "task-specific distillation"
    label_terms = True


STAGES = {
    stage.name: stage
    for stage in (
        GeneralDistillation,
        GeneralEnhancedDistillation,
        TaskAdaptiveDistillation,
        TaskSpecificDistillation,
    )
}


def build_objective(
    settings: ObjectiveSettings,
    student_config,
    teacher_config,
    stage: type[DistillationTrainer],
    label_terms=None,
    kind: str = "classification",
) -> Objective:
    """The objective of a stage for this pair of models; `label_terms=False` leaves its latent terms alone."""
    wanted = stage.label_terms if label_terms is None else label_terms
    return Objective(settings, student_config, teacher_config, wanted, kind)


def distilled_student(classifier, objective: Objective, teacher_width: int) -> DistilledStudent:
    """Wraps a student classifier with the captures and projections that the objective needs."""
    return DistilledStudent(classifier, objective.needs("student"), teacher_width, objective.settings.projection)


def measure_terms(
    student: DistilledStudent,
    teacher: Teacher,
    objective: Objective,
    rows: EncodedRows,
    pad_id: int,
    batch_size: int = 32,
) -> dict[str, float]:
    """Mean latent terms on given rows, dropout off; batches weigh by their number of rows."""
    student.eval()
    sums: dict[str, float] = {}
    with paddle.no_grad():
        for indices in sorted_batches(rows, batch_size):
            batch = collate([rows[int(i)] for i in indices], pad_id)
            batch.pop("labels", None)
            inputs = {name: paddle.to_tensor(value) for name, value in batch.items()}
            _, teacher_states = teacher(inputs)
            _, student_states = student(**inputs)
            for name, value in objective(student_states, teacher_states, inputs["attention_mask"]).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
    return {name: float(np.round(value / len(rows), 6)) for name, value in sums.items()}


def _head_parameters(classifier):
    """Classifier and pooler: latent terms give them no gradient, so only label terms train them."""
    return [p for name, p in classifier.named_parameters() if "classifier" in name or "pooler" in name]

"""The distillation trainer, one for each of the four stages, and the terms measured outside training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import paddle
from paddle import Tensor, nn

from ..data.rows import EncodedRows
from ..distributed import is_main
from ..stages import STAGES, Stage
from ..terms import Captured
from ..training.batches import NumberedRows, collate, input_batches
from ..training.trainer import ToolkitTrainer, Training
from .students import DistilledStudent
from .teacher import Teacher
from .teacher_engine import INPUTS

PARITY = 1e-4  # of a term's value: how far an engine's may be from the dynamic graph's
SMALL = 0.01  # smaller values are compared as this one: what is left of float32 is noise


class DistillationTrainer(ToolkitTrainer):
    """One training step: the teacher's forward pass, the student's, named terms, their weighted sum."""

    stage: ClassVar[Stage]

    def __init__(self, student: nn.Layer, teacher: Teacher, training: Training):
        """student: a `DistilledStudent`, or what a subclass's `compute_loss` knows how to train."""
        self.teacher = teacher
        super().__init__(student, replace(training, rows=NumberedRows(training.rows)))

    def make_batch(self, rows: list[dict]) -> dict[str, np.ndarray]:
        """A collated batch; of `PairedRows` it also holds the teacher's ids of the same rows, as "teacher_..."."""
        batch = super().make_batch(rows)
        if "teacher" in rows[0]:
            own = collate([row["teacher"] for row in rows], self.teacher.pad_id)
            batch |= {f"teacher_{name}": own[name] for name in INPUTS}
        return batch

    def ask_teacher(self, inputs: dict[str, Tensor]) -> Captured:
        """The teacher's answers for a batch, on its own ids where it has some; takes them out of `inputs`.

        Logits of tagged rows are turned to the student's tokens: [batch, length, labels]. Those of rows with a soft
        label of their own (`soft`, float32 [batch, labels]) are replaced by it.
        """
        rows, at, soft = inputs.pop("rows"), inputs.pop("teacher_at", None), inputs.pop("soft", None)
        own = {name: inputs.pop(f"teacher_{name}") for name in INPUTS if f"teacher_{name}" in inputs}
        answers = self.teacher(own or inputs, rows)
        if at is not None and answers.logits is not None:
            places = at.unsqueeze(-1).expand([-1, -1, answers.logits.shape[-1]])
            answers.logits = paddle.take_along_axis(answers.logits, places, axis=1, broadcast=False)
        if soft is not None and answers.logits is not None:
            answers.logits = paddle.where(paddle.isnan(soft), answers.logits.astype("float32"), soft)
        elif soft is not None and self.teacher.model is None:
            answers.logits, answers.known = soft, ~paddle.isnan(soft).any(axis=-1)
        return answers

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False) -> Tensor:
        """The loss of one batch, a scalar.

        inputs: input_ids, token_type_ids int64 and attention_mask float32 [batch, length]; rows int64 [batch], the
        rows' numbers; labels as the kind of task has them, or none; what `make_batch` adds of the teacher.
        """
        labels, teacher = inputs.pop("labels", None), self.ask_teacher(inputs)
        values, loss = self.student_loss(model, teacher, inputs, labels)
        self.record(values)
        return loss

    def try_teacher(self) -> dict[str, Any]:
        """Asks the teacher about the first rows in its engine and in the dynamic graph, before training.

        If the value of a term differs by more than `PARITY` of it, or the engine cannot run, the dynamic graph is used,
        and that is printed. Returns what the stage records: the engine, and the largest difference or why not.
        """
        teacher, wanted = self.teacher, self.teacher.engine
        if wanted == "dynamic" or (teacher.cache is not None and teacher.cache.filled.all()):
            return {"engine": "dynamic" if wanted == "dynamic" else "none: all signals are on the disk"}
        size = min(self.args.per_device_train_batch_size, len(self.train_dataset))
        batch = self.make_batch([self.train_dataset[row] for row in range(size)])
        values = {}
        try:
            for teacher.engine in ("dynamic", wanted):
                values[teacher.engine] = self._first_values(batch)
            difference = np.abs(values[wanted] - values["dynamic"])
            apart = np.max(difference / np.maximum(values["dynamic"], SMALL))
            if apart <= PARITY:  # not so if it is no number
                if is_main():
                    print(f"  teacher: engine {wanted}; its losses are the dynamic graph's to {apart:.0e}", flush=True)
                return {"engine": wanted, "largest_difference": float(f"{apart:.1e}")}
            why = f"its losses are up to {apart:.1e} from the dynamic graph's, {PARITY:g} of them is allowed"
        except (RuntimeError, ValueError, OSError, LookupError, TypeError) as error:  # Paddle's classes follow no rule
            why = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"
        teacher.engine = "dynamic"
        print(f"  teacher: the dynamic graph is used; the engine {wanted} was refused: {why}", flush=True)
        return {"engine": "dynamic", "refused": f"{wanted}: {why}"}

    @paddle.no_grad()
    def _first_values(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """The terms' values on a batch, float [terms]: dropout off, and a cache not asked."""
        self.model.eval()
        inputs: dict[str, Any] = {**{name: paddle.to_tensor(value) for name, value in batch.items()}, "rows": None}
        labels, answers = inputs.pop("labels", None), self.ask_teacher(inputs)
        mask = inputs["attention_mask"]
        found = [student.objective(student(**inputs), answers, mask, labels) for student in self.students]
        return np.array([float(value) for each in found for value in each.values()])

    @property
    def students(self) -> list[DistilledStudent]:
        """All that learn from the teacher here."""
        return [self.model]

    def student_loss(
        self, student: DistilledStudent, teacher: Captured, inputs: dict[str, Tensor], labels: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The value of each term of a student's objective by name, and their weighted sum: scalars.

        teacher: what the teacher gave for the same batch; inputs and labels as in `compute_loss`.
        """
        objective, mask = student.objective, inputs["attention_mask"]
        values = objective(student(**inputs), teacher, mask, labels)
        values = self.over_all(values, objective.counts(mask, labels, teacher.known))
        return values, objective.total(values, self.state.global_step / self.args.max_steps)

    def kept(self) -> dict[str, Any]:
        """Of cached signals: in which folder how many rows are on disk."""
        cache = self.teacher.cache
        return {**super().kept(), "signals": cache and [cache.folder.name, int(cache.filled.sum())]}

    def lost(self, recorded: dict[str, Any]) -> str | None:
        """Signals that are gone, too: asked for in other batches they would differ in their last digit."""
        wanted, found = recorded["signals"], self.kept()["signals"]
        if wanted and found and wanted[0] == found[0] and found[1] < wanted[1]:
            return f"of its {wanted[1]} rows of teacher signals, {found[1]} are there"
        return super().lost(recorded)

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


def measure_terms(student: DistilledStudent, teacher: Teacher, rows: EncodedRows, pad_id: int) -> dict[str, float]:
    """Mean latent terms on given rows, dropout off; batches are weighted by their number of rows."""
    if not student.objective.terms:
        return {}
    student.eval()
    sums: dict[str, float] = {}
    with paddle.no_grad():
        for indices, inputs in input_batches(rows, pad_id, 32):
            values = student.objective(student(**inputs), teacher(inputs), inputs["attention_mask"])
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
    return {name: float(np.round(value / len(rows), 6)) for name, value in sums.items()}

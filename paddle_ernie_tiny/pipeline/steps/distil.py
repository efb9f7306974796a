"""The steps that distil: a stage of one student, or a general one of several by one forward pass of the teacher."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ...config import StageSettings
from ...data.corpus import TextRows
from ...distillation.objective import JointObjective, Objective
from ...distillation.students import DistilledStudent, JointStudents
from ...distillation.teacher import SignalCache, Teacher, rows_fingerprint
from ...distillation.trainers import TRAINERS, DistillationTrainer
from ...distributed import is_main, main_first
from ...errors import InputError
from ...models.weights import model_fingerprint, save_model
from ...terms import TERMS, Needs
from ...training.trainer import ToolkitTrainer, Training, training_arguments
from ..context import RunContext
from ..measure import LATENT_SPLITS, dev_score, latent_settings, latent_terms, linear_probe, measure_classifier
from ..step import FINAL, Step, StepRecord, fingerprint, identity


def train(trainer: ToolkitTrainer) -> dict[str, Any]:
    """Trains to the end, from the last checkpoint if there is one (see `conclude`)."""
    checkpoint = trainer.begin()
    if trainer.steps_left:
        trainer.train(resume_from_checkpoint=checkpoint)
    return trainer.conclude()


class Distil(Step):
    """One stage of one student; `name` tells a stage that is repeated apart by a number."""

    settings: StageSettings

    def __init__(self, context: RunContext, index: int, name: str):
        super().__init__(context, context.stage_folder(index), context.config.stages[index])
        self.index, self.name, self.stage = index, name, context.stage(index)

    def run(self) -> dict[str, Any]:
        context = self.context
        model = context.load_teacher(self.stage.teacher)
        objective, student = self.load(model)
        trainer = self.trainer(model, student, objective, self.folder)
        result = {**train(trainer), "objective": objective.equation()}
        trainer.teacher.sync()
        if self.stage.data == "task" and context.config.augmentation is not None:
            made = context.augmented
            result["augmentation"] = {"rows": len(made.examples), "given_up": made.given_up, "samples": made.samples}
        self.save(student)
        return result

    def load(self, teacher: Any) -> tuple[Objective, DistilledStudent]:
        """The stage's objective, and the student of the stage before it (or at its start)."""
        before = self.context.stage_folder(self.index - 1) / FINAL if self.index else None
        return self.context.load_student(self.index, teacher, before)

    def trainer(self, model: Any, student: Any, objective: Objective, folder: Path) -> DistillationTrainer:
        """The trainer of the stage, with checkpoints in `folder`; `model` is the teacher. Prints the objective."""
        context, settings, rows = self.context, self.settings.training, self.context.stage_rows(self.index)
        teacher, pad_id = self._teacher(model, objective.needs("teacher"), rows), context.tokenizer.pad_id
        args = training_arguments(settings, len(rows), folder, context.folder.vdl(folder), context.config.seed)
        score = dev_score(context, student.classifier, settings) if self.stage.label_terms else None
        if is_main():
            print(f"  {objective.equation()}", flush=True)
            print(f"  layer map (student: teacher) {objective.layers}", flush=True)
        training = Training(args, rows, pad_id, self.stage.title, score, context.watcher)
        return TRAINERS[self.stage.name](student, teacher, objective, training)

    def _teacher(self, model: Any, needs: Needs, rows: Any) -> Teacher:
        """The teacher: asked at every step, or with its signals for `rows` kept on disk.

        They are in the run folder, or in the configured `signals_folder`; stages with the same teacher, data and needs
        share them. Signals in the run folder that belong to an earlier state of the run are made again; in a folder of
        the user's they are refused (InputError).
        """
        context, config, stage = self.context, self.context.config, self.stage
        if self.settings.teacher_signals == "online":
            return Teacher(model, needs, config.teacher.static_graph)
        layout = context.signal_layout(stage, needs, model.config.hidden_size)
        base = Path(config.signals_folder or context.folder.prepared("signals"))
        folder = base / f"{stage.data}-{stage.teacher}-{fingerprint(layout.as_key())[:8]}"
        key = {
            "teacher": model_fingerprint(context.teacher_model(stage.teacher)),
            "data": rows.fingerprint if isinstance(rows, TextRows) else rows_fingerprint(rows),
            "tokenizer": context.tokenizer.fingerprint,
        }
        lengths = np.asarray(rows.lengths)
        with main_first():
            try:
                cache = SignalCache(folder, key, layout, lengths)
            except InputError:
                if config.signals_folder:
                    raise
                what = f"those in {folder} are of an earlier state of this run"
                print(f"  teacher signals: made again, {what}", flush=True)
                shutil.rmtree(folder)
                cache = SignalCache(folder, key, layout, lengths)
        return Teacher(model, layout.needs, config.teacher.static_graph, cache)

    def save(self, student: DistilledStudent) -> None:
        """Writes the student's model folder, with its projections for the next stage."""
        save_model(student.classifier, self.context.tokenizer, self.product, student.projection_arrays())

    def inputs(self) -> dict[str, Any]:
        context, config, stage = self.context, self.context.config, self.stage
        unused = {name for name, term in TERMS.items() if not (term.latent or stage.label_terms)}
        start = {"student": identity(context.stage_folder(self.index - 1))} if self.index else context.start_inputs()
        upstream = {f"{stage.teacher} teacher": context.teacher_identity(stage.teacher), **start}
        values = {
            "seed": config.seed,
            "kind": context.data.kind.name,
            "labels": context.data.labels,
            "student": config.student.model_dump(mode="json"),
            "training": self.settings.training.decisive(),
            "teacher_signals": self.settings.teacher_signals,
            # only what this stage uses: a new temperature does not make a latent stage stale
            "objective": config.stage_objective(self.index).model_dump(mode="json", exclude=unused),
            "upstream": upstream,
        }
        if context.is_general(self.index):
            return {**values, "general_corpus": context.corpus_inputs()}
        if config.augmentation is not None:
            values["augmentation"] = config.augmentation.model_dump(mode="json", exclude={"rows_per_batch"})
            upstream["masked language model"] = context.teacher_identity("pretrained")
        return {**values, **context.task_inputs()}

    def measure_inputs(self) -> dict[str, Any]:
        context, pairs = self.context, latent_settings(self.context)
        return {
            **context.test_inputs(),
            "latent": [pairs, LATENT_SPLITS],
            "teachers": {teacher: context.teacher_identity(teacher) for teacher, _ in pairs},
            "corpus": context.corpus_inputs() if any(data == "general" for _, data in pairs) else None,
        }

    def measure(self) -> dict[str, Any]:
        training = self.settings.training
        if self.stage.label_terms:
            measured = measure_classifier(self.context, self.product, self.folder, training)
            measured["score_kind"] = "classifier"
        else:  # without labels there is no classifier to score
            measured = linear_probe(self.context, self.product, training.per_device_eval_batch_size)
            measured["score_kind"] = "linear probe"
        if self.index == 0:
            measured["latent_before"] = latent_terms(self.context, self.index, None)
        measured["latent"] = latent_terms(self.context, self.index, self.product)
        return measured


class DistilStudents(Step):
    """Trains those students together whose own stage is not done; each keeps a record as if it was trained alone.

    `members` are the students' own steps by name. A student that is added later trains alone. `folder` lasts until
    all are trained.
    """

    def __init__(self, members: dict[str, Distil], folder: Path):
        first = next(iter(members.values()))
        super().__init__(first.context, folder)
        self.members, self.name = members, first.name
        self.pending: list[str] = []

    @property
    def title(self) -> str:
        return f"{self.name} of {', '.join(self.pending or self.members)}"

    def state(self) -> tuple[str, list[str]]:
        states = {name: step.state() for name, step in self.members.items()}
        self.pending = [name for name, (state, _) in states.items() if state != "done"]
        if not self.pending:
            return "done", []
        self.record = StepRecord(self.folder, {name: self.members[name].record.inputs for name in self.pending})
        if self.record.state()[0] == "resume":
            return "resume", []
        changed = [f"{name}: {what}" for name, (_, whats) in states.items() for what in whats]
        return ("stale", changed) if changed else ("new", [])

    def begin(self, fresh: bool) -> None:
        super().begin(fresh)
        for name in self.pending:
            self.members[name].begin(fresh=True)

    def run(self) -> dict[str, Any]:
        steps = {name: self.members[name] for name in self.pending}
        first = steps[self.pending[0]]
        model = first.context.load_teacher(first.stage.teacher)
        loaded = {name: step.load(model) for name, step in steps.items()}
        objective = JointObjective({name: own for name, (own, _) in loaded.items()})
        students = {name: student for name, (_, student) in loaded.items()}
        trainer = first.trainer(model, JointStudents(students), objective, self.folder)
        trained = train(trainer)
        trainer.teacher.sync()
        for name, step in steps.items():
            step.save(students[name])
        results = {}  # each student's share of the training, as its own record keeps it
        for name, (own, _) in loaded.items():
            history = [{"step": entry["step"], **objective.of(name, entry)} for entry in trained["history"]]
            others = [other for other in self.pending if other != name]
            results[name] = {**trained, "history": history, "objective": own.equation(), "together_with": others}
        return {**trained, "students": results}

    def finish(self, result: dict[str, Any]) -> None:
        for name in self.pending:
            self.members[name].finish(result["students"][name])
        shutil.rmtree(self.folder)

    def remove(self) -> None:
        super().remove()
        for step in self.members.values():
            step.remove()

    def measure_if_needed(self) -> list[str]:
        return [line for step in self.members.values() for line in step.measure_if_needed()]

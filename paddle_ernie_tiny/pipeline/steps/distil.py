"""The step that distils: one stage of one student."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ...config import StageSettings
from ...data.corpus import TextRows
from ...data.rows import PairedRows
from ...distillation.head_start import head_from_teacher
from ...distillation.students import DistilledStudent, read_projections
from ...distillation.teacher import NoTeacher, SignalCache, Teacher, rows_fingerprint
from ...distillation.trainers import TRAINERS
from ...distributed import is_main, processes
from ...errors import InputError
from ...files import known_sha256
from ...models.weights import model_fingerprint, save_model
from ...seals import DamageError
from ...terms import TERMS, Needs
from ...training.batches import rows_of_batches
from ...training.trainer import ToolkitTrainer, Training, training_arguments
from ..context import RunContext
from ..measure import LATENT_SPLITS, dev_score, latent_settings, latent_terms, linear_probe, measure_classifier
from ..step import FINAL, Step, fingerprint, identity
from ..student_start import head_of, start_inputs
from ..supervision import agreement_on_samples, mixture, soft_facts
from ..teacher_signals import engine_of, signals_of


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

    @cached_property
    def signals(self) -> str:
        """The stage's `teacher_signals`, "online" or "cached"."""
        return signals_of(self.context, self.index) if self.context.config.teacher else "online"

    @cached_property
    def head(self) -> str:
        """What the student's head starts from, "own" or "teacher"."""
        return head_of(self.context, self.index, self.context.shares_vocabulary)

    def run(self) -> dict[str, Any]:
        context = self.context
        model = context.load_teacher(self.stage.teacher) if context.config.teacher else None
        student = self.load(model)
        labelled, settings = self.stage.label_terms, self.settings.training
        score = dev_score(context, student.classifier, "student", settings) if labelled else None
        teacher = self.teacher(model, student.objective.needs("teacher"))
        trainer = TRAINERS[self.stage.name](student, teacher, self.training(self.folder, score))
        self.announce(student)
        asked = {"teacher": {"signals": self.signals, **trainer.try_teacher()}} if context.config.teacher else {}
        result = {**train(trainer), "objective": student.objective.equation(), "tokenizers": context.tokenizer_facts()}
        result |= asked
        teacher.sync()
        if not self.stage.is_general and context.config.augmentation is not None:
            made = context.augmented
            result["augmentation"] = {"rows": len(made.examples), "given_up": made.given_up, "samples": made.samples}
        if not self.stage.is_general and (pool := context.data.pool):
            ratio = context.config.data.unlabelled_ratio
            result["unlabelled"] = {"rows": len(pool.rows), "removed": pool.removed, "ratio": ratio}
        if labelled and context.data.soft is not None:
            result["soft_labels"] = soft_facts(context)
        self.save(student)
        return result

    def load(self, teacher: Any) -> DistilledStudent:
        """The student of the stage before it (or at its start), with this stage's objective."""
        before = self.context.stage_folder(self.index - 1) / FINAL if self.index else None
        student = self.context.load_student(self.index, teacher, before)
        if self.head == "teacher":
            assert before is not None, "preflight has refused a first stage"
            head_from_teacher(student, teacher, read_projections(before))
        return student

    def announce(self, student: DistilledStudent, prefix: str = "") -> None:
        """Prints what the student is about to minimise."""
        if is_main():
            print(f"  {prefix}{student.objective.equation()}", flush=True)
            print(f"  {prefix}layer map (student: teacher) {student.objective.layers}", flush=True)
            if self.head == "teacher":
                print(f"  {prefix}its head starts as the teacher's, behind the last projection", flush=True)
            if left_out := ", ".join(student.objective.left_out):
                print(f"  {prefix}left out: {left_out} compare layers, and the student has none", flush=True)

    def training(self, folder: Path, score: Callable[[], float] | None = None) -> Training:
        """What the stage's trainer is given beside models, with checkpoints in `folder`; `score` as `evaluate_with`."""
        context, settings, rows = self.context, self.settings.training, self.context.stage_rows(self.index, "student")
        mixed = mixture(context, self.index, rows)
        if not context.shares_vocabulary:
            rows = PairedRows(rows, context.stage_rows(self.index, "teacher"))
        count, vdl = rows_of_batches(rows), context.folder.vdl(folder)
        args = training_arguments(settings, count, folder, vdl, context.config.seed)
        how = context.watcher, context.config.save_minutes
        pad_id = context.tokenizers["student"].pad_id
        return Training(args, rows, pad_id, self.stage.title, score, *how, settings.patience, mixed)

    def teacher(self, model: Any, needs: Needs) -> Teacher:
        """The teacher: asked at every step, or with its signals for the stage's rows kept on disk.

        They are in the run folder, or in the configured `signals_folder`; stages with the same teacher, data and needs
        share them. Signals in the run folder that are damaged, or belong to an earlier state of the run, are made
        again; in a folder of the user's they are refused (InputError).
        """
        context, config, stage = self.context, self.context.config, self.stage
        if config.teacher is None:
            return NoTeacher()
        rows = context.stage_rows(self.index, "teacher")
        engine = engine_of(context, self.index, self.signals)
        if self.signals == "online":
            return Teacher(model, needs, engine)
        layout = context.signal_layout(stage, needs, model.config.hidden_size)
        base = Path(config.signals_folder or context.folder.prepared("signals"))
        # one of each process's own: what a row is rounded to depends a little on the batch in which it was asked for
        own = f"-{paddle.distributed.get_rank()}of{processes()}" if processes() > 1 else ""
        folder = base / f"{stage.data}-{stage.teacher}-{fingerprint(layout.as_key())[:8]}{own}"
        key = {
            "teacher": model_fingerprint(context.teacher_model(stage.teacher)),
            "data": rows.fingerprint if isinstance(rows, TextRows) else rows_fingerprint(rows),
            "tokenizer": context.tokenizers["teacher"].fingerprint,
        }
        lengths = np.asarray(rows.lengths)
        try:
            cache = SignalCache(folder, key, layout, lengths)
        except InputError as error:
            if config.signals_folder:
                raise
            what = error.what if isinstance(error, DamageError) else "they are of an earlier state of this run"
            print(f"  teacher signals: made again; {folder}: {what}", flush=True)
            shutil.rmtree(folder)
            cache = SignalCache(folder, key, layout, lengths)
        return Teacher(model, layout.needs, engine, cache)

    def save(self, student: DistilledStudent) -> None:
        """Writes the student's model folder, with its projections for the next stage."""
        save_model(student.classifier, self.context.tokenizers["student"], self.product, student.projection_arrays())

    def inputs(self) -> dict[str, Any]:
        context, config, stage = self.context, self.context.config, self.stage
        objective = config.stage_objective(self.index)
        unused = {name for name, term in TERMS.items() if not (term.latent or stage.label_terms)}
        # a term that is off unless it is asked for
        unused |= {n for n, term in TERMS.items() if not (objective.term(n).wanted or term.Settings().wanted)}
        start = {"student": identity(context.stage_folder(self.index - 1))} if self.index else start_inputs(context)
        teacher = {f"{stage.teacher} teacher": context.teacher_identity(stage.teacher)} if config.teacher else {}
        upstream = {**teacher, **start}
        values = {
            "seed": config.seed,
            "kind": context.data.kind.name,
            "labels": context.data.labels,
            "student": config.student.model_dump(mode="json"),
            "training": self.settings.training.decisive(),
            "teacher_signals": self.signals,
            # only what this stage uses: a new temperature does not make a latent stage stale
            "objective": objective.model_dump(mode="json", exclude=unused),
            "upstream": upstream,
        }
        if stage.label_terms:
            values |= {"head": self.head} if self.head != "own" else {}
            values |= context.weight_inputs()
            values |= {"soft_labels": context.data.soft_fingerprint} if context.data.soft else {}
        if context.is_general(self.index):
            return {**values, "general_corpus": context.corpus_inputs()}
        if config.augmentation is not None:
            made = values["augmentation"] = config.augmentation.model_dump(mode="json", exclude={"rows_per_batch"})
            if made["word_vectors"] is not None:
                made["word_vectors"] = known_sha256(made["word_vectors"])
            upstream["masked language model"] = context.teacher_identity("pretrained")
        return {**values, **context.stage_inputs()}

    def measure_inputs(self) -> dict[str, Any] | None:
        context, pairs = self.context, latent_settings(self.context)
        on_corpus = any(map(context.is_general, range(len(context.config.stages))))
        return {
            **context.test_inputs(),
            "latent": [pairs, LATENT_SPLITS],
            "teachers": {teacher: context.teacher_identity(teacher) for teacher, _ in pairs},
            "corpus": context.corpus_inputs() if on_corpus else None,
        }

    def measure(self) -> dict[str, Any]:
        training = self.settings.training
        if self.stage.label_terms:
            student = self.context.load_classifier(self.product)
            measured = measure_classifier(self.context, student, self.folder, "student", training)
            measured["score_kind"] = "classifier"
            if self.context.data.pool is not None and self.context.config.teacher is not None:
                near = agreement_on_samples(self.context, student, training.per_device_eval_batch_size)
                measured["unlabelled"] = near
        else:  # without labels there is no classifier to score
            measured = linear_probe(self.context, self.product, training.per_device_eval_batch_size)
            measured["score_kind"] = "linear probe"
        if self.index == 0:
            measured["latent_before"] = latent_terms(self.context, self.index, None)
        measured["latent"] = latent_terms(self.context, self.index, self.product)
        return measured

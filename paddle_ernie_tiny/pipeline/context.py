"""What every step of a run needs: configuration, data, tokenizer, corpus and models, each read once."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from tqdm import tqdm

from ..augmentation.augmenters import AugmentationRequest, Augmented, augmented_rows
from ..config import RunConfig
from ..config.schema import GeneralCorpusSettings
from ..data.corpus import TextCorpus, corpus_files, corpus_fingerprint, prepare_corpus
from ..data.rows import EncodedRows
from ..data.splits import Examples, TaskData
from ..data.text_tokenizer import TextTokenizer
from ..distillation.objective import Objective, stage_objective
from ..distillation.students import DistilledStudent
from ..distillation.teacher import Layout
from ..distributed import main_first
from ..errors import Finding, InputError
from ..kinds import Kind
from ..kinds.metrics import METRICS, Scored
from ..machine import cpu_cores
from ..models.build import load_classifier, load_masked_lm, load_tokenizer
from ..models.initialise import start_folder
from ..models.weights import has_masked_lm_head, model_fingerprint
from ..stages import STAGES, Stage, TeacherKind
from ..terms import Needs
from ..terms.term import Side
from ..training.inference import predict
from ..watch import Watcher
from .step import FINAL, RunFolder, identity
from .student_start import first_student, narrowing_texts

if TYPE_CHECKING:
    from .floor import Floor

# From here on cutting a corpus into words is shared by processes; below, starting them costs more.
_PARALLEL_BYTES = 50_000_000
POOL_SAMPLE = 256  # rows of the pool, and as many training rows, that a teacher is asked about
# Rows that are no split of the configuration: those with a label of their own, what the stages on task data train on,
# and samples of the training rows and of the pool. No further test can have such a name.
LABELLED, STAGE_ROWS, TRAIN_SAMPLE, UNLABELLED = " labelled", " stage", " train", " unlabelled"


class RunContext:
    """Shared by the steps of one student's run; everything is read once and kept.

    `teacher_source` is the folder of the given teacher; None: it is pretrained here. `teacher` is its configuration;
    None: the run has none, and `teacher_source` is then the model that the student starts from, if there is one.
    """

    def __init__(
        self,
        config: RunConfig,
        data: TaskData,
        teacher_source: Path | None,
        teacher: dict[str, Any] | None,
        shared: Path | None = None,
    ):
        self.config, self.data, self.teacher_source, self.teacher = config, data, teacher_source, teacher
        self.whole = config  # the run's, of all of its students
        self.folder = RunFolder(Path(config.output_dir), shared)
        self.student = ""  # its name, if the run has several
        self.watcher = Watcher()
        self.findings: list[Finding] = []  # of preflight, for the report
        self.floor: Floor | None = None  # which preflight finds, in the main process
        self._rows: dict[tuple, EncodedRows] = {}  # by split, tokenizer, and the one beside it

    def for_student(self, name: str, config: RunConfig) -> RunContext:
        """The same data and teacher for another student of the run."""
        other = copy(self)
        other.config, other.student = config, name
        if config.teacher is None:
            other.teacher_source = start_folder(config.student)
        other.folder = RunFolder(Path(config.output_dir), self.folder.shared)
        return other

    def teacher_model(self, teacher: TeacherKind) -> Path:
        """Folder of the teacher before or after fine-tuning; one that was given fine-tuned is both.

        Without a teacher: the folder that gives the student its vocabulary and family.
        """
        if self.config.teacher is None:
            return self.teacher_source or self.folder.start / FINAL
        if teacher == "finetuned" and self.config.teacher.finetune is not None:
            return self.folder.finetuned / FINAL
        return self.teacher_source or self.folder.pretrained / FINAL

    def teacher_identity(self, teacher: TeacherKind) -> str:
        """Changes when the teacher does: the id of the step that made it, or the hash of the given folder."""
        model = self.teacher_model(teacher)
        return model_fingerprint(model) if model == self.teacher_source else identity(model.parent)

    def load_teacher(self, teacher: TeacherKind) -> Any:
        """The "pretrained" or "finetuned" teacher as a classifier."""
        return self.load_classifier(self.teacher_model(teacher), new_head=teacher == "pretrained")

    def load_classifier(
        self, folder: Path, dropout: dict[str, float | None] | None = None, new_head: bool = False
    ) -> Any:
        """A model with the task's head, from a folder; with `new_head` at random where it has none."""
        return load_classifier(folder, self.data.labels, self.data.kind, dropout, new_head)

    def stage(self, index: int) -> Stage:
        """The table's row of the stage at `index`."""
        return STAGES[self.config.stages[index].stage]

    def is_general(self, index: int) -> bool:
        """Does the stage at `index` train on the general corpus?"""
        return self.stage(index).is_general

    def stage_folder(self, index: int) -> Path:
        """Where the stage at `index` works; -1: the last one."""
        return self.folder.stage(index % len(self.config.stages), self.config.stages[index].stage)

    def planned_objectives(self, shared_vocabulary: bool = True) -> list[Objective]:
        """The objective of every stage by the configurations, before there are models. Raises InputError."""
        student, teacher = self.config.student, None if self.teacher is None else SimpleNamespace(**self.teacher)
        stages = range(len(self.config.stages))
        weights = self.data.class_weights if self.data else None  # preflight may have refused the data
        how = None, weights, shared_vocabulary
        return [stage_objective(self.config, index, student, teacher, *how) for index in stages]

    def load_student(
        self, index: int, teacher: Any, folder: Path | None, label_terms: bool | None = None
    ) -> DistilledStudent:
        """The student in `folder` (None: its start) with the objective of stage `index`."""
        classifier = first_student(self) if folder is None else self.load_classifier(folder)
        how = label_terms, self.data.class_weights, self.shares_vocabulary
        given = classifier.config if teacher is None else teacher.config
        objective = stage_objective(self.config, index, classifier.config, given, *how)
        paddle.seed(self.config.seed + 1 + index)  # for projections that start at random
        student = DistilledStudent(classifier, objective, given.hidden_size)
        if folder is not None and len(student.projections):
            student.load_projections(folder)
        elif folder is None and self.config.student.init.method == "teacher_narrowed":
            student.fit_projections(teacher, narrowing_texts(self))
        return student

    def signal_layout(self, stage: Stage, needs: Needs, teacher_width: int) -> Layout:
        """What is cached of each token: the needs, and on task data the logits, as another stage may read them."""
        kept = Needs(needs.hidden, needs.attention, needs.parts, logits=not stage.is_general)
        return Layout(kept, teacher_width, len(self.data.labels), self.data.kind.by_token)

    def predict(self, model: Any, split: str, side: Side, batch_size: int = 64, kind: Kind | None = None) -> Scored:
        """The outputs of a model, which reads the ids of the teacher or of the student, on a split; dropout off.

        kind: the task's with what it has learnt from the dev split (`fitted_kind`).
        """
        rows, pad_id = self.rows(split, side), self.tokenizers[side].pad_id
        return predict(model, kind or self.data.kind, rows, pad_id, self.data.labels, batch_size)

    def fitted_kind(self, model: Any, side: Side, batch_size: int = 64) -> Kind:
        """The kind of task with what it learns from the model's answers to the dev split."""
        return self.data.kind.fitted(lambda: self.predict(model, "dev", side, batch_size))

    def dev_score(self, model: Any, side: Side, batch_size: int = 64) -> float:
        """The task's metric on the dev split, from which the kind of task has learnt what it learns there."""
        dev = self.predict(model, "dev", side, batch_size)
        fitted = self.data.kind.fitted(lambda: dev)
        return self.score(fitted.scored(dev.outputs, dev.gold, dev.labels, dev.groups))

    @property
    def metric(self) -> str:
        """The name of the task's metric."""
        return self.config.task.metric or ""

    def score(self, outputs: Scored) -> float:
        """The task's metric of a model's outputs."""
        return METRICS[self.metric](outputs)

    @cached_property
    def tokenizers(self) -> dict[Side, TextTokenizer]:
        """The teacher's and the student's: one and the same, unless the student starts from a model with another."""
        teacher, start = load_tokenizer(self.teacher_model("pretrained")), start_folder(self.config.student)
        own = teacher if start is None else load_tokenizer(start)
        return {"teacher": teacher, "student": teacher if own.fingerprint == teacher.fingerprint else own}

    @property
    def shares_vocabulary(self) -> bool:
        """Do teacher and student have the same ids?"""
        return self.tokenizers["student"] is self.tokenizers["teacher"]

    def tokenizer_facts(self) -> dict[str, dict[str, Any]]:
        """Of teacher and student, for the report: the model that the tokenizer is from, its size and fingerprint.

        Of a model in a folder the folder's own name, without the path on this machine.
        """
        start, given = self.config.student.init.folder, self.config.teacher
        if given is None:
            origins = {"student": start or "made in this run"}
        else:
            teacher = given.model or "pre-trained in this run"
            origins = {"teacher": teacher, "student": start or teacher}
        names = {side: Path(name).name if Path(name).is_dir() else name for side, name in origins.items()}
        return {
            side: {"name": names[side], "tokens": tokenizer.vocab_size, "fingerprint": tokenizer.fingerprint}
            for side, tokenizer in self.tokenizers.items()
            if side in names
        }

    def rows(self, split: str, side: Side, paired: bool = False) -> EncodedRows:
        """Rows in the ids of the teacher or of the student: "train", "dev" or "test", or a further test by its name.

        Also LABELLED, STAGE_ROWS, TRAIN_SAMPLE and UNLABELLED. paired: with windows over the same words on both sides.
        """
        named = {
            LABELLED: lambda: self.data.labelled,
            STAGE_ROWS: lambda: self.stage_examples,
            TRAIN_SAMPLE: lambda: self._sample_of(self.data.train),
            UNLABELLED: lambda: self._sample_of(self.data.pool.rows if self.data.pool else ()),
        }
        examples = self.data.more_tests.get(split) or named.get(split, lambda: getattr(self.data, split))()
        split = "train" if len(examples) == len(self.data.train) and split in (LABELLED, STAGE_ROWS) else split
        tokenizer, task = self.tokenizers[side], self.config.task
        beside = self.tokenizers["teacher" if side == "student" else "student"] if paired else None
        key = split, tokenizer.fingerprint, beside and beside.fingerprint
        if key not in self._rows:
            reading = task.long_text or "truncate"
            self._rows[key] = self.data.kind.encode(tokenizer, examples, task.max_length_tokens, reading, beside)
        return self._rows[key]

    @cached_property
    def stage_examples(self) -> Examples:
        """What the stages on task data train on: the training rows, augmented copies of them, and last the pool."""
        copies: Examples = []
        if self.config.augmentation is not None:
            copies = self.augmented.examples
            if self.config.augmentation.labels == "teacher":
                copies = [replace(e, **self.data.kind.no_label) for e in copies]  # the teacher's soft labels alone
        return [*self.data.train, *copies, *(self.data.pool.rows if self.data.pool else ())]

    def _sample_of(self, rows: Examples) -> Examples:
        """The same rows whenever they are measured."""
        return [rows[i] for i in np.random.default_rng(self.config.seed).permutation(len(rows))[:POOL_SAMPLE]]

    def stage_rows(self, index: int, side: Side) -> Any:
        """What a stage trains on: the general corpus, or the task's rows (`stage_examples`)."""
        if self.is_general(index):
            return self.corpus.train
        return self.rows(STAGE_ROWS, side, paired=not self.shares_vocabulary)

    @cached_property
    def augmented(self) -> Augmented:
        """Copies of the training rows with other words or entities; made once and kept in the run folder."""
        folder = self.teacher_model("pretrained")

        def masked_lm() -> Any:
            return load_masked_lm(folder) if has_masked_lm_head(folder) else None

        data, settings = self.data, self.config.augmentation
        assert settings is not None, "asked for only where the configuration has it"
        teacher = self.tokenizers["teacher"], masked_lm, model_fingerprint(folder)
        request = AugmentationRequest(data.train, data.labels, settings, self.config.seed, *teacher)
        return augmented_rows(request, data.kind.augmenter, self.folder.prepared("augmented"))

    @property
    def corpus_settings(self) -> GeneralCorpusSettings:
        """The section of the general corpus."""
        settings = self.config.general_corpus
        assert settings is not None, "the schema asks for general_corpus where it is used"
        return settings

    @property
    def corpus_bytes(self) -> int:
        """Size of the general corpus's text; 0 without one."""
        settings = self.config.general_corpus
        return 0 if settings is None else sum(file.stat().st_size for file in corpus_files(settings.path))

    @cached_property
    def corpus(self) -> TextCorpus:
        """The general corpus, tokenised once into memory-mapped files in the run folder."""
        return self.tokenised_corpus(self.tokenizers["teacher"], False)

    def tokenised_corpus(self, tokenizer: TextTokenizer, word_boundaries: bool) -> TextCorpus:
        """The general corpus in a tokenizer's ids; with `word_boundaries`, for whole-word masking.

        Raises InputError if it is too small to hold rows out.
        """
        settings, size = self.corpus_settings, self.corpus_bytes
        label = "tokenising the general corpus"
        folder = self.folder.prepared("general_words" if word_boundaries else "general")
        bar = tqdm(total=size, unit="B", unit_scale=True, desc=label, disable=None, leave=False)
        with main_first(folder), bar:
            corpus = prepare_corpus(
                settings.path,
                tokenizer,
                max_length=settings.max_length_tokens,
                out_dir=folder,
                held_out=settings.held_out_rows,
                seed=self.config.seed,
                word_boundaries=word_boundaries,
                num_proc=cpu_cores() if size >= _PARALLEL_BYTES else None,
                progress=bar.update,
            )
        if not len(corpus.held_out):
            what = f"the corpus has only {corpus.sequences} rows; one in 20 is held out to measure on"
            raise InputError(what, f"general_corpus.path ({settings.path})", "give at least 20 lines, better millions")
        return corpus

    def task_inputs(self) -> dict[str, Any]:
        """Of a step that trains on the task: seed, task and data."""
        task = {"kind": self.data.kind.name, "labels": self.data.labels}
        set_here = ["long_text"] if self.config.task.long_text != "truncate" else []
        set_here += ["settings"] if self.config.task.settings else []
        named = {"metric", "max_length_tokens", *set_here}
        task |= self.config.task.model_dump(include=named)
        prints = {split: self.data.fingerprints[split] for split in ("train", "dev")}
        return {"seed": self.config.seed, "task": task, "data": prints, **self.weight_inputs()}

    def stage_inputs(self) -> dict[str, Any]:
        """Of a stage on task data: also its unlabelled text."""
        pool, ratio = self.data.pool, self.config.data.unlabelled_ratio
        unlabelled = {"unlabelled": {"rows": pool.fingerprint, "ratio": ratio}} if pool else {}
        return {**self.task_inputs(), **unlabelled}

    def weight_inputs(self) -> dict[str, Any]:
        """Of a step that trains by the task's own loss, if its labels have weights."""
        return {"class_weights": self.data.class_weights} if self.data.class_weights else {}

    def test_inputs(self) -> dict[str, Any]:
        """Of a step whose model is scored: all splits and the metric."""
        settings = {"settings": self.config.task.settings} if self.config.task.settings else {}
        return {"data": self.data.fingerprints, "metric": self.config.task.metric, "intervals": 1, **settings}

    def corpus_inputs(self) -> dict[str, Any]:
        """Of a step that reads the general corpus."""
        settings = self.corpus_settings
        return {"text": corpus_fingerprint(settings.path), **settings.model_dump(exclude={"path"})}

"""The schema of a run: every key that a YAML file may hold, its type, unit, default and meaning.

Unknown keys are rejected. Sections follow the flow of a run: task, data, general corpus, teacher, student,
objective, stages, baseline, export.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .. import defaults
from ..engines import ON_CPU
from ..kinds import KINDS, LONG_TEXTS, Kind
from ..kinds.metrics import metrics_of
from ..sections import Fraction, PathName, PositiveInt, Section, Weight, checked_fields, key
from ..stages import STAGES
from ..terms import TERMS
from .card_settings import CardSettings
from .data_settings import DataSettings, Label
from .objective_settings import ObjectiveSettings
from .student_settings import ModelShape, StudentSettings
from .training_settings import TrainingSettings

ClassWeight = Annotated[float, Field(gt=0, le=1e6)]


class TaskSettings(Section):
    """What is learnt."""

    name: str = key(..., "free name, shown in the report", min_length=1)
    kind: str = key("classification", "; ".join(f"{name}: {kind.description}" for name, kind in KINDS.items()))
    labels: list[Label] | None = key(None, "label names in id order; default: the sorted labels of the training file")
    metric: str | None = key(None, "score of a model; default: the first metric of the kind of task")
    max_length_tokens: Annotated[int, Field(ge=8, le=512)] = key(defaults.MAX_LENGTH_TOKENS, "with [CLS] and [SEP]")
    long_text: Literal[LONG_TEXTS] | None = key(  # type: ignore[valid-type]
        None,
        "a (first) text that is longer: cut, cut in its middle, or read in parts; default: truncate, tags: windows",
    )
    class_weights: Literal["balanced"] | dict[Label, ClassWeight] | None = key(
        None, "of labels in the task's own loss, by name (others: 1); balanced: rows / (labels * rows of the label)"
    )

    settings: dict[str, Any] = key({}, "of the kind of task; docs/data.md lists them")

    @property
    def configured_kind(self) -> Kind:
        """The kind of task with its settings."""
        return KINDS[self.kind].with_settings(self.settings)

    @model_validator(mode="after")
    def _labels_fit(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of task {self.kind!r}; use {', '.join(KINDS)}")
        try:
            checked_fields(KINDS[self.kind].Settings, self.settings)
        except ValueError as error:
            raise ValueError(f"settings of {self.kind}: {error}") from None
        kind = self.configured_kind
        if self.class_weights is not None and not kind.has_labels:
            raise ValueError(f"a {self.kind} task has no labels to weight: leave class_weights out")
        if self.class_weights is not None and kind.class_weights_remedy:
            raise ValueError(f"a {self.kind} task has no class_weights: {kind.class_weights_remedy}")
        self.long_text = self.long_text or kind.long_texts[0]
        if self.long_text not in kind.long_texts:
            why = f"long_text of a {self.kind} task is {' or '.join(kind.long_texts)}"
            if "truncate" not in kind.long_texts:
                part = "every word of a {} task has a tag" if kind.units else "a {} task reads all of a text"
                why = part.format(self.kind)
            raise ValueError(f"{why}: leave long_text out")
        self.metric = self.metric or metrics_of(self.kind)[0]
        kind.check_labels(self.labels, self.metric)
        kind.check_length(self.max_length_tokens)
        return self


class GeneralCorpusSettings(Section):
    """Unlabelled text of the general stages: one passage per line, UTF-8, of any size."""

    path: PathName = key(..., "a folder of .txt files, a glob, or one file")
    max_length_tokens: Annotated[int, Field(ge=8, le=512)] = key(128, "longer lines are split")
    held_out_rows: PositiveInt = key(512, "rows kept aside to measure the latent terms")


class AugmentationSettings(Section):
    """More task text for the stages on task data: words replaced by what fits their place (TinyBERT, section 3.2)."""

    copies_per_row: PositiveInt = key(5, "augmented rows made from each training row")
    replace_probability: Annotated[float, Field(gt=0, le=1)] = key(0.4, "of each word")
    candidates: PositiveInt = key(15, "the masked language model's best, and as many neighbours")
    language: Literal["zh", "en"] = key("zh", "zh: words as jieba cuts them; en: words between spaces")
    word_vectors: PathName | None = key(None, "text file of word vectors; its neighbours are candidates too")
    labels: Literal["original", "teacher"] = key(
        "original", "of augmented rows: the row's own, or the teacher's soft labels"
    )
    rows_per_batch: PositiveInt = key(64, "masked rows per forward pass of the masked language model")


class PretrainSettings(Section):
    """Masked-LM pre-training of a teacher from scratch, if no pretrained model is at hand."""

    shape: ModelShape
    training: TrainingSettings
    vocab_file: PathName | None = key(None, "BERT or ERNIE vocabulary; default: built from the corpus")
    vocab_size: Annotated[int, Field(ge=100, le=10_000_000)] = key(8000, "at most, when it is built here")
    lowercase: bool = key(True, "fold case, when the vocabulary is built here")
    mask_probability: Annotated[float, Field(gt=0, lt=1)] = key(0.15, "share of tokens predicted")
    whole_word_masking: bool = key(False, "mask whole words as jieba cuts them")

    @model_validator(mode="after")
    def _has_layers(self):
        if not self.shape.num_hidden_layers:
            raise ValueError(
                "shape.num_hidden_layers: a masked word cannot be predicted without layers; give 1 or more"
            )
        return self


class TeacherSettings(Section):
    """The teacher: a model by PaddleNLP's name or in a folder, or one that is pretrained here."""

    model: PathName | None = key(None, "name on PaddleNLP's hub, or a local folder")
    pretrain: PretrainSettings | None = None
    finetune: TrainingSettings | None = key(None, "null: the model is fine-tuned already")
    check_above_chance: bool = key(True, "stop if the teacher does no better than chance")
    engine: Literal["auto", "dynamic", "static", "inference"] = key(
        "auto",
        "of the forward pass in the stages: Paddle's dynamic graph, the same compiled to a static one, or Paddle "
        "Inference with oneDNN on the CPU; auto: inference on the CPU in stages that are long enough, else dynamic",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = key(None, "of its fine-tuning; default: the run's")
    hidden_dropout_prob: Fraction | None = key(None, "in fine-tuning; default: the model's own")
    attention_probs_dropout_prob: Fraction | None = key(None, "in fine-tuning; default: the model's own")

    @model_validator(mode="after")
    def _one_origin(self):
        if (self.model is None) == (self.pretrain is None):
            raise ValueError("give either model (a name or folder) or pretrain (a shape and steps)")
        if self.pretrain is not None and self.finetune is None:
            raise ValueError("a teacher that is pretrained here must be fine-tuned: give finetune")
        return self


ModelPart = Annotated[str, Field(pattern=r"^(embeddings|head|encoder\.layers\.\d+\.(attention|feed_forward))$")]


class QuantisationAwareSettings(Section):
    """A training after the last stage, with its teacher and terms, in which the student computes as in int8."""

    training: TrainingSettings


class Int8Settings(Section):
    """An int8 bundle beside the fp32 one, for its engines: calibrated on training rows, gated on the dev split."""

    calibration_rows: PositiveInt = key(defaults.CALIBRATION_ROWS, "training rows that give the scales of activations")
    max_drop_points: Weight = key(defaults.MAX_DROP_POINTS, "hundredths of the metric that int8 may lose at most")
    auto: bool = key(True, "leave parts in fp32, the most sensitive first, until the gate passes")
    keep_fp32: list[ModelPart] = key([], "parts in fp32 from the start, such as encoder.layers.0.attention")
    quantization_aware: QuantisationAwareSettings | None = key(
        None, "train the student for int8 if it loses more than that without; null: it is then refused"
    )


class PruningSettings(Section):
    """The exported student's vocabulary: the tokens of the training rows and of `corpus`, special ones, ASCII."""

    corpus: list[PathName] | None = key(
        None, "folders of .txt files, globs or files beside the training rows; default: the general corpus, if any"
    )
    keep: Annotated[int, Field(ge=0, lt=2**31)] = key(0, "further tokens to keep, in the vocabulary's order")
    max_drop_points: Weight = key(defaults.MAX_DROP_POINTS, "hundredths of the dev metric that it may cost at most")


class ExportSettings(Section):
    """Static graph and its parity gate."""

    rows: PositiveInt = key(defaults.EXPORT_ROWS, "evaluation rows on which both graphs are compared")
    tolerance: Annotated[float, Field(gt=0, le=1e6)] = key(defaults.EXPORT_TOLERANCE, "largest difference of logits")
    engines: list[Literal[ON_CPU]] = key(  # type: ignore[valid-type]
        ["paddle"], "what the bundle is to run in; with others than paddle it also holds model.onnx", min_length=1
    )
    prune_vocabulary: PruningSettings | None = key(None, "leave out tokens that the run's texts do not use; null: no")
    int8: Int8Settings | None = key(None, "also make bundle-int8/; null: no")


class BenchmarkSettings(Section):
    """Teacher and student side by side after the export, each in a process of its own."""

    batches: list[PositiveInt] = key([1, 32], "batch sizes", min_length=1)
    lengths: list[Annotated[int, Field(gt=0, le=512)]] = key([128], "tokens per text", min_length=1)
    threads: list[PositiveInt] = key([1], "CPU threads", min_length=1)
    engines: list[Literal[(*ON_CPU, defaults.AUTO)]] = Field(["paddle"], min_length=1)  # type: ignore[valid-type]
    seconds: Annotated[float, Field(gt=0, le=86_400)] = key(defaults.BENCH_SECONDS, "per model and setting")
    rounds: PositiveInt = key(defaults.BENCH_ROUNDS, "turns that the models take in each setting")
    text: bool = key(True, "also from text to label, on the test split")


class StageSettings(Section):
    """One distillation stage; the list's order is the order of training."""

    stage: Literal[tuple(STAGES)]  # type: ignore[valid-type]
    training: TrainingSettings
    teacher_signals: Literal["auto", "online", "cached"] = key(
        "auto",
        "cached: the teacher answers each row once, later passes read its answers from disk, rounded to half "
        "precision; preflight says how much space that takes; auto: cached on task data on the CPU where that saves "
        "work and takes at most a quarter of the free space, else online",
    )
    head: Literal["auto", "own", "teacher"] = key(
        "own",
        "what the student's head starts from in this stage. own: what it is, random if no stage has trained it; "
        "teacher: the teacher's, through the last projection that the stage before learned (only task_specific); "
        "auto: that where it can be made and no stage has trained the head yet, else own",
    )
    objective: ObjectiveSettings | None = key(None, "its keys replace those of the run's objective for this stage")

    @model_validator(mode="after")
    def _head_is_trained(self):
        if self.head != "own" and not STAGES[self.stage].label_terms:
            raise ValueError(f"head: {self.head} is for a stage that trains the head; {self.stage} does not")
        return self


class RunConfig(Section):
    """One run: from a teacher to an exported student and its report."""

    output_dir: PathName = key(..., "the run folder", min_length=1)
    extensions: list[PathName] = key([], "modules (or .py files) that register terms, kinds of task or metrics")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    device: Literal["auto", "cpu", "gpu"] = key("auto", "auto: the GPU if there is one")
    task: TaskSettings
    data: DataSettings
    general_corpus: GeneralCorpusSettings | None = key(None, "for pretrain and general stages")
    augmentation: AugmentationSettings | None = key(None, "for stages on task data; null: none")
    teacher: TeacherSettings | None = key(
        None, "null: there is none; the student then learns in the stage task_specific from data.columns.soft_labels"
    )
    student: StudentSettings = Field(default_factory=StudentSettings)
    students: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")], StudentSettings] | None = key(
        None,
        "instead of student: several by name; general stages train them together, with one forward pass of the "
        "teacher for all, and each gets a run folder of its own, output_dir/students/NAME",
    )
    objective: ObjectiveSettings = Field(default_factory=ObjectiveSettings)
    baseline: TrainingSettings | None = key(None, "the student fine-tuned without distillation; null: no baseline")
    stages: list[StageSettings] = Field(..., min_length=1)
    export: ExportSettings = Field(default_factory=ExportSettings)
    benchmark: BenchmarkSettings | None = key(None, "speed of teacher and student; null: not measured")
    card: CardSettings = Field(default_factory=CardSettings)
    save_minutes: Annotated[float, Field(gt=0, le=1e6)] | None = key(
        None, "a checkpoint also when this time has passed since the last; changes no result"
    )
    signals_folder: PathName | None = key(
        None, "folder of cached teacher signals, for several runs; default: in output_dir"
    )

    @property
    def each_student(self) -> dict[str, RunConfig]:
        """The run of every student by name; of a run with one student, itself under the name ""."""
        if self.students is None:
            return {"": self}
        common = self.model_dump(exclude={"students", "student", "output_dir"})
        return {
            name: RunConfig(**common, student=settings, output_dir=f"{self.output_dir}/students/{name}")
            for name, settings in self.students.items()
        }

    def _require_what_teaches(self) -> None:
        """Raises ValueError where something asks for a teacher, and there is none; or for what a teacher brings."""
        start, columns = self.student.init, self.data.columns
        if self.teacher is not None:
            if start.vocabulary is not None:
                raise ValueError("student.init.vocabulary is for runs without a teacher: teacher and student share one")
            return
        asked = [f"stage {s.stage}" for s in self.stages if not STAGES[s.stage].label_terms]
        asked += [f"teacher_signals of stage {s.stage}" for s in self.stages if s.teacher_signals == "cached"]
        asked += [f"head: teacher of stage {s.stage}" for s in self.stages if s.head == "teacher"]
        asked += ["augmentation"] if self.augmentation is not None else []
        asked += [f"student.init.method {start.method}"] if start.method.startswith("teacher_") else []
        for index in range(len(self.stages)):
            settings = self.stage_objective(index)
            asked += [f"objective.{n}" for n, row in TERMS.items() if row.needs_teacher and settings.term(n).wanted]
        if asked:
            raise ValueError(f"{asked[0]} needs a teacher: give teacher, or leave it out")
        if columns.soft_labels is None:
            raise ValueError("give teacher; or data.columns.soft_labels, from which a student learns without one")
        if start.vocabulary is not None and start.folder is not None:
            raise ValueError("student.init.folder brings its vocabulary: leave student.init.vocabulary out")

    @property
    def quantization_aware(self) -> QuantisationAwareSettings | None:
        """The training for int8; None: there is none."""
        return None if self.export.int8 is None else self.export.int8.quantization_aware

    def stage_objective(self, index: int) -> ObjectiveSettings:
        """The objective's settings of stage `index`: its own if it has some, else the run's."""
        return self.stages[index].objective or self.objective

    @model_validator(mode="after")
    def _parts_fit(self):
        if self.students is not None:
            if "student" in self.model_fields_set:
                raise ValueError("give student or students, not both")
            if not self.students:
                raise ValueError("students names none: give at least one, or student")
            _ = self.each_student  # each has to be a valid run
            return self
        general = [s.stage for s in self.stages if STAGES[s.stage].is_general]
        pretrain = None if self.teacher is None else self.teacher.pretrain
        if (general or pretrain) and self.general_corpus is None:
            need = "teacher.pretrain" if pretrain else f"stage {general[0]}"
            raise ValueError(f"{need} needs general_corpus.path")
        if isinstance(self.data.columns.label, list):
            if not self.task.configured_kind.label_columns or self.data.source != "files":
                raise ValueError("data.columns.label is a list: that is for files of a task of kind multi_label")
        self._require_what_teaches()
        if not STAGES[self.stages[-1].stage].label_terms:
            names = ", ".join(name for name, stage in STAGES.items() if stage.label_terms)
            raise ValueError(f"the last stage must be {names}: only it trains the classifier of the student")
        unscored = {f"stages[{i}]": s.training for i, s in enumerate(self.stages) if not STAGES[s.stage].label_terms}
        if pretrain is not None:
            unscored["teacher.pretrain"] = pretrain.training
        for where, training in unscored.items():
            if training.early_stopping is not None:
                raise ValueError(f"{where}.training.early_stopping: this training has no dev score; leave it out")
        on_task = {f"stages[{i}]": s.training for i, s in enumerate(self.stages) if not STAGES[s.stage].is_general}
        if self.quantization_aware is not None:
            on_task["export.int8.quantization_aware"] = self.quantization_aware.training
        for where, training in on_task.items():
            if self.data.unlabelled_ratio is not None and training.per_device_train_batch_size == 1:
                where += ".training.per_device_train_batch_size"
                raise ValueError(f"{where}: data.unlabelled_ratio is a share of every batch, and 1 row has none")
        if not self.student.sized:
            return self  # checked again once its sizes are known
        layers = self.student.num_hidden_layers
        for part in self.export.int8.keep_fp32 if self.export.int8 else ():
            if part.startswith("encoder") and int(part.split(".")[2]) >= layers:
                raise ValueError(f"export.int8.keep_fp32: no {part} in a student of {layers} layers, from 0")
        for index in range(len(self.stages)):
            layer_map = self.stage_objective(index).layer_map
            if isinstance(layer_map, list) and len(layer_map) != layers:
                mapped = f"stages[{index}]: layer_map names {len(layer_map)} teacher layers"
                raise ValueError(f"{mapped}, the student has {layers}")
        return self

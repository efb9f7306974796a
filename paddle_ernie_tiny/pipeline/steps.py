"""The training steps of a run. Each reads models from folders and leaves one in its own `final/`."""

from __future__ import annotations

from pathlib import Path

import paddle

from ..config import TrainingSettings, stage_objective
from ..data.corpus import read_lines
from ..data.tokenization import WordPieceTokenizer, train_vocabulary
from ..distillation.stages import STAGES, build_objective, distilled_student
from ..distillation.teacher import Teacher
from ..distillation.together import JointObjective, JointStudents
from ..distributed import is_main, main_first
from ..models.build import build_masked_lm, load_classifier
from ..models.initialise import initial_student
from ..models.student import DistilledStudent
from ..models.weights import save_model
from ..training.batches import corpus_rows
from ..training.inference import predict_logits, score
from ..training.steps import FinetuneTrainer, MaskedLMTrainer, Masking, masked_accuracy
from ..training.trainer import remove_checkpoints, training_arguments
from .context import RunContext
from .signals import cached_teacher


def pretrain_teacher(context: RunContext, folder: Path) -> dict:
    """Masked-LM pre-training from scratch on the general corpus, with a vocabulary of its own if none is given."""
    config, settings = context.config, context.config.teacher.pretrain
    tokenizer = _pretraining_tokenizer(context, folder)
    corpus = context.tokenised_corpus(tokenizer, settings.whole_word_masking)
    paddle.seed(config.seed)
    model = build_masked_lm(tokenizer.vocab_size, settings.shape, pad_token_id=tokenizer.pad_id)
    args = training_arguments(settings.training, len(corpus.train), folder, context.vdl_dir(folder), config.seed)
    trainer = MaskedLMTrainer(
        model,
        args,
        corpus.train,
        tokenizer,
        "pre-training",
        settings.mask_probability,
        settings.whole_word_masking,
    )
    result = trainer.fit()
    masking = Masking(tokenizer, settings.mask_probability, whole_words=False)
    held_out = corpus_rows(corpus.held_out, range(len(corpus.held_out)))
    result["held_out"] = masked_accuracy(model, held_out, masking, config.seed)
    save_model(model, tokenizer, folder / "final")
    remove_checkpoints(folder)
    return result


def _pretraining_tokenizer(context: RunContext, folder: Path) -> WordPieceTokenizer:
    settings = context.config.teacher.pretrain
    if settings.vocab_file is not None:
        return WordPieceTokenizer.from_vocab_file(settings.vocab_file, lowercase=settings.lowercase)
    built = folder / "vocabulary"
    with main_first():
        if not (built / "tokenizer.json").is_file():
            tokenizer = train_vocabulary(
                read_lines(context.config.general_corpus.path), settings.vocab_size, settings.lowercase
            )
            built.mkdir(parents=True, exist_ok=True)
            tokenizer.save(built)
    return WordPieceTokenizer.from_folder(built)


def finetune_teacher(context: RunContext, folder: Path) -> dict:
    """Fine-tunes the pretrained teacher on the task; keeps the best checkpoint by the dev metric."""
    teacher = context.config.teacher
    dropout = {
        "hidden_dropout_prob": teacher.hidden_dropout_prob,
        "attention_probs_dropout_prob": teacher.attention_probs_dropout_prob,
    }
    paddle.seed(context.config.seed)
    model = load_classifier(context.pretrained_model, context.data.labels, context.data.kind, dropout)
    return _finetune(context, model, teacher.finetune, folder, "teacher fine-tuning")


def train_baseline(context: RunContext, folder: Path) -> dict:
    """The student, fine-tuned on the labels alone from the same random start."""
    model = first_student(context)
    return _finetune(context, model, context.config.baseline, folder, "baseline")


def _finetune(context: RunContext, model, settings: TrainingSettings, folder: Path, label: str) -> dict:
    rows, pad_id = context.rows("train"), context.tokenizer.pad_id
    args = training_arguments(settings, len(rows), folder, context.vdl_dir(folder), context.config.seed)
    trainer = FinetuneTrainer(model, args, rows, pad_id, label, evaluate_with=_dev_score(context, model))
    result = trainer.fit()
    save_model(model, context.tokenizer, folder / "final")
    remove_checkpoints(folder)
    return result


def _dev_score(context: RunContext, model):
    """() -> the task's metric on the dev split (1 is perfect)."""
    rows = context.rows("dev")

    def dev_score() -> float:
        logits = predict_logits(model, rows, context.tokenizer.pad_id)
        return score(context.config.task.metric, logits, rows, context.data.labels)

    return dev_score


def distil(context: RunContext, folder: Path, index: int) -> dict:
    """One distillation stage: from the student of the stage before it (or its start) to its own."""
    config, stage = context.config, STAGES[context.config.stages[index].stage]
    model = load_teacher(context, stage.teacher_kind)
    objective, student = load_student(context, index, model, _student_before(context, index))
    # a latent stage has no use for logits; the stage after it may read the same signals, and has
    keep_logits = config.stages[index].teacher_signals == "cached" and stage.data_kind == "task"
    logits = keep_logits or objective.wants("soft_label")
    teacher = Teacher(model, objective.needs("teacher"), logits, config.teacher.static_graph)
    evaluate_with = _dev_score(context, student.classifier) if stage.label_terms else None
    result = _train_stage(context, folder, index, student, teacher, objective, evaluate_with)
    result["objective"] = objective.equation()
    if stage.data_kind == "task" and config.augmentation is not None:
        made = context.augmented
        result["augmentation"] = {"rows": len(made.examples), "given_up": made.given_up, "samples": made.samples}
    _save_student(context, student, folder / "final")
    remove_checkpoints(folder)
    return result


def distil_together(contexts: dict[str, RunContext], folder: Path, index: int) -> dict[str, dict]:
    """A general stage of several students, by name: one teacher forward a step for all; checkpoints in `folder`.

    Each ends in its own stage folder with its own result.
    """
    first = next(iter(contexts.values()))
    stage = STAGES[first.config.stages[index].stage]
    model = load_teacher(first, stage.teacher_kind)
    pairs = {name: load_student(c, index, model, _student_before(c, index)) for name, c in contexts.items()}
    objective = JointObjective({name: pair[0] for name, pair in pairs.items()})
    students = JointStudents({name: pair[1] for name, pair in pairs.items()})
    teacher = Teacher(model, objective.needs("teacher"), False, first.config.teacher.static_graph)
    trained = _train_stage(first, folder, index, students, teacher, objective)
    results = {}
    for name, context in contexts.items():
        _save_student(context, students.students[name], context.stage_step(index) / "final")
        history = [{"step": entry["step"], **objective.of(name, entry)} for entry in trained["history"]]
        results[name] = {**trained, "history": history, "objective": objective.objectives[name].equation()}
        results[name]["together_with"] = [other for other in contexts if other != name]
    remove_checkpoints(folder)
    return results


def _train_stage(
    context: RunContext, folder: Path, index: int, student, teacher, objective, evaluate_with=None
) -> dict:
    settings, stage = context.config.stages[index], STAGES[context.config.stages[index].stage]
    rows = context.stage_rows if stage.data_kind == "task" else context.corpus.train
    if settings.teacher_signals == "cached":
        teacher = cached_teacher(context, teacher, objective, stage, rows)
    args = training_arguments(settings.training, len(rows), folder, context.vdl_dir(folder), context.config.seed)
    trainer = stage(student, teacher, objective, args, rows, context.tokenizer.pad_id, evaluate_with)
    if is_main():
        print(f"  {objective.equation()}", flush=True)
        print(f"  layer map (student: teacher) {objective.map}", flush=True)
    result = trainer.fit()
    teacher.sync()
    return result


def _student_before(context: RunContext, index: int) -> Path | None:
    """What a stage starts from: the folder of the stage before it; None: the student's start."""
    return context.stage_step(index - 1) / "final" if index else None


def _save_student(context: RunContext, student: DistilledStudent, folder: Path) -> None:
    extra = {"projections.safetensors": student.projection_arrays()} if len(student.projections) else None
    save_model(student.classifier, context.tokenizer, folder, extra)


def first_student(context: RunContext):
    """The student that the baseline and the first stage both start from."""
    data, config = context.data, context.config
    return initial_student(config.student, context.pretrained_model, data.labels, data.kind, config.seed)


def load_student(context: RunContext, index: int, teacher_model, student_folder: Path | None, label_terms=None):
    """Objective of stage `index` and the student, wrapped for it."""
    config, stage = context.config, STAGES[context.config.stages[index].stage]
    if student_folder is None:
        classifier = first_student(context)
    else:
        classifier = load_classifier(student_folder, context.data.labels, context.data.kind)
    settings = stage_objective(config, index)
    objective = build_objective(
        settings, classifier.config, teacher_model.config, stage, label_terms, context.data.kind
    )
    paddle.seed(config.seed + 1 + index)  # for projections that start at random
    student = distilled_student(classifier, objective, teacher_model.config.hidden_size)
    if student_folder is not None and len(student.projections):
        student.load_projections(student_folder / "projections.safetensors")
    return objective, student


def load_teacher(context: RunContext, kind: str):
    """The "pretrained" or "finetuned" teacher as a classifier."""
    return load_classifier(context.teacher_model(kind), context.data.labels, context.data.kind)

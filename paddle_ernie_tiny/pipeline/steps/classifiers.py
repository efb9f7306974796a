"""Steps that make classifiers without distillation: the teacher, pre-trained if there is none, and the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paddle

from ...config import PretrainSettings, TrainingSettings
from ...config.student_settings import VocabularySettings
from ...data.corpus import read_lines
from ...data.splits import TaskData
from ...data.tokenization import WordPieceTokenizer, train_vocabulary
from ...distributed import main_first
from ...models.build import build_masked_lm
from ...models.weights import save_model
from ...seals import SEALED, whole_or_none, write_seal
from ...terms.term import Side
from ...training.batches import rows_of_batches
from ...training.tasks import FinetuneTrainer, MaskedLMTrainer, Masking, masked_accuracy
from ...training.trainer import Training, training_arguments
from ..context import LABELLED
from ..measure import dev_score, measure_classifier, require_above_chance
from ..step import Step
from ..student_start import first_student, start_inputs
from ..supervision import answers_in_short
from .distil import train


def pretraining_vocabulary(settings: PretrainSettings, corpus: str) -> WordPieceTokenizer:
    """The vocabulary of a teacher that is pretrained in the run: the given one, or one that is learnt from `corpus`."""
    if settings.vocab_file is not None:
        return WordPieceTokenizer.from_vocab_file(settings.vocab_file, lowercase=settings.lowercase)
    return train_vocabulary(read_lines(corpus), settings.vocab_size, settings.lowercase)


def start_vocabulary(settings: VocabularySettings, data: TaskData) -> WordPieceTokenizer:
    """The vocabulary of a run without a teacher: the given one, or one that is learnt from the rows it trains on."""
    if settings.file is not None:
        return WordPieceTokenizer.from_vocab_file(settings.file, lowercase=settings.lowercase)
    rows = [*data.train, *(data.pool.rows if data.pool else ())]
    texts = (text for row in rows for text in row.content if text)
    return train_vocabulary(texts, settings.size, settings.lowercase)


class PretrainTeacher(Step):
    """Masked-LM pre-training from scratch on the general corpus, with a vocabulary of its own if none is given."""

    name = "pretrain"
    settings: PretrainSettings

    def inputs(self) -> dict[str, Any]:
        seed, corpus = self.context.config.seed, self.context.corpus_inputs()
        settings = {**self.settings.model_dump(mode="json"), "training": self.settings.training.decisive()}
        return {"seed": seed, "general_corpus": corpus, "teacher.pretrain": settings}

    def run(self) -> dict[str, Any]:
        context, settings, folder, seed = self.context, self.settings, self.folder, self.context.config.seed
        tokenizer = self._tokenizer()
        corpus = context.tokenised_corpus(tokenizer, settings.whole_word_masking)
        paddle.seed(seed)
        model = build_masked_lm(tokenizer.vocab_size, settings.shape, pad_token_id=tokenizer.pad_id)
        args = training_arguments(settings.training, len(corpus.train), folder, context.folder.vdl(folder), seed)
        how = context.watcher, context.config.save_minutes
        training = Training(args, corpus.train, tokenizer.pad_id, "pre-training", None, *how)
        masking = Masking(tokenizer, settings.mask_probability, settings.whole_word_masking)
        result = train(MaskedLMTrainer(model, masking, training))
        held_out = corpus.held_out.take(range(len(corpus.held_out)))
        plain = Masking(tokenizer, settings.mask_probability, whole_words=False)
        result["held_out"] = masked_accuracy(model, held_out, plain, seed)
        save_model(model, tokenizer, self.product)
        return result

    def gate(self) -> list[str]:
        # the vocabulary is known only now, and the student may have another one
        self.context.planned_objectives(self.context.shares_vocabulary)
        return []

    def _tokenizer(self) -> WordPieceTokenizer:
        settings = self.settings
        if settings.vocab_file is not None:
            return pretraining_vocabulary(settings, "")
        built = self.folder / "vocabulary"
        with main_first(built):
            if whole_or_none(built / SEALED, "vocabulary") is None:
                pretraining_vocabulary(settings, self.context.corpus_settings.path).save(built)
                write_seal(built / SEALED, {}, [file for file in built.iterdir() if file.name != SEALED])
        return WordPieceTokenizer.from_folder(built)


class RandomStart(Step):
    """Without a teacher: the vocabulary and the family (BERT) of a student that starts at random."""

    name = "start"

    def inputs(self) -> dict[str, Any]:
        data, settings = self.context.data, self.settings
        text = {"train": data.fingerprints["train"], "unlabelled": data.pool and data.pool.fingerprint}
        return {"vocabulary": settings.model_dump(mode="json"), "text": text, "seed": self.context.config.seed}

    def run(self) -> dict[str, Any]:
        context, tokenizer = self.context, start_vocabulary(self.settings, self.context.data)
        paddle.seed(context.config.seed)
        model = build_masked_lm(tokenizer.vocab_size, context.config.student.shape, pad_token_id=tokenizer.pad_id)
        save_model(model, tokenizer, self.product)
        return {"tokens": tokenizer.vocab_size}


class ClassifierStep(Step):
    """A step whose product is a classifier, which reads the ids of `side` and is scored on the test rows."""

    side: Side = "teacher"

    def measure_inputs(self) -> dict[str, Any]:
        pool = self.context.data.pool if self.side == "teacher" else None
        return {**self.context.test_inputs(), **({"unlabelled": pool.fingerprint} if pool else {})}

    def measure(self) -> dict[str, Any]:
        context, pool = self.context, self.context.data.pool
        model = context.load_classifier(self.product)
        measured = measure_classifier(context, model, self.folder, self.side, self.settings)
        if pool is not None and self.side == "teacher":
            answers = answers_in_short(context, model, "teacher")
            measured["unlabelled"] = {"fingerprint": pool.fingerprint, **answers}
        return measured

    def gate(self) -> list[str]:
        return require_above_chance(self.context, self.folder) if self.side == "teacher" else []


class GivenTeacher(ClassifierStep):
    """A teacher that is fine-tuned already: nothing to train, only to measure."""

    name = "teacher"

    def inputs(self) -> dict[str, Any]:
        return {"weights": self.context.teacher_identity("finetuned")}

    def run(self) -> dict[str, Any]:
        shape, teacher = ("num_hidden_layers", "hidden_size", "num_attention_heads"), self.context.teacher or {}
        return {"shape": {key: teacher[key] for key in shape}}  # for the report, which has no model

    def files(self) -> list[Path]:
        return []  # the user's, known by their hash in `inputs`


class Finetune(ClassifierStep):
    """A classifier trained on the task's labels; keeps the best checkpoint by the dev metric."""

    settings: TrainingSettings
    label: str  # on the progress line

    @property
    def seed(self) -> int:
        """Of the order of the rows, and of weights that start at random."""
        return self.context.config.seed

    def untrained(self) -> Any:
        """The model before fine-tuning."""
        raise NotImplementedError

    def run(self) -> dict[str, Any]:
        context, settings, folder, model = self.context, self.settings, self.folder, self.untrained()
        rows, tokenizer = context.rows(LABELLED, self.side), context.tokenizers[self.side]
        count, vdl = rows_of_batches(rows), context.folder.vdl(folder)
        args = training_arguments(settings, count, folder, vdl, self.seed)
        score = dev_score(context, model, self.side, settings)
        how = context.watcher, context.config.save_minutes
        training = Training(args, rows, tokenizer.pad_id, self.label, score, *how, settings.patience)
        result = train(FinetuneTrainer(model, context.data.kind, training, context.data.class_weights))
        save_model(model, tokenizer, self.product)
        return result


class FinetuneTeacher(Finetune):
    """The pretrained teacher, fine-tuned on the task."""

    name, label = "finetune", "teacher fine-tuning"

    def inputs(self) -> dict[str, Any]:
        teacher = self.context.config.teacher
        assert teacher is not None, "the plan has this step where there is a teacher"
        return {
            **self.context.task_inputs(),
            "seed": self.seed,
            "teacher.finetune": self.settings.decisive(),
            "teacher.dropout": [teacher.hidden_dropout_prob, teacher.attention_probs_dropout_prob],
            "upstream": {"pretrained teacher": self.context.teacher_identity("pretrained")},
        }

    @property
    def seed(self) -> int:
        teacher, run = self.context.config.teacher, self.context.config.seed
        return run if teacher is None or teacher.seed is None else teacher.seed

    def untrained(self) -> Any:
        paddle.seed(self.seed)
        dropout = {"hidden_dropout_prob", "attention_probs_dropout_prob"}
        teacher = self.context.config.teacher
        changes = teacher.model_dump(include=dropout) if teacher else {}
        return self.context.load_classifier(self.context.teacher_model("pretrained"), changes, new_head=True)


class Baseline(Finetune):
    """The student, fine-tuned on the labels alone from the same start as the first stage."""

    name = label = "baseline"
    side = "student"

    def inputs(self) -> dict[str, Any]:
        context = self.context
        return {
            **context.task_inputs(),
            "student": context.config.student.model_dump(mode="json"),
            "baseline": self.settings.decisive(),
            "upstream": {"vocabulary": context.tokenizers[self.side].fingerprint, **start_inputs(context)},
        }

    def untrained(self) -> Any:
        return first_student(self.context)

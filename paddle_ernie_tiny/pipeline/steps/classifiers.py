"""Steps that make the teacher: masked-LM pre-training where there is none, and fine-tuning on the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle

from ...config import PretrainSettings, TrainingSettings
from ...data.corpus import read_lines
from ...data.tokenization import WordPieceTokenizer, train_vocabulary
from ...distributed import main_first
from ...kinds.metrics import METRICS
from ...models.build import build_masked_lm
from ...models.weights import save_model
from ...training.batches import corpus_rows
from ...training.inference import predict
from ...training.tasks import FinetuneTrainer, MaskedLMTrainer, Masking, masked_accuracy
from ...training.trainer import Training, remove_checkpoints, training_arguments
from ..context import RunContext
from ..layout import FINAL
from ..measure import measure_classifier, require_above_chance
from ..step import Step


class PretrainTeacher(Step):
    """Masked-LM pre-training from scratch on the general corpus, with a vocabulary of its own if none is given."""

    name = "pretrain"

    def __init__(self, context: RunContext):
        super().__init__(context)
        self.folder = context.folder.pretrained
        self.product = self.folder / FINAL
        assert context.config.teacher.pretrain is not None
        self.settings: PretrainSettings = context.config.teacher.pretrain

    def inputs(self) -> dict[str, Any]:
        return {
            "seed": self.context.config.seed,
            "general_corpus": self.context.corpus_inputs(),
            "teacher.pretrain": {
                **self.settings.model_dump(mode="json"),
                "training": self.settings.training.decisive(),
            },
        }

    def run(self) -> dict[str, Any]:
        context, settings, folder, seed = self.context, self.settings, self.folder, self.context.config.seed
        tokenizer = self._tokenizer()
        corpus = context.tokenised_corpus(tokenizer, settings.whole_word_masking)
        paddle.seed(seed)
        model = build_masked_lm(tokenizer.vocab_size, settings.shape, pad_token_id=tokenizer.pad_id)
        args = training_arguments(settings.training, len(corpus.train), folder, context.folder.vdl(folder), seed)
        training = Training(args, corpus.train, tokenizer.pad_id, "pre-training", watcher=context.watcher)
        masking = Masking(tokenizer, settings.mask_probability, settings.whole_word_masking)
        result = MaskedLMTrainer(model, masking, training).fit()
        held_out = corpus_rows(corpus.held_out, range(len(corpus.held_out)))
        plain = Masking(tokenizer, settings.mask_probability, whole_words=False)
        result["held_out"] = masked_accuracy(model, held_out, plain, seed)
        save_model(model, tokenizer, self.product)
        remove_checkpoints(folder)
        return result

    def _tokenizer(self) -> WordPieceTokenizer:
        settings, corpus = self.settings, self.context.config.general_corpus
        if settings.vocab_file is not None:
            return WordPieceTokenizer.from_vocab_file(settings.vocab_file, lowercase=settings.lowercase)
        built = self.folder / "vocabulary"
        with main_first():
            if not (built / "tokenizer.json").is_file():
                assert corpus is not None, "the schema asks for general_corpus"
                train_vocabulary(read_lines(corpus.path), settings.vocab_size, settings.lowercase).save(built)
        return WordPieceTokenizer.from_folder(built)


class Finetune(Step):
    """A classifier trained on the task's labels; keeps the best checkpoint by the dev metric."""

    label: str  # on the progress line

    def _finetune(self, model: Any, settings: TrainingSettings) -> dict[str, Any]:
        context, folder, kind = self.context, self.folder, self.context.data.kind
        rows, pad_id = context.rows("train"), context.tokenizer.pad_id
        args = training_arguments(settings, len(rows), folder, context.folder.vdl(folder), context.config.seed)
        score = dev_score(context, model, settings)
        training = Training(args, rows, pad_id, self.label, score, context.watcher)
        result = FinetuneTrainer(model, kind, training).fit()
        save_model(model, context.tokenizer, self.product)
        remove_checkpoints(folder)
        return result

    def measure_inputs(self) -> dict[str, Any]:
        return self.context.test_inputs()

    def measure(self) -> dict[str, Any]:
        return measure_classifier(self.context, self.product, self.folder)


class FinetuneTeacher(Finetune):
    """The pretrained teacher, fine-tuned on the task."""

    name, label = "finetune", "teacher fine-tuning"

    def __init__(self, context: RunContext):
        super().__init__(context)
        self.folder = context.folder.finetuned
        self.product = self.folder / FINAL
        teacher = context.config.teacher
        assert teacher.finetune is not None
        self.settings: TrainingSettings = teacher.finetune
        self.dropout = {
            "hidden_dropout_prob": teacher.hidden_dropout_prob,
            "attention_probs_dropout_prob": teacher.attention_probs_dropout_prob,
        }

    def inputs(self) -> dict[str, Any]:
        return {
            **self.context.task_inputs(),
            "teacher.finetune": self.settings.decisive(),
            "teacher.dropout": list(self.dropout.values()),
            "upstream": {"pretrained teacher": self.context.teacher_identity("pretrained")},
        }

    def run(self) -> dict[str, Any]:
        paddle.seed(self.context.config.seed)
        model = self.context.load_classifier(self.context.pretrained_model, self.dropout)
        return self._finetune(model, self.settings)

    def gate(self) -> None:
        require_above_chance(self.context, self.folder)


class GivenTeacher(Step):
    """A teacher that is fine-tuned already: nothing to train, only to measure."""

    name = "teacher"

    def __init__(self, context: RunContext):
        super().__init__(context)
        self.folder, self.product = context.folder.given, context.finetuned_model

    def inputs(self) -> dict[str, Any]:
        return {"weights": self.context.teacher_identity("finetuned")}

    def run(self) -> dict[str, Any]:
        return {}

    def measure_inputs(self) -> dict[str, Any]:
        return self.context.test_inputs()

    def measure(self) -> dict[str, Any]:
        return measure_classifier(self.context, self.product, self.folder)

    def gate(self) -> None:
        require_above_chance(self.context, self.folder)


class Baseline(Finetune):
    """The student, fine-tuned on the labels alone from the same start as the first stage."""

    name = label = "baseline"

    def __init__(self, context: RunContext):
        super().__init__(context)
        self.folder = context.folder.baseline
        self.product = self.folder / FINAL
        assert context.config.baseline is not None
        self.settings: TrainingSettings = context.config.baseline

    def inputs(self) -> dict[str, Any]:
        context = self.context
        return {
            **context.task_inputs(),
            "student": context.config.student.model_dump(mode="json"),
            "baseline": self.settings.decisive(),
            "upstream": {"vocabulary": context.tokenizer.fingerprint, **context.start_inputs()},
        }

    def run(self) -> dict[str, Any]:
        return self._finetune(self.context.first_student(), self.settings)


def dev_score(context: RunContext, model: Any, settings: TrainingSettings) -> Callable[[], float]:
    """() -> the task's metric on the dev split (1 is perfect)."""
    rows, kind, labels = context.rows("dev"), context.data.kind, context.data.labels
    batch_size = settings.per_device_eval_batch_size

    def score() -> float:
        scored = predict(model, kind, rows, context.tokenizer.pad_id, labels, batch_size)
        return METRICS[context.config.task.metric or ""](scored)

    return score

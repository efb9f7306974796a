"""Small random models and rows to train on, and the settings of such a training."""

import numpy as np

from paddle_ernie_tiny.config import ObjectiveSettings, TrainingSettings
from paddle_ernie_tiny.data.rows import EncodedRows
from paddle_ernie_tiny.distillation.objective import Objective
from paddle_ernie_tiny.kinds import KINDS

SETTINGS = TrainingSettings(
    max_steps=20, learning_rate=1e-3, per_device_train_batch_size=4, logging_steps=5, save_steps=5
)


CLASSES = KINDS["classification"]


def build_objective(student, teacher, stage):
    return Objective(ObjectiveSettings(), student.config, teacher.config, CLASSES, stage.label_terms)


def fit(trainer):
    """As the steps of a run train."""
    checkpoint = trainer.begin()
    if trainer.steps_left:
        trainer.train(resume_from_checkpoint=checkpoint)
    return trainer.conclude()


def classifier(layers=1, width=8, dropout=0.0, vocab_size=40, kind=CLASSES):
    from paddlenlp import transformers as nlp

    return getattr(nlp, f"Bert{kind.head}")(
        nlp.BertConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=16,
            type_vocab_size=2,
            num_labels=2,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )


def rows(count=22, labelled=True):
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 40, size=rng.integers(3, 12)).tolist() for _ in range(count)]
    labels = np.array([row[0] % 2 for row in ids]) if labelled else None
    return EncodedRows(ids, [[0] * len(row) for row in ids], labels)

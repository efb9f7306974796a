"""What the benchmarks of distillation share: models, turns, and what a reader needs to know of the machine."""

from __future__ import annotations

import os
import platform
import time

import numpy as np

from paddle_ernie_tiny.machine import cpu_cores

TEACHER = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
STUDENTS = {
    "4l-312h": {"num_hidden_layers": 4, "hidden_size": 312, "num_attention_heads": 12, "intermediate_size": 1200},
    "3l-192h": {"num_hidden_layers": 3, "hidden_size": 192, "num_attention_heads": 12, "intermediate_size": 768},
    "6l-384h": {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536},
}
VOCABULARY = 21128


def alternate(work: dict, rounds: int) -> dict[str, float]:
    """Median seconds of each piece of work; they take turns, and the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values[1:])) for name, values in seconds.items()}


def classifier(shape: dict, vocabulary: int = VOCABULARY):
    from paddlenlp.transformers import BertConfig, BertForSequenceClassification

    options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "type_vocab_size": 2}
    return BertForSequenceClassification(BertConfig(vocab_size=vocabulary, num_labels=2, **options, **shape))


def pair(stage_name: str, student_name: str):
    """Objective, wrapped student and teacher model, on random weights."""
    import paddle

    paddle.seed(0)
    student, teacher = classifier(STUDENTS[student_name]), classifier(TEACHER)
    return *distilled(stage_name, student, teacher), teacher


def distilled(stage_name: str, student, teacher):
    """The stage's objective with its default terms, and the student wrapped for it."""
    from paddle_ernie_tiny.config import ObjectiveSettings
    from paddle_ernie_tiny.distillation.objective import Objective
    from paddle_ernie_tiny.distillation.students import DistilledStudent
    from paddle_ernie_tiny.kinds import KINDS
    from paddle_ernie_tiny.stages import STAGES

    settings, kind, label_terms = ObjectiveSettings(), KINDS["classification"], STAGES[stage_name].label_terms
    objective = Objective(settings, student.config, teacher.config, kind, label_terms)
    return objective, DistilledStudent(student, objective, teacher.config.hidden_size)


def rounded(values: dict) -> dict:
    return {name: round(value, 4) for name, value in values.items()}


def machine() -> dict:
    from importlib import metadata

    return {
        "python": platform.python_version(),
        "paddle": metadata.version("paddlepaddle"),
        "paddlenlp": metadata.version("paddlenlp"),
        "cores": cpu_cores(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }

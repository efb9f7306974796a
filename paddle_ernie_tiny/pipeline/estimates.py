"""What a run will take of disk, memory and time, by rough estimates before it starts."""

from __future__ import annotations

from pathlib import Path
from timeit import Timer

import paddle

from ..config import TrainingSettings
from ..config.student_settings import VocabularySettings
from ..errors import Finding
from ..files import free_bytes
from ..machine import available_memory
from ..training.trainer import checkpoint_steps, total_steps
from .context import RunContext
from .findings import found, task_rows, windows_per_row
from .measure import LATENT_ROWS, LATENT_SPLITS, PROBE_TRAIN_ROWS, latent_settings

_BYTES = 4  # a float32 weight
_CHECKPOINTS = 3  # two that are kept, and one that is being written
_FILLED = 0.6  # mean length of a row over the longest: batches are of similar lengths, and most rows are shorter


def resource_findings(context: RunContext) -> list[Finding]:
    """Free disk and memory against an estimate, and the time of each step by this machine's speed."""
    config = context.config
    known = context.teacher_source is not None
    made = config.student.init.vocabulary or VocabularySettings()  # of a run without a teacher
    planned = context.teacher["vocab_size"] if context.teacher else made.size
    tokens = context.tokenizers["student"].vocab_size if known else planned
    student, teacher = _weights(config.student.model_dump(), tokens), 0
    if context.teacher is not None:
        teacher = _weights(context.teacher, context.teacher["vocab_size"])
    trained = [teacher] * (config.teacher is not None and bool(config.teacher.pretrain) + bool(config.teacher.finetune))
    trained += [student] * (bool(config.baseline) + len(config.stages) + bool(config.quantization_aware))
    # finished models; and, of the largest, checkpoints of weights and two AdamW moments
    need = _BYTES * (sum(trained) + 3 * _CHECKPOINTS * max(trained)) + context.corpus_bytes
    free, _ = free_bytes(Path(config.output_dir))
    what = f"about {need / 1e9:.1f} GB will be written, {free / 1e9:.1f} GB are free"
    disk = found("disk", what, "output_dir", free < 1.2 * need, "make room, or choose another output_dir")
    # weights, gradients and two moments of what is trained, beside a teacher's weights; activations come on top
    need, free = _BYTES * max(4 * teacher, 4 * student + teacher) + 10**9, available_memory()
    what = f"about {need / 1e9:.1f} GB for models, optimiser, Paddle, without activations; {free / 1e9:.1f} GB free"
    memory = found("memory", what, "machine", free < need, "free memory, or use smaller models")
    return [disk, memory, _time(context)]


def _weights(shape: dict, tokens: int) -> int:
    return encoder_parameters(shape) + (tokens + 512) * shape["hidden_size"]


def encoder_parameters(shape: dict) -> int:
    """Weights of the layers, without embeddings: 4 h^2 + 2 h f per layer, and the biases and norms."""
    h, f = shape["hidden_size"], shape["intermediate_size"]
    return shape["num_hidden_layers"] * (4 * h * h + 2 * h * f + 9 * h + f)


def _time(context: RunContext) -> Finding:
    """The minutes of each step's training, and those of all evaluation and measuring, by the machine's speed."""
    speed = machine_flops()
    seconds = {name: flops / speed for name, flops in run_flops(context).items()}
    parts = ", ".join(f"{name} {value / 60:.0f}" for name, value in seconds.items())
    minutes = sum(seconds.values()) / 60
    about = f"about {minutes:.0f} minutes" if minutes >= 1.5 else "about a minute or less"
    what = (
        f"{about} (rough estimate) of matrix products at {speed / 1e9:.0f} GFLOP/s ({parts}, in minutes); a real run "
        "takes one and a half to three times that, and what augmentation, export and benchmark take"
    )
    return found("time", what, "machine")


def run_flops(context: RunContext) -> dict[str, float]:
    """FLOPs of a run by step, and those of all evaluation and measuring together under their own name."""
    config, data, teacher = context.config, context.data, context.teacher
    student = config.student.model_dump()
    corpus = config.general_corpus
    length = _FILLED * config.task.max_length_tokens
    train, dev, test = (round(len(rows) * windows_per_row(context, rows)) for rows in (data.train, data.dev, data.test))
    own = length, task_rows(context)
    # three bytes per Chinese character, and about forty characters per line
    general = (_FILLED * corpus.max_length_tokens, max(1, context.corpus_bytes // 120)) if corpus else (length, train)
    flops: dict[str, float] = {}
    measuring = 0.0

    def add(name: str, settings: TrainingSettings, rows: tuple, trained: dict, watched: dict | None = None) -> int:
        """Adds a training; gives how often it scores the dev split."""
        steps, each = total_steps(settings, rows[1]), rows[0]
        tokens = settings.per_device_train_batch_size * settings.gradient_accumulation_steps * each
        flops[name] = flops.get(name, 0.0) + steps * step_flops(trained, watched, tokens, each)
        return -(-steps // checkpoint_steps(settings, steps))

    def over(rows: int, *models: dict | None) -> float:
        return sum(forward_flops(model, rows * length, length) for model in models if model is not None)

    given = config.teacher
    if given and given.pretrain is not None:
        add("pretrain", given.pretrain.training, general, teacher or {})
    finetune = None if given is None else given.finetune
    classifiers = (("finetune", finetune, teacher), ("baseline", config.baseline, student))
    for name, settings, model in classifiers:
        if settings is not None and model is not None:
            times = add(name, settings, (length, train), model)
            measuring += over(times * dev + test, model)
    for index, section in enumerate(config.stages):
        stage = context.stage(index)
        times = add(stage.name, section.training, general if stage.is_general else own, student, teacher)
        scored = times * dev if stage.label_terms else min(train, PROBE_TRAIN_ROWS)
        latent = len(latent_settings(context)) * len(LATENT_SPLITS) * LATENT_ROWS * (1 + (index == 0))
        measuring += over(scored + test, student) + over(latent, student, teacher)
    if config.quantization_aware is not None:  # if it is needed
        measuring += over(
            add("quantization_aware", config.quantization_aware.training, own, student, teacher) * dev, student
        )
    return {**flops, "evaluation and measuring": measuring}


def forward_flops(shape: dict, tokens: float, length: float) -> float:
    """FLOPs of a forward pass: 2 per weight and token, and 4 h per pair of tokens and layer for attention."""
    attention = 4.0 * shape["hidden_size"] * length * shape["num_hidden_layers"]
    return tokens * (2.0 * encoder_parameters(shape) + attention)


def step_flops(student: dict, teacher: dict | None, tokens: float, length: float) -> float:
    """FLOPs of one training step: three forward passes for what is trained, one for its teacher."""
    own = 3 * forward_flops(student, tokens, length)
    return own + (forward_flops(teacher, tokens, length) if teacher else 0.0)


def machine_flops() -> float:
    """FLOP/s of float32 matrix products of a layer's size on Paddle's present device, measured for under a second."""
    a, b = paddle.rand([2048, 512]), paddle.rand([512, 512])
    products, seconds = Timer(lambda: float(paddle.matmul(a, b)[0, 0])).autorange()  # reading it waits for the device
    return products * 2 * 2048 * 512 * 512 / seconds

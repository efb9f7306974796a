"""Rough estimates of what a run will take: disk, memory, time. Each says how it was reckoned."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from ..data.corpus import corpus_files
from ..distillation.stages import STAGES
from ..models.build import read_model_config
from ..training.trainer import total_steps
from .context import RunContext
from .findings import Finding

_BYTES = 4  # a float32 weight
_CHECKPOINTS = 3  # two that are kept, and one that is being written


def encoder_parameters(shape: dict) -> int:
    """Weights of the layers, without embeddings: 4 h^2 + 2 h f a layer, and the biases and norms."""
    h, f = shape["hidden_size"], shape["intermediate_size"]
    return shape["num_hidden_layers"] * (4 * h * h + 2 * h * f + 9 * h + f)


def step_flops(student: dict, teacher: dict | None, tokens: int, length: int) -> float:
    """FLOPs of one training step: 6 a weight and token for what is trained, 2 for a teacher's forward.

    Attention adds 4 h a pair of tokens and layer to a forward, three times that to a training step.
    """

    def forward(shape: dict) -> float:
        attention = 4.0 * shape["hidden_size"] * length * shape["num_hidden_layers"]
        return tokens * (2.0 * encoder_parameters(shape) + attention)

    return 3 * forward(student) + (forward(teacher) if teacher else 0.0)


def resource_findings(context: RunContext) -> list[Finding]:
    """Free disk and memory against an estimate, and the time of each step by this machine's speed."""
    config = context.config
    if config.teacher.pretrain is not None:
        teacher, vocabulary = config.teacher.pretrain.shape.model_dump(), config.teacher.pretrain.vocab_size
    else:
        teacher = read_model_config(context.teacher_source)
        vocabulary = teacher["vocab_size"]
    student = config.student.shape.model_dump()
    sizes = {
        name: encoder_parameters(shape) + (vocabulary + 512) * shape["hidden_size"]
        for name, shape in (("teacher", teacher), ("student", student))
    }
    return [
        _disk(context, sizes),
        *_memory(sizes),
        _time(context, teacher, student),
    ]


def _disk(context: RunContext, sizes: dict[str, int]) -> Finding:
    config = context.config
    trained = [sizes["teacher"]] * (bool(config.teacher.pretrain) + bool(config.teacher.finetune))
    trained += [sizes["student"]] * (bool(config.baseline) + len(config.stages))
    # finished models; and, of the largest, checkpoints of weights and two AdamW moments
    need = _BYTES * (sum(trained) + 3 * _CHECKPOINTS * max(trained))
    if config.general_corpus is not None:
        need += sum(file.stat().st_size for file in corpus_files(config.general_corpus.path))
    existing = Path(config.output_dir).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    what = f"about {need / 1e9:.1f} GB will be written, {free / 1e9:.1f} GB are free"
    if free < 1.2 * need:
        return Finding("warning", "disk", what, "output_dir", "make room, or choose another output_dir")
    return Finding("note", "disk", what, "output_dir")


def _memory(sizes: dict[str, int]) -> list[Finding]:
    free = available_memory()
    if free is None:
        return []
    # weights, gradients and two moments of what is trained, beside a teacher's weights; activations come on top
    need = _BYTES * max(4 * sizes["teacher"], 4 * sizes["student"] + sizes["teacher"]) + 1e9
    what = (
        f"about {need / 1e9:.1f} GB for models, optimiser and Paddle, without activations; {free / 1e9:.1f} GB are free"
    )
    if free < need:
        return [Finding("warning", "memory", what, "machine", "free memory, or use smaller models")]
    return [Finding("note", "memory", what, "machine")]


def available_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _time(context: RunContext, teacher: dict, student: dict) -> Finding:
    speed, seconds = machine_flops(), {}
    for name, settings, shape, watched, length, rows in _steps(context, teacher, student):
        batch = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
        steps = settings.max_steps or total_steps(settings, rows)
        seconds[name] = steps * step_flops(shape, watched, batch * length, length) / speed
    parts = ", ".join(f"{name} {value / 60:.0f}" for name, value in seconds.items())
    what = (
        f"very roughly {sum(seconds.values()) / 60:.0f} minutes of matrix products at {speed / 1e9:.0f} GFLOP/s "
        f"({parts}); real training takes one and a half to three times that"
    )
    return Finding("note", "time", what, "machine")


def _steps(context: RunContext, teacher: dict, student: dict):
    """(name, training settings, trained shape, teacher's shape, mean length, rows) of every step that trains."""
    config, train = context.config, context.data.train
    task_length = 0.6 * config.task.max_length_tokens  # batches are of similar lengths; most rows are shorter
    rows = 1
    if config.general_corpus is not None:
        # three bytes a Chinese character, and about forty characters a line
        rows = max(1, sum(file.stat().st_size for file in corpus_files(config.general_corpus.path)) // 120)
    if config.teacher.pretrain is not None:
        length = 0.6 * config.general_corpus.max_length_tokens
        yield "pretrain", config.teacher.pretrain.training, teacher, None, length, rows
    if config.teacher.finetune is not None:
        yield "finetune", config.teacher.finetune, teacher, None, task_length, len(train)
    if config.baseline is not None:
        yield "baseline", config.baseline, student, None, task_length, len(train)
    for settings in config.stages:
        if STAGES[settings.stage].data_kind == "general":
            length = 0.6 * config.general_corpus.max_length_tokens
            yield settings.stage, settings.training, student, teacher, length, rows
        else:
            yield settings.stage, settings.training, student, teacher, task_length, len(train)


def machine_flops(seconds: float = 0.2) -> float:
    """FLOP/s of float32 matrix products of a layer's size on Paddle's present device."""
    import paddle

    a, b = paddle.rand([2048, 512]), paddle.rand([512, 512])
    float(paddle.matmul(a, b).sum())
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(4):
            c = paddle.matmul(a, b)
        float(c[0, 0])  # waits for the device
        done += 4
    return done * 2 * 2048 * 512 * 512 / (time.perf_counter() - start)

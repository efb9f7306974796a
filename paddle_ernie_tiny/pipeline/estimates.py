"""Rough estimates of what a run will take: disk, memory, time. Each says how it was computed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paddle

from ..config import TrainingSettings
from ..data.corpus import corpus_files
from ..errors import Finding
from ..files import free_bytes
from ..machine import available_memory
from ..training.trainer import total_steps
from .context import RunContext

_BYTES = 4  # a float32 weight
_CHECKPOINTS = 3  # two that are kept, and one that is being written


def encoder_parameters(shape: dict) -> int:
    """Weights of the layers, without embeddings: 4 h^2 + 2 h f per layer, and the biases and norms."""
    h, f = shape["hidden_size"], shape["intermediate_size"]
    return shape["num_hidden_layers"] * (4 * h * h + 2 * h * f + 9 * h + f)


def step_flops(student: dict, teacher: dict | None, tokens: float, length: float) -> float:
    """FLOPs of one training step: 6 per weight and token for what is trained, 2 for a teacher's forward pass.

    Attention adds 4 h per pair of tokens and layer to a forward pass, three times that to a training step.
    """

    def forward(shape: dict) -> float:
        attention = 4.0 * shape["hidden_size"] * length * shape["num_hidden_layers"]
        return tokens * (2.0 * encoder_parameters(shape) + attention)

    return 3 * forward(student) + (forward(teacher) if teacher else 0.0)


def resource_findings(context: RunContext, teacher: dict[str, Any]) -> list[Finding]:
    """Free disk and memory against an estimate, and the time of each step by this machine's speed.

    `teacher` is its configuration.
    """
    student = context.config.student.shape.model_dump()
    sizes = {
        name: encoder_parameters(shape) + (teacher["vocab_size"] + 512) * shape["hidden_size"]
        for name, shape in (("teacher", teacher), ("student", student))
    }
    return [
        _disk(context, sizes),
        _memory(sizes),
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
    free, _ = free_bytes(Path(config.output_dir))
    what = f"about {need / 1e9:.1f} GB will be written, {free / 1e9:.1f} GB are free"
    if free < 1.2 * need:
        return Finding("warning", "disk", what, "output_dir", "make room, or choose another output_dir")
    return Finding("note", "disk", what, "output_dir")


def _memory(sizes: dict[str, int]) -> Finding:
    free = available_memory()
    # weights, gradients and two moments of what is trained, beside a teacher's weights; activations come on top
    need = _BYTES * max(4 * sizes["teacher"], 4 * sizes["student"] + sizes["teacher"]) + 1e9
    what = (
        f"about {need / 1e9:.1f} GB for models, optimiser and Paddle, without activations; {free / 1e9:.1f} GB are free"
    )
    if free < need:
        return Finding("warning", "memory", what, "machine", "free memory, or use smaller models")
    return Finding("note", "memory", what, "machine")


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


def _steps(
    context: RunContext, teacher: dict[str, Any], student: dict[str, Any]
) -> Iterator[tuple[str, TrainingSettings, dict[str, Any], dict[str, Any] | None, float, int]]:
    """(name, training settings, trained shape, teacher's shape, mean length, rows) of every step that trains."""
    config, train = context.config, len(context.data.train)
    task_length = 0.6 * config.task.max_length_tokens  # batches are of similar lengths; most rows are shorter
    general_length, rows = 0.0, 1
    if config.general_corpus is not None:
        general_length = 0.6 * config.general_corpus.max_length_tokens
        # three bytes per Chinese character, and about forty characters per line
        rows = max(1, sum(file.stat().st_size for file in corpus_files(config.general_corpus.path)) // 120)
    if config.teacher.pretrain is not None:
        yield "pretrain", config.teacher.pretrain.training, teacher, None, general_length, rows
    if config.teacher.finetune is not None:
        yield "finetune", config.teacher.finetune, teacher, None, task_length, train
    if config.baseline is not None:
        yield "baseline", config.baseline, student, None, task_length, train
    for index, settings in enumerate(config.stages):
        general = context.stage(index).data == "general"
        length, count = (general_length, rows) if general else (task_length, train)
        yield settings.stage, settings.training, student, teacher, length, count


def machine_flops(seconds: float = 0.2) -> float:
    """FLOP/s of float32 matrix products of a layer's size on Paddle's present device."""
    a, b = paddle.rand([2048, 512]), paddle.rand([512, 512])
    float(paddle.matmul(a, b).sum())
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(4):
            c = paddle.matmul(a, b)
        float(c[0, 0])  # waits for the device
        done += 4
    return done * 2 * 2048 * 512 * 512 / (time.perf_counter() - start)

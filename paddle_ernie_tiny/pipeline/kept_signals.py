"""Where a run keeps the teacher's cached signals, what decides them, and how much space they take."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..config import StageSettings
from ..data.corpus import TextRows, corpus_files
from ..data.rows import EncodedRows, characters
from ..distillation.objective import Objective, stage_objective
from ..distillation.signals import Layout, SignalCache, rows_fingerprint
from ..distillation.teacher import Teacher
from ..distributed import main_first
from ..errors import Finding, InputError
from ..files import free_bytes
from ..models.weights import model_fingerprint
from ..stages import STAGES, Stage
from ..terms import Needs
from .context import RunContext
from .findings import general_passes
from .lineage import fingerprint


def signal_layout(needs: Needs, teacher_width: int, stage: Stage, context: RunContext) -> Layout:
    """What is kept of each token: the needs, and on task data the logits, which a later stage reads if this one not."""
    kept = Needs(needs.hidden, needs.attention, needs.parts, logits=stage.data == "task")
    return Layout(kept, teacher_width, len(context.data.labels), context.data.kind.by_token)


def stage_teacher(
    context: RunContext, model: Any, objective: Objective, stage: Stage, settings: StageSettings, rows: Any
) -> Teacher:
    """The teacher of a stage: asked at every step, or with its signals for `rows` kept on disk.

    They are in the run folder, or in the configured `signals_folder`; stages with the same teacher, data and needs
    share them. Signals in the run folder that belong to an earlier state of the run are made again; in a folder of the
    user's they are refused (InputError).
    """
    needs, static = objective.needs("teacher"), context.config.teacher.static_graph
    if settings.teacher_signals == "online":
        return Teacher(model, needs, static)
    layout = signal_layout(needs, model.config.hidden_size, stage, context)
    own = context.config.signals_folder is None
    base = context.folder.prepared("signals") if own else Path(context.config.signals_folder or "")
    folder = base / f"{stage.data}-{stage.teacher}-{fingerprint(layout.as_key())[:8]}"
    key = {
        "teacher": model_fingerprint(context.teacher_model(stage.teacher)),
        "data": rows.fingerprint if isinstance(rows, TextRows) else rows_fingerprint(rows),
        "tokenizer": context.tokenizer.fingerprint,
    }
    with main_first():
        cache = _open_cache(folder, key, layout, rows, own)
    return Teacher(model, layout.needs, static, cache)


def _open_cache(folder: Path, key: dict[str, str], layout: Layout, rows: TextRows | EncodedRows, own: bool):
    lengths = np.asarray(rows.lengths)
    try:
        return SignalCache(folder, key, layout, lengths)
    except InputError:
        if not own:
            raise
    print(f"  teacher signals: made again, those in {folder} are of an earlier state of this run", flush=True)
    shutil.rmtree(folder)
    return SignalCache(folder, key, layout, lengths)


def signals_findings(contexts: dict[str, RunContext], teacher: dict[str, Any]) -> list[Finding]:
    """What cached signals will take on disk, by an estimate of the tokens, and whether they are worth it.

    `teacher` is its configuration. Raises InputError if they do not fit on the disk.
    """
    context = next(iter(contexts.values()))
    config, sizes, found = context.config, {}, []
    for index, settings in enumerate(config.stages):
        if settings.teacher_signals == "online":
            continue
        stage = STAGES[settings.stage]
        for needs in _needs_of_caches(contexts, index, teacher):
            layout = signal_layout(needs, teacher["hidden_size"], stage, context)
            tokens, passes = _tokens(context, settings, stage)
            sizes[stage.data, stage.teacher, fingerprint(layout.as_key())] = tokens * layout.bytes_per_token
            what = (
                f"cached teacher signals: {layout.bytes_per_token / 1000:.1f} kB per token, about {tokens:,.0f} "
                f"tokens, {tokens * layout.bytes_per_token / 1e9:.1f} GB; {passes:.3g} passes over them"
            )
            where = f"stages[{index}] ({settings.stage})"
            if passes <= 1:
                remedy = "set teacher_signals: online, unless a later stage or run reads them"
                found.append(Finding("warning", "signals", f"{what}: none is read twice", where, remedy))
            else:
                found.append(Finding("note", "signals", what, where))
    need = sum(sizes.values())
    free, folder = free_bytes(Path(config.signals_folder or context.folder.shared))
    if need > free:
        raise InputError(
            f"cached teacher signals would take about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            str(folder),
            "make room, name another signals_folder, or set teacher_signals: online",
        )
    return found


def _needs_of_caches(contexts: dict[str, RunContext], index: int, teacher: dict[str, Any]) -> list[Needs]:
    """One for each set of signals that a stage keeps: students that are trained together share theirs."""
    each = [
        stage_objective(c.config, index, c.config.student, SimpleNamespace(**teacher)).needs("teacher")
        for c in contexts.values()
    ]
    together = next(iter(contexts.values())).stage(index).data == "general"
    return [Needs.union(each)] if together else each


def _tokens(context: RunContext, settings: StageSettings, stage: Stage) -> tuple[float, float]:
    """About how many tokens the stage asks the teacher about, and how often it goes over them."""
    config, training = context.config, settings.training
    if stage.data == "general" and config.general_corpus is not None:
        # about three bytes per Chinese character, and a token per character
        tokens = sum(file.stat().st_size for file in corpus_files(config.general_corpus.path)) / 3
        passes = general_passes(context, training)
    else:
        rows = context.data.train
        picked = [rows[i] for i in np.random.default_rng(config.seed).permutation(len(rows))[:2000]]
        length = np.mean([min(config.task.max_length_tokens, 3 + characters(example)) for example in picked])
        copies = 1 + (config.augmentation.copies_per_row if config.augmentation else 0)
        tokens = float(length * len(rows) * copies)
        batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
        passes = training.num_train_epochs or (training.max_steps or 0) * batch / (len(rows) * copies)
    return tokens * min(1.0, passes), passes

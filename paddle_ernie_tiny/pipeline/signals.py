"""Where a run keeps cached teacher signals, what decides them, and how much they take."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ..config import StageSettings, stage_objective
from ..data.corpus import TextRows, corpus_files
from ..distillation.objective import Objective
from ..distillation.signals import Layout, SignalCache, rows_fingerprint
from ..distillation.stages import STAGES
from ..distillation.teacher import CachedTeacher, Teacher
from ..distillation.together import JointObjective
from ..distributed import main_first
from ..errors import InputError
from ..models.build import read_model_config
from ..models.weights import model_fingerprint
from .context import RunContext, content
from .findings import Finding, general_passes
from .lineage import fingerprint


def signal_layout(objective: Objective | JointObjective, teacher_width: int, data_kind: str, labels: int) -> Layout:
    """What is kept of each token: the objective's needs, and the logits on task data."""
    by_token = objective.kind == "token_classification"
    return Layout(objective.needs("teacher"), teacher_width, labels if data_kind == "task" else 0, by_token)


def cached_teacher(context: RunContext, teacher: Teacher, objective, stage, rows) -> CachedTeacher:
    """The teacher with its signals for `rows` kept in the run folder, or in the configured `signals_folder`.

    Stages with the same teacher, data and needs share them. Signals in the run folder that belong to an earlier
    state of the run are made anew; in a folder of the user's they are refused (InputError).
    """
    layout = signal_layout(objective, teacher.model.config.hidden_size, stage.data_kind, len(context.data.labels))
    own = context.config.signals_folder is None
    base = context.shared / "data" / "signals" if own else Path(context.config.signals_folder)
    folder = base / f"{stage.data_kind}-{stage.teacher_kind}-{fingerprint(layout.as_key())[:8]}"
    key = {
        "teacher": model_fingerprint(context.teacher_model(stage.teacher_kind)),
        "data": rows.fingerprint if isinstance(rows, TextRows) else rows_fingerprint(rows),
        "tokenizer": context.tokenizer.fingerprint,
    }
    lengths = np.asarray(rows.lengths)
    with main_first():
        try:
            cache = SignalCache(folder, key, layout, lengths)
        except InputError:
            if not own:
                raise
            print(f"  teacher signals: made anew, {folder} was of an earlier state of this run", flush=True)
            shutil.rmtree(folder)
            cache = SignalCache(folder, key, layout, lengths)
    return CachedTeacher(teacher, cache)


def signals_findings(contexts: dict[str, RunContext]) -> list[Finding]:
    """What cached signals will take on disk, by an estimate of the tokens, and whether they are worth it.

    Raises InputError where they do not fit on the disk.
    """
    context = next(iter(contexts.values()))
    config, sizes, found = context.config, {}, []
    if config.teacher.pretrain is not None:
        teacher = SimpleNamespace(**config.teacher.pretrain.shape.model_dump())
    else:
        teacher = SimpleNamespace(**read_model_config(context.teacher_source))
    for index, settings in enumerate(config.stages):
        if settings.teacher_signals == "online":
            continue
        stage = STAGES[settings.stage]
        for objective in _objectives(contexts, index, teacher):
            layout = signal_layout(objective, teacher.hidden_size, stage.data_kind, len(context.data.labels))
            tokens, passes = _tokens(context, settings, stage.data_kind)
            sizes[stage.data_kind, stage.teacher_kind, fingerprint(layout.as_key())] = tokens * layout.bytes_per_token
            what = (
                f"cached teacher signals: {layout.bytes_per_token / 1000:.1f} kB a token, about {tokens:,.0f} tokens, "
                f"{tokens * layout.bytes_per_token / 1e9:.1f} GB; {passes:.3g} passes over them"
            )
            where = f"stages[{index}] ({settings.stage})"
            if passes <= 1:
                remedy = "set teacher_signals: online, unless a later stage or run reads them"
                found.append(Finding("warning", "signals", f"{what}: none is read twice", where, remedy))
            else:
                found.append(Finding("note", "signals", what, where))
    if sizes:
        folder = Path(config.signals_folder or context.shared).absolute()
        while not folder.exists():
            folder = folder.parent
        need, free = sum(sizes.values()), shutil.disk_usage(folder).free
        if need > free:
            raise InputError(
                f"cached teacher signals would take about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
                str(folder),
                "make room, name another signals_folder, or set teacher_signals: online",
            )
    return found


def _objectives(contexts: dict[str, RunContext], index: int, teacher) -> list[Objective | JointObjective]:
    """One for each set of signals that a stage keeps: students that are trained together share theirs."""
    stage = STAGES[next(iter(contexts.values())).config.stages[index].stage]
    each = {
        name: Objective(stage_objective(c.config, index), c.config.student, teacher, stage.label_terms, c.data.kind)
        for name, c in contexts.items()
    }
    if len(each) > 1 and stage.data_kind == "general":
        return [JointObjective(each)]
    return list(each.values())


def _tokens(context: RunContext, settings: StageSettings, data_kind: str) -> tuple[float, float]:
    """About how many tokens the stage asks the teacher about, and how often it goes over them."""
    config, training = context.config, settings.training
    if data_kind == "general":
        # about three bytes a Chinese character, and a token a character
        tokens = sum(file.stat().st_size for file in corpus_files(config.general_corpus.path)) / 3
        passes = general_passes(context, training)
    else:
        rows = context.data.train
        picked = [rows[i] for i in np.random.default_rng(config.seed).permutation(len(rows))[:2000]]
        longest = config.task.max_length_tokens
        length = np.mean([min(longest, 3 + sum(len(part) for part in content(e) if part)) for e in picked])
        copies = 1 + (config.augmentation.copies_per_row if config.augmentation else 0)
        tokens = float(length * len(rows) * copies)
        batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
        passes = training.num_train_epochs or training.max_steps * batch / (len(rows) * copies)
    return tokens * min(1.0, passes), passes

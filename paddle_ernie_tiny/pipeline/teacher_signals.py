"""How a stage asks its teacher: in which engine, and once per row or always. Settled here where it is `auto`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ..config import RunConfig
from ..data.rows import characters
from ..distributed import processes
from ..errors import Finding, InputError
from ..files import free_bytes
from ..seals import DamageError, read_seal
from ..terms import Needs
from .context import RunContext
from .estimates import encoder_parameters
from .findings import corpus_lines, found, passes_over, sample_of, windows_per_row
from .launch import find_device
from .step import DONE, INPUTS, RunFolder, fingerprint

WORTH = 5e12  # multiplications of a teacher: 30 batches of 16 x 128 tokens of BERT-base. To save fewer is not worth it
DISK_SHARE = 0.25  # of the free space: more than that is taken only where the user asks for it


def signals_of(context: RunContext, index: int) -> str:
    """The stage's `teacher_signals`, "online" or "cached".

    `auto` is what the stage's record says, if it was begun before with the same training. Else signals are cached on
    the CPU, in one process, on task data, if later passes save at least `WORTH` multiplications, and if they take at
    most `DISK_SHARE` of the free space.
    """
    settings = context.config.stages[index]
    if settings.teacher_signals != "auto":
        return settings.teacher_signals
    recorded = _recorded(context.stage_folder(index), settings.training.decisive())
    return recorded or ("cached" if _pays(context, index) and _fits(context, index) else "online")


def engine_of(context: RunContext, index: int, signals: str) -> str:
    """The engine of the teacher's forward pass: "dynamic", "static" or "inference"; signals: "online" or "cached".

    `auto` is Paddle Inference on the CPU if the teacher has at least `WORTH` multiplications to do in the stage.
    """
    wanted = context.config.teacher.engine if context.config.teacher else "dynamic"
    if wanted != "auto":
        return wanted
    tokens, passes = _tokens(context, index)
    asked = tokens * (min(1.0, passes) if signals == "cached" else passes)
    return "inference" if not _on_gpu(context) and _work(context, asked) >= WORTH else "dynamic"


def signals_findings(contexts: dict[str, RunContext]) -> list[Finding]:
    """What cached signals will take on disk, by an estimate of the tokens, and whether they are worth it.

    Raises InputError if they do not fit on the disk.
    """
    context = next(iter(contexts.values()))
    sizes, findings = {}, []
    for index, settings in enumerate(context.config.stages):
        (tokens, passes), where = _tokens(context, index), f"stages[{index}] ({settings.stage})"
        if settings.teacher_signals == "auto" and context.config.teacher and _pays(context, index):
            size, free = _size(context, index), _room(context)
            chosen = signals_of(context, index)
            what = f"teacher signals, auto: {chosen}; cached they take about {size / 1e9:.1f} GB of {free / 1e9:.1f} GB"
            findings.append(found("signals", f"{what} free, {DISK_SHARE:.0%} of it is the limit", where))
        if settings.teacher_signals != "cached":
            continue
        each = [student.planned_objectives()[index].needs("teacher") for student in contexts.values()]
        # students that are trained together share theirs
        for needs in [Needs.union(each)] if context.is_general(index) else each:
            layout = context.signal_layout(context.stage(index), needs, (context.teacher or {})["hidden_size"])
            size, stage = _size(context, index, needs), context.stage(index)
            sizes[stage.data, stage.teacher, fingerprint(layout.as_key())] = size
            once, remedy = passes <= 1, "set teacher_signals: online, unless a later stage or run reads them"
            what = (
                f"cached teacher signals: {layout.bytes_per_token / 1000:.1f} kB per token, about "
                f"{tokens * min(1.0, passes):,.0f} tokens, {size / 1e9:.1f} GB; {passes:.3g} passes over them"
                f"{': none is read twice' if once else ''}"
            )
            findings.append(found("signals", what, where, once, remedy))
    need = sum(sizes.values())
    free, folder = free_bytes(_base(context))
    if need > free:
        what = f"cached teacher signals would take about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise InputError(what, str(folder), "make room, name another signals_folder, or set teacher_signals: online")
    return findings


def remove_signals(config: RunConfig, folder: RunFolder) -> None:
    """Removes what `auto` has cached in a finished run, which may be gigabytes; what the user asked to cache stays."""
    if config.signals_folder is None and all(stage.teacher_signals != "cached" for stage in config.stages):
        shutil.rmtree(folder.prepared("signals"), ignore_errors=True)


def _recorded(folder: Path, training: dict[str, Any]) -> str | None:
    """What the record of a stage says that was begun with this training: the disk's free space changes since."""
    for name in (DONE, INPUTS):
        try:
            seal = read_seal(folder / name, files=False)
        except DamageError:
            continue
        recorded = seal and (seal["inputs"] if name == DONE else seal)
        if recorded and recorded.get("training") == training:
            return recorded.get("teacher_signals")
    return None


def _pays(context: RunContext, index: int) -> bool:
    """Do later passes save enough of the teacher's work? A GPU's is done faster than signals are read."""
    if context.config.teacher is None or context.is_general(index) or processes() > 1 or _on_gpu(context):
        return False
    tokens, passes = _tokens(context, index)
    return passes > 1 and _work(context, tokens * (passes - 1)) >= WORTH


def _fits(context: RunContext, index: int) -> bool:
    return _size(context, index) <= DISK_SHARE * _room(context)


def _on_gpu(context: RunContext) -> bool:
    return find_device(context.config.device) == "gpu"


def _work(context: RunContext, tokens: float) -> float:
    """The teacher's multiplications of weights for so many tokens, in each process."""
    return tokens * encoder_parameters(context.teacher or {}) / processes()


def _size(context: RunContext, index: int, needs: Needs | None = None) -> float:
    """Bytes of a stage's signals. needs: of several students together; None: of this one."""
    needs = context.planned_objectives()[index].needs("teacher") if needs is None else needs
    layout = context.signal_layout(context.stage(index), needs, (context.teacher or {})["hidden_size"])
    tokens, passes = _tokens(context, index)
    return tokens * min(1.0, passes) * layout.bytes_per_token


def _base(context: RunContext) -> Path:
    return Path(context.config.signals_folder or context.folder.shared)


def _room(context: RunContext) -> float:
    """Bytes for signals: what is free, and what the present ones take."""
    kept = context.config.signals_folder or context.folder.prepared("signals")
    return free_bytes(_base(context))[0] + sum(file.stat().st_blocks * 512 for file in Path(kept).glob("*/*.bin"))


def _tokens(context: RunContext, index: int) -> tuple[float, float]:
    """About how many tokens the stage's rows have, and how often it goes over them."""
    config, data = context.config, context.data
    if context.is_general(index):
        # about three bytes per Chinese character, and a token per character
        tokens, rows = context.corpus_bytes / 3, corpus_lines(context)
    else:
        tokens, rows = 0.0, 0
        copies = 1 + (config.augmentation.copies_per_row if config.augmentation else 0)
        for part, times in ((data.train, copies), (data.pool.rows if data.pool else [], 1)):
            if not part:
                continue
            lengths = [min(config.task.max_length_tokens, 3 + characters(row)) for row in sample_of(context, part)]
            count = times * round(len(part) * windows_per_row(context, part, "teacher"))
            tokens, rows = tokens + float(np.mean(lengths) * count), rows + count
    return tokens, passes_over(config.stages[index].training, rows)

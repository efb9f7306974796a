"""Checkpoints: weights, optimiser, schedule and random states in safetensors and JSON under one seal, no pickle."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle.framework import core
from safetensors.numpy import load_file
from tqdm import tqdm

from ..distributed import is_main, wait_for_all
from ..errors import InputError
from ..files import read_json, write_json
from ..models.weights import to_numpy, write_weights
from ..seals import COMPLETE, DamageError, read_seal, write_seal

BEST = "best"  # the folder of the best model beside the checkpoints
TRAINER_STATE = "trainer_state.json"  # PaddleNLP's
_OPTIMIZER, _SCHEDULE = "optimizer.safetensors", "schedule.json"
_KEPT = 2


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written, from its folder's name."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def write_states(folder: Path, optimizer: Any, scheduler: Any, scaler: Any = None) -> None:
    """Writes what an optimiser, its schedule and (in float16) its loss scaler keep between steps."""
    states = {name: value for name, value in optimizer.state_dict().items() if isinstance(value, paddle.Tensor)}
    write_weights(to_numpy(states), folder / _OPTIMIZER)
    scale = {} if scaler is None else scaler.state_dict()
    scale = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in scale.items()}
    write_json(folder / _SCHEDULE, {"scheduler": scheduler.state_dict(), "scaler": scale})


def load_states(folder: Path, optimizer: Any, scheduler: Any, scaler: Any = None) -> None:
    """Gives them the states that `write_states` wrote."""
    schedule = read_json(folder / _SCHEDULE)
    states: dict[str, Any] = {n: paddle.to_tensor(value) for n, value in load_file(str(folder / _OPTIMIZER)).items()}
    optimizer.set_state_dict({**states, "LR_Scheduler": dict(schedule["scheduler"])})
    scheduler.set_state_dict(schedule["scheduler"])
    if scaler is not None and schedule["scaler"]:
        scaler.load_state_dict(schedule["scaler"])


def write_random_state(folder: Path, rank: int) -> None:
    """Writes the random states of this process: Python's, NumPy's, and Paddle's of the CPU and of each GPU."""
    name, keys, *rest = np.random.get_state()
    paddles = [core.default_cpu_generator().get_state(), *paddle.get_rng_state()]
    states = {"python": random.getstate(), "numpy": [name, np.asarray(keys).tolist(), *rest]}
    write_json(folder / f"random-{rank}.json", {**states, "paddle": [state.__getstate__() for state in paddles]})


def load_random_state(folder: Path, rank: int) -> None:
    """Sets what `write_random_state` wrote; nothing if there were fewer processes then, or other devices."""
    states = read_json(folder / f"random-{rank}.json")
    if states is None:
        return
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(states["numpy"]))
    paddles = []
    for values in states["paddle"]:
        state = core.GeneratorState.__new__(core.GeneratorState)
        state.__setstate__(tuple(values))
        paddles.append(state)
    core.default_cpu_generator().set_state(paddles[0])
    if len(paddles) == 1 + len(paddle.get_rng_state()):
        paddle.set_rng_state(paddles[1:])


def seal_checkpoint(folder: Path, values: dict[str, Any]) -> None:
    """Marks a checkpoint as complete once all of it is on the disk, then removes all but the two newest."""
    write_seal(folder / COMPLETE, values, [file for file in folder.iterdir() if file.name != COMPLETE])
    checkpoints = [path for path in folder.parent.glob("checkpoint-*") if _is_checkpoint(path)]
    for old in sorted(checkpoints, key=step_of)[:-_KEPT]:
        _remove(old)


def last_checkpoint(folder: Path, lost: Callable[[dict], str | None] = lambda _: None) -> Path | None:
    """The newest checkpoint in `folder` that is whole; removes the others that are newer, and says why.

    `lost` says what else a checkpoint with these values needs and is not there any more. Raises InputError for a
    checkpoint of an earlier version, whose states are pickles.
    """
    found = list(folder.glob("checkpoint-*"))
    for path in found:
        if not _is_checkpoint(path) or not (path / COMPLETE).is_file():  # cut off while it was being written
            _remove(path)
    for checkpoint in sorted(filter(_is_checkpoint, found), key=step_of, reverse=True):
        if re.fullmatch(rb"\d+\.\d", (checkpoint / COMPLETE).read_bytes()):
            what = "a checkpoint of an earlier version: its states are pickles, which can run any code when read"
            remedy = "finish this step with the version that began it, or remove the folder and the step starts again"
            raise InputError(what, str(checkpoint), remedy)
        try:
            damage = lost(read_seal(checkpoint / COMPLETE) or {})
        except DamageError as error:
            damage = f"{error.where}: {error.what}"
        if damage is None:
            return checkpoint
        if is_main():
            tqdm.write(f"  {checkpoint.name} is not used; {damage}")
            _remove(checkpoint)
    return None


def remove_checkpoints(folder: Path) -> None:
    """Removes checkpoints and the best-model copy; called once the step's final model is safe."""
    wait_for_all()
    if is_main():
        for checkpoint in folder.glob("checkpoint-*"):
            _remove(checkpoint)
        shutil.rmtree(folder / BEST, ignore_errors=True)


def _is_checkpoint(path: Path) -> bool:
    return path.is_dir() and re.fullmatch(r"checkpoint-\d+", path.name) is not None


def _remove(path: Path) -> None:
    if path.is_dir():
        (path / COMPLETE).unlink(missing_ok=True)  # first, lest half a checkpoint counts as one
        shutil.rmtree(path)
    else:
        path.unlink()

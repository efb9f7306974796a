"""What happens around a training step: progress, averaged gradients, stopping and saving."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import paddle
from paddlenlp.trainer import TrainerCallback, TrainerControl
from tqdm import tqdm

from ..distributed import is_main, processes, sum_over_all
from ..watch import Progress, Watcher, note_signal

SILENCE_S = 30.0


class ProgressLine(TrainerCallback):
    """A bar on a terminal, a line for every log entry with the time left, and the same for who watches.

    Where there is no terminal, a line also comes when none came for half a minute.
    """

    def __init__(self, label: str, watcher: Watcher):
        self.label, self.watcher = label, watcher

    def on_train_begin(self, args, state, control, **kwargs):
        self.first_step, self.start = state.global_step, time.time()
        self.last_line = self.start
        total, done = state.max_steps, state.global_step
        self.bar = tqdm(total=total, initial=done, desc=self.label, unit="step", disable=None, leave=False)

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(1)
        if self.bar.disable and time.time() - self.last_line > SILENCE_S:
            self._write(state, f"left {tqdm.format_interval(self._left(state))}")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "dev_score" in logs:
            tqdm.write(f"  {self.label}: dev score {logs['dev_score']:.4f} at step {state.global_step}")
        elif "loss" in logs:
            left = self._left(state)
            losses = {name: value for name, value in logs.items() if name.endswith("loss")}
            if self.watcher.on_progress is not None:
                self.watcher.on_progress(Progress(self.label, state.global_step, state.max_steps, left, losses))
            values = "  ".join(f"{name.removesuffix('_loss')} {value:.4f}" for name, value in losses.items())
            self._write(state, f"{values}  lr {logs['learning_rate']:.1e}  left {tqdm.format_interval(left)}")

    def _write(self, state, what):
        self.last_line = time.time()
        tqdm.write(f"  {self.label}: step {state.global_step}/{state.max_steps}  {what}")

    def _left(self, state):
        done = max(1, state.global_step - self.first_step)
        return (time.time() - self.start) / done * (state.max_steps - state.global_step)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


class AverageGradients(TrainerCallback):
    """Before every optimiser step, each gradient becomes its average over the processes."""

    def on_optimizer_begin(self, args, state, control, model=None, **kwargs):
        from paddle.distributed.fleet.utils.hybrid_parallel_util import fused_allreduce_gradients

        fused_allreduce_gradients([p for p in model.parameters() if not p.stop_gradient], None)


class BeforeTraining(TrainerCallback):
    """Calls `act()` when the state of a resumed training is loaded, before its first step."""

    def __init__(self, act: Callable[[], None]):
        self.act = act

    def on_train_begin(self, args, state, control, **kwargs):
        self.act()


class StopAndSave(TrainerCallback):
    """Ctrl-C, SIGTERM, or the watcher finishes the step and saves; a second Ctrl-C stops at once.

    It also saves when `save_minutes` have passed since the last checkpoint. Of several processes, all stop or save
    after the same step, whichever of them hears of it first.
    """

    def __init__(self, watcher: Watcher, save_minutes: float | None = None):
        self.watcher, self.save_minutes = watcher, save_minutes
        self.requested = False  # has this process heard of it?
        self.stopping = False  # do all processes stop after this step?
        self._at_once = False
        self._saved = time.monotonic()
        self._previous: dict = {}

    def on_train_begin(self, args, state, control, **kwargs):
        self._saved = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                number: signal.signal(number, self._request)
                for number in (signal.SIGINT, signal.SIGTERM)
                if signal.getsignal(number) != signal.SIG_IGN
            }

    def _request(self, signum, frame):
        note_signal(signum)
        if not self.requested and is_main():
            tqdm.write("  stopping after this step; a checkpoint will be written (Ctrl-C again stops at once)")
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._at_once:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A block between two steps that may take long: a signal ends it by KeyboardInterrupt."""
        self._at_once = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def on_step_end(self, args, state, control, **kwargs):
        if self.watcher.should_stop is not None and self.watcher.should_stop():
            self.requested = True
        self.agree(control)

    def agree(self, control: TrainerControl) -> None:
        """Saves, or saves and stops, if one of the processes has a reason. Every process must call it."""
        due = self.save_minutes is not None and time.monotonic() - self._saved >= self.save_minutes * 60
        self.stopping = self.requested
        if processes() > 1:
            asked = sum_over_all(paddle.to_tensor([float(self.requested), float(due)]))
            self.stopping, due = float(asked[0]) > 0, float(asked[1]) > 0
        if self.stopping or due:
            control.should_save = True
        if self.stopping:
            self.requested = control.should_training_stop = True

    def on_save(self, args, state, control, **kwargs):
        self._saved = time.monotonic()

    def on_train_end(self, args, state, control, **kwargs):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

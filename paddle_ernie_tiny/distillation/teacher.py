"""The teacher of a distillation: a frozen model, asked at every step, or once a row with its answers kept on disk."""

from __future__ import annotations

import paddle

from ..models.build import base_model
from ..models.capture import Capture, Captured, Needs
from .signals import SignalCache


class Teacher:
    """A frozen model and the states that are needed of it; always in eval mode, never a gradient."""

    def __init__(self, model, needs: Needs, logits: bool):
        model.eval()
        for parameter in model.parameters():
            parameter.stop_gradient = True
        self.model, self.logits = model, logits
        self._capture = Capture(model, needs)

    @paddle.no_grad()
    def __call__(self, inputs: dict, rows=None) -> tuple[paddle.Tensor | None, Captured]:
        """Logits [batch, labels] (None where no term needs them) and the captured states."""
        logits = self.model(**inputs) if self.logits else None
        if logits is None:
            base_model(self.model)(**inputs)
        return logits, self._capture.take()

    def sync(self) -> None:
        """Nothing is kept."""

    def release(self) -> None:
        """Takes the hooks off the model again."""
        self._capture.remove()


class CachedTeacher:
    """A teacher that is asked about each row once; later answers come from `cache` (rounded to half precision)."""

    def __init__(self, teacher: Teacher, cache: SignalCache):
        self.teacher, self.cache = teacher, cache

    def __call__(self, inputs: dict, rows: paddle.Tensor) -> tuple[paddle.Tensor | None, Captured]:
        """As `Teacher`; `rows` [batch] are the rows' numbers in their data set."""
        rows = rows.numpy()
        if self.cache.has(rows):
            return self.cache.read(rows)
        logits, states = self.teacher(inputs)
        self.cache.store(rows, logits, states)
        return logits, states

    def sync(self) -> None:
        """What was answered so far is on disk when this returns."""
        self.cache.sync()

    def release(self) -> None:
        """Takes the hooks off the model again."""
        self.teacher.release()

"""The teacher of a distillation: a frozen model, asked at every step, or once a row with its answers kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import paddle
from paddle.static import InputSpec

from ..models.build import base_model
from ..models.capture import Capture
from ..terms import Captured, Needs
from ..terms.term import PARTS
from .signals import SignalCache

_INPUTS: dict[str, Literal["int64", "float32"]] = {
    "input_ids": "int64",
    "token_type_ids": "int64",
    "attention_mask": "float32",
}


class Teacher:
    """A frozen model and what is needed of it; always in eval mode, never a gradient.

    With `static_graph` its forward pass is compiled at the first batch; one graph serves all batch sizes and lengths.
    """

    def __init__(self, model: Any, needs: Needs, static_graph: bool = False):
        model.eval()
        for parameter in model.parameters():
            parameter.stop_gradient = True
        self.model, self.needs = model, needs
        self._capture = Capture(model, needs)
        self._places: list[tuple[str, int]] = []  # which state each tensor of `_answers` is, after the logits
        self._compiled: Callable[..., list[paddle.Tensor]] | None = None
        if static_graph:
            specs = [InputSpec([None, None], dtype, name) for name, dtype in _INPUTS.items()]
            plain = self._answers

            def answers(input_ids, token_type_ids, attention_mask):  # of methods, Paddle compiles a layer's alone
                return plain(input_ids, token_type_ids, attention_mask)

            self._compiled = paddle.jit.to_static(answers, input_spec=specs, full_graph=True)

    @paddle.no_grad()
    def __call__(self, inputs: dict[str, paddle.Tensor], rows: paddle.Tensor | None = None) -> Captured:
        """What was needed of one batch: input_ids and token_type_ids int64, attention_mask float32 [batch, length].

        `rows` are the rows' numbers in their data set, which only a cached teacher looks at.
        """
        answers = (self._compiled or self._answers)(*(inputs[name] for name in _INPUTS))
        captured = Captured(logits=answers[0] if self.needs.logits else None)
        for (part, layer), value in zip(self._places, answers[len(answers) - len(self._places) :], strict=True):
            getattr(captured, part)[layer] = value
        return captured

    def _answers(self, input_ids, token_type_ids, attention_mask) -> list[paddle.Tensor]:
        """Logits, if they are needed, then the states: tensors in a list, which is what a static graph gives."""
        model = self.model if self.needs.logits else base_model(self.model)
        output = model(input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask)
        captured = self._capture.take()
        states = {
            (part, layer): value for part in ("hidden", *PARTS) for layer, value in getattr(captured, part).items()
        }
        self._places = list(states)
        return ([output] if self.needs.logits else []) + list(states.values())

    def sync(self) -> None:
        """Nothing is kept."""

    def release(self) -> None:
        """Takes the hooks off the model again."""
        self._capture.remove()


class CachedTeacher:
    """A teacher that is asked about each row once; later answers come from `cache` (rounded to half precision)."""

    def __init__(self, teacher: Teacher, cache: SignalCache):
        self.teacher, self.cache = teacher, cache

    def __call__(self, inputs: dict[str, paddle.Tensor], rows: paddle.Tensor) -> Captured:
        """As `Teacher`; `rows` int64 [batch] are the rows' numbers in their data set."""
        numbers = rows.numpy()
        if self.cache.has(numbers):
            return self.cache.read(numbers)
        captured = self.teacher(inputs)
        self.cache.store(numbers, captured)
        return captured

    def sync(self) -> None:
        """What was answered so far is on disk when this returns."""
        self.cache.sync()

    def release(self) -> None:
        """Takes the hooks off the model again."""
        self.teacher.release()

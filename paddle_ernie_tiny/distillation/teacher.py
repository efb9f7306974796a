"""The teacher of a distillation: a frozen model, asked at every step, or once a row with its answers kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
from paddle.static import InputSpec

from ..models.build import base_model
from ..models.capture import Capture
from ..terms import Captured, Needs
from .signals import SignalCache

_INPUTS: dict[str, Any] = {"input_ids": "int64", "token_type_ids": "int64", "attention_mask": "float32"}


class Teacher:
    """A frozen model and what is needed of it; always in eval mode, never a gradient.

    With `static_graph` its forward pass is compiled at the first batch; one graph serves all batch sizes and lengths.
    With a `cache` it is asked about each row once; later answers come from there, rounded to half precision.
    """

    def __init__(self, model: Any, needs: Needs, static_graph: bool = False, cache: SignalCache | None = None):
        model.eval()
        for parameter in model.parameters():
            parameter.stop_gradient = True
        self.model, self.needs, self.cache = model, needs, cache
        self._capture = Capture(model, needs)
        self._forward_pass: Callable[..., list[paddle.Tensor]] = self._answers
        if static_graph:
            specs = [InputSpec([None, None], dtype, name) for name, dtype in _INPUTS.items()]
            plain = self._answers

            def answers(input_ids, token_type_ids, attention_mask):  # of methods, Paddle compiles a layer's alone
                return plain(input_ids, token_type_ids, attention_mask)

            self._forward_pass = paddle.jit.to_static(answers, input_spec=specs, full_graph=True)

    def __call__(self, inputs: dict[str, paddle.Tensor], rows: paddle.Tensor | None = None) -> Captured:
        """What was needed of one batch: input_ids and token_type_ids int64, attention_mask float32 [batch, length].

        `rows`, int64 [batch], are the rows' numbers in their data set, by which a cache finds them.
        """
        if self.cache is None or rows is None:
            return self._ask(inputs)
        numbers = rows.numpy()
        if self.cache.has(numbers):
            return self.cache.read(numbers)
        captured = self._ask(inputs)
        self.cache.store(numbers, captured)
        return captured

    @paddle.no_grad()
    def _ask(self, inputs: dict[str, paddle.Tensor]) -> Captured:
        answers = self._forward_pass(*(inputs[name] for name in _INPUTS))
        captured = Captured(logits=answers.pop(0) if self.needs.logits else None)
        for (part, layer), value in zip(self.needs.states, answers, strict=True):
            getattr(captured, part)[layer] = value
        return captured

    def _answers(self, input_ids, token_type_ids, attention_mask) -> list[paddle.Tensor]:
        """Logits, if they are needed, then the states: tensors in a list, which is what a static graph gives."""
        model = self.model if self.needs.logits else base_model(self.model)
        output = model(input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask)
        captured = self._capture.take()
        states = [getattr(captured, part)[layer] for part, layer in self.needs.states]
        return ([output] if self.needs.logits else []) + states

    def sync(self) -> None:
        """What was kept so far is on disk when this returns."""
        if self.cache is not None:
            self.cache.sync()

    def release(self) -> None:
        """Takes the hooks off the model again."""
        self._capture.remove()

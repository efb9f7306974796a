"""The teacher of a distillation: a frozen model, asked at every step, or once a row with its answers kept on disk."""

from __future__ import annotations

import paddle
from paddle.static import InputSpec

from ..models.build import base_model
from ..models.capture import Capture, Captured, Needs
from .signals import SignalCache

_INPUTS = {"input_ids": "int64", "token_type_ids": "int64", "attention_mask": "float32"}


class Teacher:
    """A frozen model and the states that are needed of it; always in eval mode, never a gradient.

    With `static_graph` its forward is compiled at the first batch; one graph serves all batch sizes and lengths.
    """

    def __init__(self, model, needs: Needs, logits: bool, static_graph: bool = False):
        model.eval()
        for parameter in model.parameters():
            parameter.stop_gradient = True
        self.model, self.logits = model, logits
        self._capture = Capture(model, needs)
        self._kinds: list[tuple[str, int]] = []  # what stands at each place of `_answers`
        if static_graph:
            specs = [InputSpec([None, None], dtype, name) for name, dtype in _INPUTS.items()]
            plain = self._answers

            def answers(input_ids, token_type_ids, attention_mask):  # of methods, Paddle compiles a layer's alone
                return plain(input_ids, token_type_ids, attention_mask)

            self._answers = paddle.jit.to_static(answers, input_spec=specs, full_graph=True)

    @paddle.no_grad()
    def __call__(self, inputs: dict, rows=None) -> tuple[paddle.Tensor | None, Captured]:
        """Logits [batch, labels] (None where no term needs them) and the captured states."""
        answers = self._answers(*(inputs[name] for name in _INPUTS))
        logits, states = answers[0] if self.logits else None, Captured()
        for (kind, layer), value in zip(self._kinds, answers[len(answers) - len(self._kinds) :], strict=True):
            getattr(states, kind)[layer] = value
        return logits, states

    def _answers(self, input_ids, token_type_ids, attention_mask) -> list[paddle.Tensor]:
        """Logits, where they are wanted, then the states: tensors in a list, which is what a static graph gives."""
        model = self.model if self.logits else base_model(self.model)
        output = model(input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask)
        captured = self._capture.take()
        states = {
            (kind, layer): value
            for kind in ("hidden", "query", "key", "value")
            for layer, value in getattr(captured, kind).items()
        }
        self._kinds = list(states)
        return ([output] if self.logits else []) + list(states.values())

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

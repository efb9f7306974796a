"""The teacher of a distillation: a frozen model, asked at every step, or once per row with its answers kept on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ..data.rows import EncodedRows
from ..models.build import base_model
from ..models.capture import Capture
from ..terms import Captured, Needs
from .signal_files import open_signals
from .teacher_engine import INPUTS, Answers, compiled, in_paddle_inference


class Teacher:
    """A frozen model and what is needed of it; always in eval mode, never a gradient.

    engine: what runs its forward pass, made when it is first asked: the "dynamic" graph, a "static" one, or Paddle
    "inference"; one graph serves all batch sizes and lengths. With a `cache` it is asked about each row once; all
    answers come from there, rounded to half precision, so that it makes no difference when a row was asked about.
    """

    def __init__(self, model: Any, needs: Needs, engine: str = "dynamic", cache: SignalCache | None = None):
        model.eval()
        for parameter in model.parameters():
            parameter.stop_gradient = True
        self.model, self.needs, self.cache, self.engine = model, needs, cache, engine
        self.pad_id: int = model.config.pad_token_id
        self._capture = Capture(model, needs)
        self._open: dict[str, Answers] = {"dynamic": self._answers}

    def __call__(self, inputs: dict[str, paddle.Tensor], rows: paddle.Tensor | None = None) -> Captured:
        """What was needed of one batch: input_ids and token_type_ids int64, attention_mask float32 [batch, length].

        `rows`, int64 [batch], are the rows' numbers in their data set, by which a cache finds them.
        """
        if self.cache is None or rows is None:
            return self._ask(inputs)
        numbers = rows.numpy()
        if not self.cache.has(numbers):
            self.cache.store(numbers, self._ask(inputs))
        return self.cache.read(numbers)

    @paddle.no_grad()
    def _ask(self, inputs: dict[str, paddle.Tensor]) -> Captured:
        if self.engine not in self._open:
            make = compiled if self.engine == "static" else in_paddle_inference
            self._open[self.engine] = make(self.model, self._answers)
        answers = self._open[self.engine](*(inputs[name] for name in INPUTS))
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


class NoTeacher(Teacher):
    """In the place of a teacher where the soft labels are those of files: it answers nothing."""

    def __init__(self) -> None:
        self.model, self.needs, self.cache, self.engine, self.pad_id = None, Needs(), None, "dynamic", 0

    def __call__(self, inputs: dict[str, paddle.Tensor], rows: paddle.Tensor | None = None) -> Captured:
        return Captured()

    def release(self) -> None:
        """It has no hooks."""


@dataclass(frozen=True)
class Layout:
    """What a cache holds of each token (and row).

    needs: of the teacher; width: hidden_teacher. labels: how many logits a row (or, `by_token`, a token) has.
    """

    needs: Needs
    width: int
    labels: int
    by_token: bool = False

    @property
    def logits(self) -> int:
        """Logits that are kept of each row or token; 0: none."""
        return self.labels if self.needs.logits else 0

    @property
    def bytes_per_token(self) -> int:
        """Bytes of states per token; logits come on top, 4 bytes each."""
        return 2 * len(self.needs.states) * self.width

    def as_key(self) -> dict[str, Any]:
        """The layout as JSON values."""
        return {
            "states": [f"{part} {layer}" for part, layer in self.needs.states],
            "width": self.width,
            "logits": self.logits,
            "logits_by_token": self.by_token,
        }


class SignalCache:
    """Signals of the rows of one data set, by row number, in a folder that is made if it is not there yet.

    key: what decides the content: the teacher's weights, the data, the tokenizer. lengths: tokens of each row, int
    [rows]. Raises InputError when the folder holds signals of another teacher, data or objective, or damaged ones.
    """

    def __init__(self, folder: Path, key: dict[str, Any], layout: Layout, lengths: np.ndarray):
        self.folder, self.layout = Path(folder), layout
        self._files = open_signals(self.folder, {**key, **layout.as_key()}, np.asarray(lengths, dtype=np.int64))

    @property
    def filled(self) -> np.ndarray:
        """Which rows are here: bool [rows]."""
        return self._files.filled

    def has(self, rows: np.ndarray) -> bool:
        """Are all of these rows here?"""
        return bool(self.filled[rows].all())

    def store(self, rows: np.ndarray, states: Captured) -> None:
        """Keeps the signals of a padded batch: states [batch, length, width], logits [batch, (length,) labels].

        Raises InputError if they cannot be written.
        """
        parts = [getattr(states, part)[layer] for part, layer in self.layout.needs.states]
        # NumPy rounds to the nearest half-precision number, Paddle's CPU kernel cuts off
        table = paddle.concat(parts, axis=-1).astype("float32").numpy().astype(np.float16) if parts else None
        answers = states.logits.astype("float32").numpy() if states.logits is not None else None
        for place, row in enumerate(rows.tolist()):
            if self.filled[row]:
                continue
            logits = None
            if answers is not None:
                logits = answers[place] if self.layout.by_token else answers[place : place + 1]
            self._files.write(row, None if table is None else table[place], logits)

    def read(self, rows: np.ndarray) -> Captured:
        """Logits and states of rows, padded with zeros to the longest, float32."""
        states, wanted = Captured(), self.layout.needs.states
        if wanted:
            parts = paddle.to_tensor(self._files.states.read(rows)).split(len(wanted), axis=-1)
            for (part, layer), values in zip(wanted, parts, strict=True):
                getattr(states, part)[layer] = values.astype("float32")
        if self.layout.logits:
            answers = self._files.logits.read(rows)
            states.logits = paddle.to_tensor(answers if self.layout.by_token else answers[:, 0])
        return states

    def sync(self) -> None:
        """Marks what was stored as filled, once it is on disk."""
        self._files.sync()


def rows_fingerprint(rows: EncodedRows) -> str:
    """SHA-256 of the token ids and segments of tokenised rows, in their order."""
    digest = hashlib.sha256()
    for ids, types in zip(rows.input_ids, rows.token_type_ids, strict=True):
        digest.update(np.asarray([ids, types], dtype=np.int32).tobytes() + b"|")
    return digest.hexdigest()

"""Texts in, labels and probabilities out, from a bundle alone. Imports neither PaddleNLP nor any training code."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..data.text_tokenizer import Encoded
from ..data.tokenization import batches_by_length, pad_batch, read_tokenizer, rounded_length
from ..data.windows import by_row
from ..defaults import AUTO, BATCH_SIZE
from ..engines import ENGINES, Engine
from ..errors import InputError
from ..kinds import Row, Window
from ..machine import thread_count
from ..text_rule import require_text
from .bundle import Manifest, read_manifest
from .engine_choice import open_engine
from .program import loading, require_finite, try_engine

_MULTIPLE = 4  # lengths are rounded up to it: an engine prepares itself again for every shape


class Predictor:
    """A loaded bundle.

    Args:
        bundle: the folder; its manifest is verified first.
        device: "cpu" or "gpu".
        threads: CPU threads per forward pass; "auto": every core that this process may use.
        precision: None: the bundle's own. An fp32 bundle also runs in "fp16" on a GPU; int8 and bf16 are made by
            `ernie-tiny quantize`, in bundles of their own.
        engine: one of ENGINES by name, in which the bundle was compared; "auto": the fastest of them here, which is
            measured on first use where there are several; or one that is open already.

    One instance is for one thread at a time; each further thread takes a `clone()`.
    Raises InputError when the bundle is incomplete or altered, does not run in that way, or its model does not fit
    its manifest: one row is tried.
    """

    def __init__(
        self,
        bundle: str | os.PathLike,
        device: str = "cpu",
        threads: int | str = 1,
        precision: str | None = None,
        engine: str | Engine = AUTO,
    ):
        self.folder = folder = Path(bundle)
        self.manifest: Manifest = read_manifest(folder)
        self.kind = self.manifest.kind
        self.precision = _checked_precision(self.manifest, str(bundle), device, precision)
        if "tokenizer.json" not in self.manifest.files:  # what it knows of case is nowhere else
            raise InputError("the manifest names no tokenizer.json", str(bundle), "export the bundle again")
        self.tokenizer = read_tokenizer(folder)
        with loading(folder):
            self.engine: str  # its name
            if isinstance(engine, str):
                how = engine, device, thread_count(threads), self.precision
                self.engine, self._engine = open_engine(folder, self.manifest, *how)
            elif not callable(engine):
                raise InputError(f"{engine!r} is no engine", "engine", f"use {', '.join((AUTO, *ENGINES))}")
            else:
                self.engine, self._engine = type(engine).__name__, engine
        try_engine(self._engine, self.tokenizer, self.manifest, folder)

    def clone(self) -> Predictor:
        """Another predictor on the same weights, for another thread: only its buffers are its own."""
        twin = copy.copy(self)
        twin._engine = self._engine.clone()
        return twin

    @property
    def labels(self) -> list[str]:
        """Label names in the order of the logits."""
        return self.manifest.labels

    def predict(self, texts: list[str], texts_b: list[str] | None = None, batch_size: int = BATCH_SIZE) -> list[Any]:
        """The answer to each text (or pair), in order: a Prediction, a Score, or a list of Entity.

        Raises InputError for a text that is refused (text_rule.py).
        """
        for name, given in (("texts", texts), ("texts_b", texts_b or [])):
            for place, text in enumerate(given):
                require_text(text, f"{name}[{place}]")
        rows = self.encode(texts, texts_b)
        windows = [window for row in rows for window in row.windows]
        answers: list[Any] = [None] * len(windows)
        for indices in batches_by_length([window.input_ids for window in windows], batch_size):
            batch = [windows[i] for i in indices]
            length = self._length([window.input_ids for window in batch])
            for index, answer in zip(indices, self.answer(batch, length), strict=True):
                answers[index] = answer
        following = iter(answers)
        return [self.decode(row, [next(following) for _ in row.windows]) for row in rows]

    def encode(self, texts: list[str], texts_b: list[str] | None = None) -> list[Row]:
        """Tokenises texts (or pairs) for `answer`. Raises InputError where the bundle takes the other of the two."""
        self._check_pairs(texts_b)
        how = self.manifest.max_length_tokens, self.manifest.reading, self.manifest.unit
        return self.kind.rows(self.tokenizer, texts, texts_b, *how)

    def answer(self, windows: list[Window], multiple_of: int = 1) -> list[np.ndarray]:
        """The logits [answers, labels] of windows of rows from `encode`, by one forward pass.

        Padded lengths are rounded up to `multiple_of`. Raises InputError if the model's output is not a finite number.
        """
        ids = pad_batch([window.input_ids for window in windows], self.tokenizer.pad_id, multiple_of)
        outputs = self._engine(ids, pad_batch([window.token_type_ids for window in windows], 0, multiple_of))
        require_finite(outputs, str(self.folder))
        return [self.kind.answers(output, window.places) for window, output in zip(windows, outputs, strict=True)]

    def decode(self, row: Row, answers: list[np.ndarray]) -> Any:
        """The answer to a row, from the logits of its windows."""
        return self.kind.decode(row, self.kind.whole(answers), self.labels)

    def logits(self, texts: list[Any], texts_b: list[str] | None = None, batch_size: int = BATCH_SIZE) -> Any:
        """Logits [rows, labels]; for token classification of rows of words, [words, labels] of each row.

        Rows are batched by length and come back in the order given.
        """
        if not texts:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        return self.kind.gather(self.outputs(texts, texts_b, batch_size))

    def outputs(self, texts: list[Any], texts_b: list[str] | None = None, batch_size: int = BATCH_SIZE) -> list[Any]:
        """Each row's logits [answers, labels] as an array, of texts as `Kind.tokenize` takes them."""
        if self.kind.may_pair:
            self._check_pairs(texts_b)
        encoded, places = self.tokenize(texts, texts_b)
        answers: list[Any] = [None] * len(encoded.input_ids)
        for indices, ids, types in self.feeds(encoded, batch_size, rounded=True):
            for index, output in zip(indices, self._engine(ids, types), strict=True):
                answers[index] = self.kind.answers(output, None if places is None else places[index])
        return list(by_row(encoded.rows, answers, self.kind.whole))

    def tokenize(self, texts: list[Any], texts_b: list[str] | None = None) -> tuple[Encoded, list[np.ndarray] | None]:
        """`Kind.tokenize` as the bundle's manifest says."""
        how = self.manifest.max_length_tokens, self.manifest.reading
        return self.kind.tokenize(self.tokenizer, texts, texts_b, *how)

    def feeds(
        self, encoded: Encoded, batch_size: int, rounded: bool = False
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Batches of windows of similar length: their indices, padded ids and token types, int64 [batch, length].

        They are padded to the longest of a batch, or with `rounded` to one of the lengths that `predict` uses.
        """
        for indices in batches_by_length(encoded.input_ids, batch_size):
            ids, types = ([column[i] for i in indices] for column in (encoded.input_ids, encoded.token_type_ids))
            length = self._length(ids) if rounded else 1
            yield indices, pad_batch(ids, self.tokenizer.pad_id, length), pad_batch(types, 0, length)

    def _length(self, rows: list[list[int]]) -> int:
        return rounded_length(max(map(len, rows)), _MULTIPLE, self.manifest.max_length_tokens)

    def score(self, outputs: list[np.ndarray], gold: list[Any], texts: list[Any]) -> dict[str, float]:
        """The task's metric first, then what is usually read beside it, of outputs [answers, labels] of each row."""
        return self.kind.scores(self.manifest.metric, self.kind.scored(outputs, gold, self.labels, texts))

    def _check_pairs(self, texts_b: list[str] | None) -> None:
        if self.manifest.pair != (texts_b is not None):
            need = "two texts per row" if self.manifest.pair else "one text per row"
            raise InputError(f"this bundle takes {need}", "texts", "see task_type in its manifest.json")


def _checked_precision(manifest: Manifest, where: str, device: str, precision: str | None) -> str:
    if device not in ("cpu", "gpu"):
        raise InputError(f"unknown device {device!r}", "device", "use cpu or gpu")
    own = manifest.precision
    chosen = precision or own
    if own != "fp32" and device == "gpu":
        raise InputError(f"the {own} bundle is for CPUs", where, "use the fp32 bundle with device gpu, precision fp16")
    possible = [own] if device == "cpu" else ["fp32", "fp16"]
    if chosen not in possible:
        remedy = f"use {' or '.join(possible)}"
        if own == "fp32" and chosen in ("int8", "bf16"):  # nothing has checked what it costs
            rows = "--dev dev.tsv" if chosen == "bf16" else "--calibrate train.tsv --dev dev.tsv"
            remedy += f", or quantize the bundle first: ernie-tiny quantize {where} OUT --precision {chosen} {rows}"
        raise InputError(f"this {own} bundle does not run in {chosen!r} on a {device}", where, remedy)
    return chosen

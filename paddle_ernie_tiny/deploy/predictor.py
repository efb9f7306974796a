"""Texts in, labels and probabilities out, on Paddle Inference from a bundle alone.

Imports neither PaddleNLP nor any training code.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.tags import entities, split_text
from ..data.tokenization import Encoded, WordPieceTokenizer, pad_batch
from ..errors import InputError
from .bundle import MODEL_STEM, Manifest, read_manifest


@dataclass(frozen=True)
class Prediction:
    """A classifier's answer; `probabilities` are in the order of the manifest's labels."""

    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Score:
    """A regressor's answer, in the units of the training data."""

    score: float


@dataclass(frozen=True)
class Entity:
    """A named entity: `text[start:end]` of the row; its probability is the mean of its words'."""

    label: str
    start: int
    end: int
    text: str
    probability: float


Answer = Prediction | Score | list[Entity]


@dataclass(frozen=True)
class Row:
    """A tokenised row; of token classification also its words (text, start, end) and their first pieces' places."""

    text: str
    input_ids: list[int]
    token_type_ids: list[int]
    words: list[tuple[str, int, int]] | None = None
    places: np.ndarray | None = None


class Predictor:
    """A loaded bundle.

    Args:
        bundle: the folder; its manifest is verified first.
        device: "cpu" or "gpu".
        threads: CPU threads of one forward pass.
        precision: None: the bundle's own. An fp32 bundle also runs in "bf16" on a CPU that has it, or in "fp16"
            on a GPU; int8 is made by `ernie-tiny quantize`, in a bundle of its own.

    One instance is for one thread at a time; each further thread takes a `clone()`.
    Raises InputError when the bundle is incomplete or altered, or does not run in that way.
    """

    def __init__(self, bundle: str | os.PathLike, device: str = "cpu", threads: int = 1, precision: str | None = None):
        self.manifest: Manifest = read_manifest(bundle)
        self.precision = checked_precision(self.manifest, str(bundle), device, precision)
        self.tokenizer = WordPieceTokenizer.from_folder(Path(bundle))
        self._engine = create_engine(Path(bundle) / MODEL_STEM, device, threads, self.precision)
        # Paddle frees the weights that clones share when the first of them is destroyed: they end together.
        self._family = [self._engine]

    def clone(self) -> Predictor:
        """Another predictor on the same weights, for another thread: only its buffers are its own.

        The buffers stay until all predictors on these weights are gone.
        """
        twin = copy.copy(self)
        twin._engine = self._engine.clone()
        self._family.append(twin._engine)
        return twin

    @property
    def labels(self) -> list[str]:
        return self.manifest.labels

    @property
    def kind(self) -> str:
        """classification | regression | token_classification"""
        return self.manifest.task_type.removeprefix("pair_")

    def predict(self, texts: list[str], texts_b: list[str] | None = None, batch_size: int = 32) -> list[Answer]:
        """The answer to each text (or pair), in order: a Prediction, a Score, or a list of Entity."""
        rows = self.encode(texts, texts_b)
        answers: list[Answer | None] = [None] * len(rows)
        for indices in batches_by_length([row.input_ids for row in rows], batch_size):
            for index, answer in zip(indices, self.answer([rows[i] for i in indices]), strict=True):
                answers[index] = answer
        return answers

    def encode(self, texts: list[str], texts_b: list[str] | None = None) -> list[Row]:
        """Tokenises texts (or pairs) for `answer`. Raises InputError where the bundle takes the other of the two."""
        words = None
        if self.kind == "token_classification":
            words = [split_text(text, self.manifest.unit) for text in texts]
        encoded, places = self._encode([[w for w, _, _ in row] for row in words] if words else texts, texts_b)
        nothing = [None] * len(texts)
        columns = zip(
            texts, encoded.input_ids, encoded.token_type_ids, words or nothing, places or nothing, strict=True
        )
        return [Row(*column) for column in columns]

    def answer(self, rows: list[Row], multiple_of: int = 1) -> list[Answer]:
        """The answers to rows from `encode`, by one forward pass; padded lengths are rounded up to `multiple_of`."""
        logits = self._forward([row.input_ids for row in rows], [row.token_type_ids for row in rows], multiple_of)
        if self.kind == "token_classification":
            return [
                self._entities(row.text, row.words, found[row.places]) for row, found in zip(rows, logits, strict=True)
            ]
        if self.kind == "regression":
            return [Score(float(row[0])) for row in logits]
        return [self._prediction(row) for row in softmax(logits)]

    def logits(
        self, texts: list[str] | list[list[str]], texts_b: list[str] | None = None, batch_size: int = 32
    ) -> np.ndarray | list[np.ndarray]:
        """Logits [rows, labels]; for token classification of rows of words, [words, labels] of each row.

        Rows are batched by length and come back in the order given. Words that the bundle's maximal length
        cuts off have no logits.
        """
        encoded, places = self._encode(texts, texts_b)
        if not texts:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        answers: list[np.ndarray] = [np.empty(0)] * len(texts)
        for indices in batches_by_length(encoded.input_ids, batch_size):
            ids, types = ([column[i] for i in indices] for column in (encoded.input_ids, encoded.token_type_ids))
            for index, row in zip(indices, self._forward(ids, types), strict=True):
                answers[index] = row if places is None else row[places[index]]
        return answers if places is not None else np.stack(answers)

    def _encode(self, texts, texts_b: list[str] | None) -> tuple[Encoded, list[np.ndarray] | None]:
        pair = self.manifest.task_type.startswith("pair_")
        if pair != (texts_b is not None):
            need = "two texts a row" if pair else "one text a row"
            raise InputError(f"this bundle takes {need}", "texts", "see task_type in its manifest.json")
        if self.kind == "token_classification":
            return self.tokenizer.encode_words(texts, self.manifest.max_length_tokens)
        return self.tokenizer.encode(texts, texts_b, max_length=self.manifest.max_length_tokens), None

    def _forward(self, input_ids: list[list[int]], token_type_ids: list[list[int]], multiple_of: int = 1) -> np.ndarray:
        ids = pad_batch(input_ids, self.tokenizer.pad_id, multiple_of)
        return self.run(ids, pad_batch(token_type_ids, 0, multiple_of))

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """One forward pass of the engine: int64 [batch, length] twice to logits [batch, (length,) labels]."""
        feeds = {"input_ids": input_ids, "token_type_ids": token_type_ids}
        for name in self._engine.get_input_names():
            self._engine.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(feeds[name]))
        self._engine.run()
        return self._engine.get_output_handle(self._engine.get_output_names()[0]).copy_to_cpu()

    def _prediction(self, probabilities: np.ndarray) -> Prediction:
        best = int(probabilities.argmax())
        by_label = {label: float(p) for label, p in zip(self.labels, probabilities, strict=True)}
        return Prediction(self.labels[best], float(probabilities[best]), by_label)

    def _entities(self, text: str, words: list[tuple[str, int, int]], logits: np.ndarray) -> list[Entity]:
        probabilities = softmax(logits)
        tags = [self.labels[best] for best in probabilities.argmax(-1)]
        found = []
        for label, first, last in entities(tags):
            start, end = words[first][1], words[last - 1][2]
            sure = float(probabilities[first:last].max(axis=-1).mean())
            found.append(Entity(label, start, end, text[start:end], sure))
        return found


def batches_by_length(rows: list[list[int]], batch_size: int) -> list[np.ndarray]:
    """Indices of the rows, shortest first, `batch_size` at a time."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def checked_precision(manifest: Manifest, where: str, device: str, precision: str | None) -> str:
    """The precision to run in; raises InputError for one that bundle and device do not have together."""
    if device not in ("cpu", "gpu"):
        raise InputError(f"unknown device {device!r}", where, "use cpu or gpu")
    chosen = precision or manifest.precision
    possible = ["int8"] if manifest.precision == "int8" else ["fp32", "bf16" if device == "cpu" else "fp16"]
    if manifest.precision == "int8" and device == "gpu":
        raise InputError("the int8 bundle is for CPUs", where, "use the fp32 bundle with device gpu, precision fp16")
    if chosen not in possible:
        remedy = f"use {' or '.join(possible)}" + (", or quantize the bundle first" if chosen == "int8" else "")
        raise InputError(f"this {manifest.precision} bundle does not run in {chosen!r} on a {device}", where, remedy)
    return chosen


def create_engine(stem: Path, device: str, threads: int, precision: str = "fp32"):
    """A Paddle Inference predictor for `stem`.pdmodel and `stem`.pdiparams.

    Raises InputError for a GPU where this Paddle has none.
    """
    from paddle import inference

    if not Path(f"{stem}.pdmodel").is_file():
        raise InputError("no model.pdmodel in this bundle", str(stem.parent), "give the bundle that ONNX was made from")
    config = inference.Config(f"{stem}.pdmodel", f"{stem}.pdiparams")
    config.disable_glog_info()
    if device == "gpu":
        import paddle

        if not paddle.is_compiled_with_cuda():
            raise InputError("this Paddle has no GPU", "device gpu", "install a GPU build of Paddle, or use cpu")
        half = inference.PrecisionType.Half if precision == "fp16" else inference.PrecisionType.Float32
        config.enable_use_gpu(256, 0, half)
    else:
        config.disable_gpu()
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(threads)
        if precision == "int8":
            config.enable_mkldnn_int8({"fc"})  # what was calibrated: other kinds lose accuracy, or speed
        elif precision == "bf16":
            config.enable_mkldnn_bfloat16()
    # Paddle 3 looks for PIR programs first; this format wants the old passes (they hold the oneDNN fusions).
    if hasattr(config, "enable_new_ir"):
        config.enable_new_ir(False)
    config.enable_memory_optim()
    return inference.create_predictor(config)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Row-wise softmax in float64, [rows, labels]."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)

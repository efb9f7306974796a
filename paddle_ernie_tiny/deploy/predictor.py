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
from ..data.tokenization import WordPieceTokenizer, pad_batch
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

    def clone(self) -> Predictor:
        """Another predictor on the same weights, for another thread: only its buffers are its own."""
        twin = copy.copy(self)
        twin._engine = self._engine.clone()
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
        if self.kind == "token_classification":
            words = [split_text(text, self.manifest.unit) for text in texts]
            logits = self.logits([[word for word, _, _ in row] for row in words], texts_b, batch_size)
            return [self._entities(text, row, found) for text, row, found in zip(texts, words, logits, strict=True)]
        logits = self.logits(texts, texts_b, batch_size)
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
        pair = self.manifest.task_type.startswith("pair_")
        if pair != (texts_b is not None):
            need = "two texts a row" if pair else "one text a row"
            raise InputError(f"this bundle takes {need}", "texts", "see task_type in its manifest.json")
        if not texts:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        places = None
        if self.kind == "token_classification":
            encoded, places = self.tokenizer.encode_words(texts, self.manifest.max_length_tokens)
        else:
            encoded = self.tokenizer.encode(texts, texts_b, max_length=self.manifest.max_length_tokens)
        order = np.argsort([len(ids) for ids in encoded.input_ids], kind="stable")
        answers: list[np.ndarray] = [np.empty(0)] * len(texts)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            ids = pad_batch([encoded.input_ids[i] for i in indices], self.tokenizer.pad_id)
            types = pad_batch([encoded.token_type_ids[i] for i in indices], 0)
            for index, row in zip(indices, self.run(ids, types), strict=True):
                answers[index] = row if places is None else row[places[index]]
        return answers if places is not None else np.stack(answers)

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

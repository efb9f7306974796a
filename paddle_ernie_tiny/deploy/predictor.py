"""Texts in, labels and probabilities out, on Paddle Inference from a bundle alone.

Imports neither PaddleNLP nor any training code.
"""

from __future__ import annotations

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

    Raises InputError when the bundle is incomplete or altered.
    """

    def __init__(self, bundle: str | os.PathLike, device: str = "cpu", threads: int = 1):
        self.manifest: Manifest = read_manifest(bundle)
        self.tokenizer = WordPieceTokenizer.from_folder(Path(bundle))
        self._engine = create_engine(Path(bundle) / MODEL_STEM, device, threads)

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


def create_engine(stem: Path, device: str, threads: int):
    """A Paddle Inference predictor for `stem`.pdmodel and `stem`.pdiparams."""
    from paddle import inference

    config = inference.Config(f"{stem}.pdmodel", f"{stem}.pdiparams")
    config.disable_glog_info()
    if device == "gpu":
        config.enable_use_gpu(256, 0)
    else:
        config.disable_gpu()
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(threads)
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

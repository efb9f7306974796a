"""Texts in, labels and probabilities out, on Paddle Inference from a bundle alone.

Imports neither PaddleNLP nor any training code.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.tokenization import WordPieceTokenizer, pad_batch
from ..errors import InputError
from .bundle import MODEL_STEM, Manifest, read_manifest


@dataclass(frozen=True)
class Prediction:
    """One row's answer; `probabilities` are in the order of the manifest's labels."""

    label: str
    probability: float
    probabilities: dict[str, float]


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

    def predict(self, texts: list[str], texts_b: list[str] | None = None, batch_size: int = 32) -> list[Prediction]:
        """Label and probabilities of each text (or pair), in order."""
        logits = self.logits(texts, texts_b, batch_size)
        return [self._prediction(row) for row in softmax(logits)]

    def logits(self, texts: list[str], texts_b: list[str] | None = None, batch_size: int = 32) -> np.ndarray:
        """Logits [rows, labels]. Rows are batched by length and come back in the order given."""
        pair = self.manifest.task_type == "pair_classification"
        if pair != (texts_b is not None):
            need = "two texts a row" if pair else "one text a row"
            raise InputError(f"this bundle takes {need}", "texts", "see task_type in its manifest.json")
        if not texts:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        encoded = self.tokenizer.encode(texts, texts_b, max_length=self.manifest.max_length_tokens)
        order = np.argsort([len(ids) for ids in encoded.input_ids], kind="stable")
        result = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            ids = pad_batch([encoded.input_ids[i] for i in indices], self.tokenizer.pad_id)
            types = pad_batch([encoded.token_type_ids[i] for i in indices], 0)
            result[indices] = self.run(ids, types)
        return result

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """One forward pass of the engine: int64 [batch, length] twice to logits [batch, labels]."""
        feeds = {"input_ids": input_ids, "token_type_ids": token_type_ids}
        for name in self._engine.get_input_names():
            self._engine.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(feeds[name]))
        self._engine.run()
        return self._engine.get_output_handle(self._engine.get_output_names()[0]).copy_to_cpu()

    def _prediction(self, probabilities: np.ndarray) -> Prediction:
        best = int(probabilities.argmax())
        by_label = {label: float(p) for label, p in zip(self.labels, probabilities, strict=True)}
        return Prediction(self.labels[best], float(probabilities[best]), by_label)


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

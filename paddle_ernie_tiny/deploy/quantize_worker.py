"""Child process of `quantize.py`: reads a QuantizeRequest on standard input, writes the int8 bundle's files.

The matrix products get int8 weights (a scale for each output channel) and int8 activations (one scale each, from the
calibration rows); the table of word embeddings is stored as int8 rows with a scale each and looked up as such. The
rest (other embeddings, layer norms, softmax, GELU, biases) stays in fp32.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from ..data.tokenization import pad_batch
from ..runtime import tune_process
from .bundle import MODEL_STEM, read_manifest, write_manifest
from .child import RESULT
from .quantize import QuantizeRequest, has_vnni
from .scoring import LabelledRows, scores

_BATCH = 8  # calibration rows a forward pass; a scale is the mean over passes of the largest absolute value


def main() -> None:
    tune_process()
    request = QuantizeRequest(**json.loads(sys.stdin.read()))
    request.calibration, request.dev = LabelledRows(**request.calibration), LabelledRows(**request.dev)
    folder = Path(sys.argv[1])
    result = quantize(request, folder)
    (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")


def quantize(request: QuantizeRequest, folder: Path) -> dict:
    """Writes the bundle into `folder`: every part in int8, or with `auto` as many as the gate lets through."""
    import paddle

    paddle.enable_static()
    from .predictor import Predictor
    from .static_int8 import Quantizer

    served = Predictor(request.bundle)
    quantizer = Quantizer(Path(request.bundle), _batches(served, request.calibration))
    unknown = [name for name in request.keep_fp32 if name not in quantizer.parts]
    if unknown:
        return {"unknown": unknown[0], "parts": list(quantizer.parts)}
    if set(quantizer.parts) <= set(request.keep_fp32):
        return {"nothing": True}
    fp32 = served.logits(request.dev.texts, request.dev.texts_b)
    before = _metric(served, fp32, request.dev)
    kept, tried, sensitivity = list(request.keep_fp32), [], {}
    while True:
        _write(quantizer, folder, request, kept)
        int8 = Predictor(folder).logits(request.dev.texts, request.dev.texts_b)
        after = _metric(served, int8, request.dev)
        tried.append({"fp32": list(kept), "metric": after, "drop_points": 100 * (before - after)})
        passed = tried[-1]["drop_points"] <= request.max_drop_points  # false for what is no number
        if passed:
            break
        sensitivity = sensitivity or _sensitivity(quantizer, folder.with_name(folder.name + ".part"), request, served)
        following = next((name for name in sensitivity if name not in kept), None)
        # with the last part in fp32 as well there would be no int8
        if not request.auto or following is None or len(kept) + 1 == len(quantizer.parts):
            break
        kept.append(following)
    parity = {
        "rows": len(request.dev.texts),
        "metric_fp32": before,
        "metric_int8": after,
        "drop_points": tried[-1]["drop_points"],
        "max_drop_points": request.max_drop_points,
        **_difference(served.kind, fp32, int8),
    }
    manifest = read_manifest(folder)
    manifest.parity = parity
    manifest.quantization["tried"] = tried
    manifest.quantization["sensitivity"] = sensitivity
    write_manifest(folder, manifest)
    return {"passed": passed, "parity": parity, "tried": tried, "sensitivity": sensitivity}


def _write(quantizer, folder: Path, request: QuantizeRequest, keep_fp32: list[str]) -> None:
    """A whole bundle in `folder`, with the named parts in fp32."""
    import paddle

    manifest = read_manifest(request.bundle)
    folder.mkdir(exist_ok=True)
    for name in manifest.files:
        if not name.startswith(f"{MODEL_STEM}."):
            shutil.copy2(Path(request.bundle) / name, folder / name)
    quantizer.write(folder, keep_fp32)
    manifest.precision = "int8"
    manifest.versions = {**manifest.versions, "quantized_with_paddlepaddle": paddle.__version__}
    manifest.quantization = {
        "method": "post-training, static; weights a scale each output channel, activations a scale each tensor",
        "calibration_rows": len(request.calibration.texts),
        "int8": [name for name in quantizer.parts if name not in keep_fp32],
        "fp32": list(keep_fp32),
        "gated_on_vnni": has_vnni(),  # kernels for other CPUs differ, in speed and in rounding
    }
    write_manifest(folder, manifest)


def _sensitivity(quantizer, folder: Path, request: QuantizeRequest, served) -> dict[str, float]:
    """Part to the mean squared change of the calibration rows' logits with that part alone in int8, largest first.

    Measured by real int8 runs of the engine.
    """
    from .predictor import Predictor

    texts, texts_b = request.calibration.texts, request.calibration.texts_b
    fp32, changes = _flat(served.logits(texts, texts_b)), {}
    for part in quantizer.parts:
        _write(quantizer, folder, request, [name for name in quantizer.parts if name != part])
        changes[part] = float(np.square(_flat(Predictor(folder).logits(texts, texts_b)) - fp32).mean())
        shutil.rmtree(folder)
    return dict(sorted(changes.items(), key=lambda item: -item[1] if item[1] == item[1] else -np.inf))


def _batches(served, rows: LabelledRows) -> list[tuple[np.ndarray, np.ndarray]]:
    """Padded feeds of the calibration rows, by length so that little of them is padding."""
    tokenizer, length = served.tokenizer, served.manifest.max_length_tokens
    if served.kind == "token_classification":
        encoded, _ = tokenizer.encode_words(rows.texts, length)
    else:
        encoded = tokenizer.encode(rows.texts, rows.texts_b, max_length=length)
    order = sorted(range(len(rows.texts)), key=lambda index: len(encoded.input_ids[index]))
    return [
        (
            pad_batch([encoded.input_ids[i] for i in order[start : start + _BATCH]], tokenizer.pad_id),
            pad_batch([encoded.token_type_ids[i] for i in order[start : start + _BATCH]], 0),
        )
        for start in range(0, len(order), _BATCH)
    ]


def _metric(served, logits, rows: LabelledRows) -> float:
    if not np.isfinite(_flat(logits)).all():
        return float("nan")
    return scores(served.manifest, logits, rows)[served.manifest.metric]


def _difference(kind: str, fp32, int8) -> dict:
    one, other = _flat(fp32), _flat(int8)
    same = None if kind == "regression" else float((one.argmax(-1) == other.argmax(-1)).mean())
    return {"max_abs_diff": float(np.abs(one - other).max()), "label_agreement": same}


def _flat(logits) -> np.ndarray:
    """[answers, labels]: of token classification, the words of all rows."""
    return np.concatenate(logits) if isinstance(logits, list) else logits


if __name__ == "__main__":
    main()

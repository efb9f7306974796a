"""Makes an int8 bundle from an fp32 one: post-training quantisation, kept only if the task's own metric holds.

The matrix products get int8 weights (a scale for each output channel) and int8 activations (one scale each, from the
calibration rows); the table of word embeddings is stored as int8 rows with a scale each and looked up as such. The
rest (other embeddings, layer norms, softmax, GELU, biases) stays in fp32.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..defaults import CALIBRATION_ROWS, MAX_DROP_POINTS
from ..engines import MODEL_STEM
from ..errors import GateError, InputError
from ..files import new_folder
from ..machine import has_vnni
from ..processes import in_child
from .bundle import MANIFEST, read_manifest, write_manifest
from .card import describe_bundle
from .export import OLD_FORMAT
from .predictor import Predictor
from .row_files import LabelledRows, read_labelled, read_units

if TYPE_CHECKING:
    from .static_int8 import Quantizer

_BATCH = 8  # calibration rows per forward pass; a scale is the mean over passes of the largest absolute value


@dataclass
class QuantizeRequest:
    """What to quantise: training rows to calibrate on (their labels are not looked at), labelled dev rows to score."""

    bundle: str
    out: str
    calibration: LabelledRows
    dev: LabelledRows
    max_drop_points: float = MAX_DROP_POINTS  # hundredths of the metric
    auto: bool = True  # leave parts out, the most sensitive first, until the gate passes
    keep_fp32: list[str] = field(default_factory=list)  # parts that are left out from the start


def quantize_bundle(request: QuantizeRequest) -> dict[str, Any]:
    """Writes the int8 bundle atomically and returns its parity figures (see `Manifest.parity`).

    Both bundles are scored on the dev rows by the Predictor that serves them. Raises GateError when the metric
    falls by more than `max_drop_points`, with the figures and the parts that int8 harms most; nothing is then
    published. Raises InputError for a bundle that is not fp32, rows that are too few, or an unknown part.
    """
    manifest = read_manifest(request.bundle)
    if manifest.precision != "fp32":
        raise InputError(f"the bundle is {manifest.precision} already", request.bundle, "give the fp32 bundle")
    for name, rows in (("calibration", request.calibration), ("dev", request.dev)):
        if not rows.texts:
            raise InputError(f"no {name} rows", "quantize", "give rows of the task")
    out = Path(request.out)
    if out.resolve() == Path(request.bundle).resolve():
        raise InputError("the int8 bundle would replace the fp32 one", str(out), "choose another folder")
    with new_folder(out, marker=MANIFEST) as folder:
        result = in_child("quantize", _quantize, request, folder, environment=OLD_FORMAT)
        if not result["passed"]:
            raise _refused(manifest.metric, result, request)
    return result["parity"]


def quantize(
    bundle: str | os.PathLike,
    out: str | os.PathLike,
    calibrate: str | os.PathLike,
    dev: str | os.PathLike,
    rows: int = CALIBRATION_ROWS,
    max_drop_points: float = MAX_DROP_POINTS,
    auto: bool = True,
    keep_fp32: list[str] | None = None,
) -> dict[str, Any]:
    """As `quantize_bundle`, from files in the layout of the training data.

    `calibrate` is a training file, of which `rows` rows are used, labels or not; `dev` has labels, and is scored.
    """
    manifest = read_manifest(bundle)
    calibration = read_units(manifest, Path(calibrate)).spread(rows)
    scored = read_labelled(manifest, Path(dev))
    request = QuantizeRequest(str(bundle), str(out), calibration, scored, max_drop_points, auto, keep_fp32 or [])
    return quantize_bundle(request)


def _quantize(request: QuantizeRequest, folder: Path) -> dict[str, Any]:
    """In the child process: every part in int8, or with `auto` as many as the gate lets through."""
    import paddle

    paddle.enable_static()
    from .static_int8 import Quantizer

    served, dev = Predictor(request.bundle), request.dev
    encoded, _ = served.tokenize(request.calibration.texts, request.calibration.texts_b)
    feeds = [(ids, types) for _, ids, types in served.feeds(encoded, _BATCH)]  # by length: little is padding
    quantizer = Quantizer(Path(request.bundle), feeds)
    unknown = [name for name in request.keep_fp32 if name not in quantizer.parts]
    if unknown:
        raise InputError(f"no part {unknown[0]!r}", "keep_fp32", f"parts: {', '.join(quantizer.parts)}")
    if set(quantizer.parts) <= set(request.keep_fp32):
        raise InputError("every part is left in fp32", "keep_fp32", "leave at least one part out of it")
    fp32 = served.outputs(dev.texts, dev.texts_b)
    before = _metric(served, fp32, dev)
    kept = list(request.keep_fp32)
    tried: list[dict[str, Any]] = []
    sensitivity: dict[str, float] = {}
    while True:
        _write(quantizer, folder, request, kept)
        int8 = Predictor(folder).outputs(dev.texts, dev.texts_b)
        after = _metric(served, int8, dev)
        tried.append({"fp32": list(kept), "metric": after, "drop_points": 100 * (before - after)})
        passed = tried[-1]["drop_points"] <= request.max_drop_points  # false for what is no number
        if passed:
            break
        sensitivity = sensitivity or _sensitivity(quantizer, folder / "part", request, served)
        following = next((name for name in sensitivity if name not in kept), None)
        # with the last part in fp32 as well there would be no int8
        if not request.auto or following is None or len(kept) + 1 == len(quantizer.parts):
            break
        kept.append(following)
    one, other = np.concatenate(fp32), np.concatenate(int8)
    manifest = read_manifest(folder)
    manifest.parity = {
        "rows": len(dev.texts),
        "metric_fp32": before,
        "metric_int8": after,
        "drop_points": tried[-1]["drop_points"],
        "max_drop_points": request.max_drop_points,
        "max_abs_diff": float(np.abs(one - other).max()),
        "label_agreement": served.kind.agreement(one, other),
    }
    made = {"tried": tried, "sensitivity": sensitivity}
    manifest.quantization = {**(manifest.quantization or {}), **made}
    describe_bundle(folder, manifest)
    return {"passed": passed, "parity": manifest.parity, **made}


def _write(quantizer: Quantizer, folder: Path, request: QuantizeRequest, keep_fp32: list[str]) -> None:
    """A whole bundle in `folder`, with the named parts in fp32."""
    import paddle

    manifest = read_manifest(request.bundle)
    folder.mkdir(exist_ok=True)
    for name in manifest.files:
        if not name.startswith(f"{MODEL_STEM}."):
            shutil.copy2(Path(request.bundle) / name, folder / name)
    quantizer.write(folder, keep_fp32)
    manifest.precision, manifest.engines = "int8", {}
    manifest.versions = {**manifest.versions, "quantized_with_paddlepaddle": paddle.__version__}
    manifest.quantization = {
        "method": "post-training, static; weights a scale per output channel, activations a scale per tensor",
        "calibration_rows": len(request.calibration.texts),
        "int8": [name for name in quantizer.parts if name not in keep_fp32],
        "fp32": list(keep_fp32),
        "gated_on_vnni": has_vnni(),  # kernels for other CPUs differ, in speed and in rounding
    }
    write_manifest(folder, manifest)


def _sensitivity(quantizer: Quantizer, folder: Path, request: QuantizeRequest, served: Predictor) -> dict[str, float]:
    """Part to the mean squared change of the calibration rows' logits with that part alone in int8, largest first."""
    rows = request.calibration
    fp32, changes = np.concatenate(served.outputs(rows.texts, rows.texts_b)), {}
    for part in quantizer.parts:
        _write(quantizer, folder, request, [name for name in quantizer.parts if name != part])
        int8 = np.concatenate(Predictor(folder).outputs(rows.texts, rows.texts_b))
        changes[part] = float(np.square(int8 - fp32).mean())
        shutil.rmtree(folder)
    return dict(sorted(changes.items(), key=lambda item: -item[1] if item[1] == item[1] else -np.inf))


def _metric(served: Predictor, outputs: list[np.ndarray], rows: LabelledRows) -> float:
    if not np.isfinite(np.concatenate(outputs)).all():
        return float("nan")
    return served.score(outputs, rows.gold, rows.texts)[served.manifest.metric]


def _refused(metric: str, result: dict[str, Any], request: QuantizeRequest) -> GateError:
    parity, tries = result["parity"], len(result["tried"])
    what = (
        f"{metric} on {parity['rows']} dev rows falls from {parity['metric_fp32']:.4f} to {parity['metric_int8']:.4f}, "
        f"{parity['drop_points']:.2f} points (allowed: {request.max_drop_points:g})"
        + (f", the last of {tries} attempts, each with more parts in fp32" if tries > 1 else "")
        + "; nothing was written"
    )
    remedy = "serve the fp32 bundle, or give more calibration rows; int8 may need training that knows of it"
    worst = [name for name in result["sensitivity"] if name not in request.keep_fp32][:3]
    if not request.auto and worst:
        options = " ".join(f"--keep-fp32 {name}" for name in worst)
        remedy = f"leave the most sensitive parts in fp32: {options}, or use --auto"
    return GateError(what, request.out, remedy)

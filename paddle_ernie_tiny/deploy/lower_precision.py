"""The process that makes a bundle in a lower precision: graph by graph, as much of it as the gate lets through."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..engines import ENGINES, IN_ONNX, ONNX_FILE, PADDLE_FILES, QDQ_PACKAGES
from ..errors import InputError
from ..machine import has_vnni, versions
from .bundle import Parity, read_manifest, write_manifest
from .card import describe_bundle
from .predictor import Predictor
from .row_files import LabelledRows

if TYPE_CHECKING:
    from .quantize import QuantizeRequest

_BATCH = 8  # calibration rows per forward pass; a scale is the mean over passes of the largest value
_GRAPHS = {"paddle": PADDLE_FILES, "onnx": (ONNX_FILE,)}  # name of a graph, in which engines run: its files
METHODS = {
    "int8": "post-training, static; weights a scale per output channel, activations a scale per tensor",
    "bf16": "linear layers in bfloat16; the graph is that of fp32",
}
_PACKAGES = {"paddle": ("paddlepaddle", "paddlepaddle-gpu"), "onnx": QDQ_PACKAGES}


class Quantizer(Protocol):
    """One graph of a bundle in a lower precision; `parts` are those that can stay in fp32, with their weights."""

    parts: dict[str, list[str]]

    def write(self, folder: Path, keep_fp32: list[str]) -> None:
        """Writes the graph's files into `folder`, with the named parts in fp32."""


@dataclass(frozen=True)
class _AsItIs(Quantizer):
    """A graph that the engine itself runs in the lower precision."""

    files: list[Path]
    parts: dict[str, list[str]] = field(default_factory=dict)

    def write(self, folder: Path, keep_fp32: list[str]) -> None:
        for file in self.files:
            shutil.copy2(file, folder / file.name)


@dataclass
class Found:
    """How a graph came out: its figures by engine, what is left in fp32, and the attempts before."""

    figures: dict[str, Parity]
    passed: bool
    made: dict[str, Any]  # as in the manifest: int8, fp32, tried, sensitivity


def make(request: QuantizeRequest, engines: list[str], fp32_onnx: Path, folder: Path) -> dict[str, Any] | Found:
    """In the child process: a bundle of every graph in turn, then all in one; or what the gate did not let through."""
    if "paddle" in engines and request.precision == "int8":
        import paddle

        paddle.enable_static()
    fp32 = read_manifest(request.bundle)
    installed = [name for name in fp32.runs_in if ENGINES[name].installed]
    served = Predictor(request.bundle, engine=(installed or fp32.runs_in)[0])
    reference = Predictor(request.reference, engine=served.engine) if request.reference else served
    answers = reference.outputs(request.dev.texts, request.dev.texts_b)
    known = answers, _metric(reference, answers, request.dev)
    found: dict[str, Found] = {}
    for graph in _GRAPHS:
        if names := [name for name in engines if (name in IN_ONNX) == (graph == "onnx")]:
            quantizer = _quantizer(graph, request, served, fp32_onnx)
            found[graph] = _search(quantizer, names, request, served, known, folder / graph)
            if not found[graph].passed:
                return found[graph]
    first, *others = found
    manifest = read_manifest(folder / first)
    for graph in found:
        for name in read_manifest(folder / graph).files:
            (folder / graph / name).replace(folder / name)
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
    figures = {name: values for each in found.values() for name, values in each.figures.items()}
    manifest.parity = figures[engines[0]]
    manifest.engines = {name: values for name, values in figures.items() if name in IN_ONNX}
    if request.precision == "int8":
        packages = [name for graph in found for name in _PACKAGES[graph]]
        manifest.versions |= {f"quantized_with_{k}": v for k, v in versions(packages).items() if k in packages}
    manifest.quantization = {**(manifest.quantization or {}), **found[first].made}
    manifest.quantization |= {graph: found[graph].made for graph in others}
    describe_bundle(folder, manifest)
    return manifest.parity


def _quantizer(graph: str, request: QuantizeRequest, served: Predictor, fp32_onnx: Path) -> Quantizer:
    bundle = Path(request.bundle)
    if request.precision != "int8":
        return _AsItIs([fp32_onnx] if graph == "onnx" else [bundle / name for name in PADDLE_FILES])
    assert request.calibration is not None, "checked at the start"
    encoded, _ = served.tokenize(request.calibration.texts, request.calibration.texts_b)
    feeds = [(ids, types) for _, ids, types in served.feeds(encoded, _BATCH)]  # by length: little is padding
    if graph == "onnx":
        from .onnx_int8 import OnnxQuantizer

        return OnnxQuantizer(fp32_onnx, feeds)
    from .static_int8 import PaddleQuantizer

    return PaddleQuantizer(bundle, feeds)


def _search(
    quantizer: Quantizer,
    engines: list[str],
    request: QuantizeRequest,
    served: Predictor,
    fp32: tuple[list[np.ndarray], float],
    folder: Path,
) -> Found:
    """A bundle of one graph in `folder`: every part in int8, or with `auto` as many as the gate of every engine allows.

    fp32: the answers to the dev rows that int8 is compared with, and their metric.
    """
    unknown = [name for name in request.keep_fp32 if name not in quantizer.parts]
    if unknown:
        parts = ", ".join(quantizer.parts) or f"none can stay in fp32 in a {request.precision} bundle"
        raise InputError(f"no part {unknown[0]!r}", "keep_fp32", f"parts: {parts}")
    if quantizer.parts and set(quantizer.parts) <= set(request.keep_fp32):
        raise InputError("every part is left in fp32", "keep_fp32", "leave at least one part out of it")
    kept = list(request.keep_fp32)
    tried: list[dict[str, Any]] = []
    sensitivity: dict[str, float] = {}
    while True:
        _write(quantizer, engines, folder, request, kept)
        figures = {name: _figures(folder, name, request, served, fp32) for name in engines}
        worst = max(figures.values(), key=lambda values: drop_of(values))
        passed = all(drop_of(values) <= request.max_drop_points for values in figures.values())
        metric = worst[f"metric_{request.precision}"]
        tried.append({"fp32": list(kept), "metric": metric, "drop_points": worst["drop_points"]})
        if not passed and not sensitivity:
            sensitivity = _sensitivity(quantizer, engines[0], folder / "part", request, served)
        following = next((name for name in sensitivity if name not in kept), None)
        # with the last part in fp32 as well there would be no int8
        if passed or not request.auto or following is None or len(kept) + 1 == len(quantizer.parts):
            break
        kept.append(following)
    left = {"int8": [name for name in quantizer.parts if name not in kept], "fp32": kept} if quantizer.parts else {}
    return Found(figures, passed, {**left, "tried": tried, "sensitivity": sensitivity})


def _write(quantizer: Quantizer, engines: list[str], folder: Path, request: QuantizeRequest, kept: list[str]) -> None:
    """A whole bundle with one graph in `folder`, with the named parts in fp32."""
    manifest = read_manifest(request.bundle)
    folder.mkdir(exist_ok=True)
    for name in manifest.files:
        if name not in (*PADDLE_FILES, ONNX_FILE):
            shutil.copy2(Path(request.bundle) / name, folder / name)
    quantizer.write(folder, kept)
    manifest.precision = request.precision  # type: ignore[assignment]
    manifest.engines = {name: {} for name in engines if name in IN_ONNX}
    manifest.quantization = {"method": METHODS[request.precision]}
    if request.aware is not None:
        trained = METHODS[request.precision].replace("post-training", "quantisation-aware training")
        manifest.quantization = {"method": trained, "quantization_aware": request.aware}
    if request.calibration is not None and quantizer.parts:
        # kernels for other CPUs differ, in speed and in rounding
        manifest.quantization |= {"calibration_rows": len(request.calibration.texts), "gated_on_vnni": has_vnni()}
    write_manifest(folder, manifest)


def _figures(
    folder: Path, engine: str, request: QuantizeRequest, served: Predictor, fp32: tuple[list[np.ndarray], float]
) -> Parity:
    """What the bundle in `folder` costs in an engine, on the dev rows."""
    dev = request.dev
    answers = Predictor(folder, engine=engine).outputs(dev.texts, dev.texts_b)
    before, after = fp32[1], _metric(served, answers, dev)
    one, other = np.concatenate(fp32[0]), np.concatenate(answers)
    return {
        "rows": len(dev.texts),
        "metric_fp32": before,
        f"metric_{request.precision}": after,
        "drop_points": 100 * (before - after),
        "max_drop_points": request.max_drop_points,
        "max_abs_diff": float(np.abs(one - other).max()),
        "label_agreement": served.kind.agreement(one, other),
    }


def drop_of(values: Parity) -> float:
    """The points that were lost; infinite where the metric is no number."""
    drop = values["drop_points"]
    return np.inf if drop is None or drop != drop else drop


def _sensitivity(
    quantizer: Quantizer, engine: str, folder: Path, request: QuantizeRequest, served: Predictor
) -> dict[str, float]:
    """Part to the mean squared change of the calibration rows' logits with that part alone in int8, largest first."""
    rows = request.calibration
    if rows is None or not quantizer.parts:
        return {}
    fp32, changes = np.concatenate(served.outputs(rows.texts, rows.texts_b)), {}
    for part in quantizer.parts:
        _write(quantizer, [engine], folder, request, [name for name in quantizer.parts if name != part])
        int8 = np.concatenate(Predictor(folder, engine=engine).outputs(rows.texts, rows.texts_b))
        changes[part] = float(np.square(int8 - fp32).mean())
        shutil.rmtree(folder)
    return dict(sorted(changes.items(), key=lambda item: -item[1] if item[1] == item[1] else -np.inf))


def _metric(served: Predictor, outputs: list[np.ndarray], rows: LabelledRows) -> float:
    if not np.isfinite(np.concatenate(outputs)).all():
        return float("nan")
    return served.score(outputs, rows.gold, rows.texts)[served.manifest.metric]

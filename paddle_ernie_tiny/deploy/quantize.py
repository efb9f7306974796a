"""Makes an int8 or bf16 bundle from an fp32 one: kept only if the task's own metric holds in every engine.

int8 is post-training quantisation, of Paddle's graph (static_int8.py) and of model.onnx (onnx_int8.py) alike. The
matrix products get int8 weights (a scale for each output channel) and activations in a byte each (one scale each, from
the calibration rows); the table of word embeddings is stored as int8 rows with a scale each and looked up as such. The
rest (other embeddings, layer norms, softmax, GELU, biases) stays in fp32. In bf16 the graphs stay as they are, and the
engine rounds what goes into the products.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..defaults import CALIBRATION_ROWS, MAX_DROP_POINTS
from ..engines import ENGINES, IN_ONNX, ON_CPU, ONNX_FILE, PADDLE_FILES, QDQ_PACKAGES, require_installed
from ..errors import GateError, InputError
from ..files import new_folder
from ..processes import in_child
from .bundle import MANIFEST, Manifest, Parity, read_manifest
from .export import OLD_FORMAT
from .lower_precision import METHODS, Found, drop_of, make
from .onnx_graph import convert, require_known
from .row_files import LabelledRows, read_labelled, read_units


@dataclass
class QuantizeRequest:
    """What to quantise: training rows to calibrate on (their labels are not looked at), labelled dev rows to score."""

    bundle: str
    out: str
    calibration: LabelledRows | None  # None: bf16 needs none
    dev: LabelledRows
    max_drop_points: float = MAX_DROP_POINTS  # hundredths of the metric
    auto: bool = True  # leave parts out, the most sensitive first, until the gate passes
    keep_fp32: list[str] = field(default_factory=list)  # parts that are left out from the start
    engines: list[str] | None = None  # what it is to run in; None: the engines of the fp32 bundle
    precision: str = "int8"  # or "bf16"
    reference: str | None = None  # the fp32 bundle whose metric may not fall; None: the one that is quantised
    aware: dict[str, Any] | None = None  # of a bundle that was trained with fake quantisation: how, for the manifest


class MetricRefused(GateError):
    """A lower precision costs more of the metric than it may: in words, and the figures of the first engine."""

    sentence: str
    parity: Parity


def quantize_bundle(request: QuantizeRequest) -> dict[str, Any]:
    """Writes the bundle atomically and returns the parity figures of its first engine (see `Manifest.parity`).

    It is made for the engines asked for, each of which is scored on the dev rows by the Predictor that serves it; of an
    fp32 bundle without model.onnx the graph is converted first. Raises MetricRefused (a GateError) when the metric
    falls by more than `max_drop_points` in one of them, with the figures and the parts that int8 harms most; nothing is
    then published. Raises InputError for a bundle that is not fp32, rows that are too few, an unknown part, or an
    engine that is not installed or, for bf16, that does not have it on this CPU.
    """
    manifest, bundle = read_manifest(request.bundle), Path(request.bundle)
    if manifest.precision != "fp32":
        raise InputError(f"the bundle is {manifest.precision} already", request.bundle, "give the fp32 bundle")
    if request.precision not in METHODS:
        raise InputError(f"unknown precision {request.precision!r}", "quantize", f"use {' or '.join(METHODS)}")
    rows = {"dev": request.dev, **({"calibration": request.calibration} if request.precision == "int8" else {})}
    for name, given in rows.items():
        if given is None or not given.texts:
            raise InputError(f"no {name} rows", "quantize", "give rows of the task")
    out = Path(request.out)
    if out.resolve() == bundle.resolve():
        raise InputError(
            f"the {request.precision} bundle would replace the fp32 one", str(out), "choose another folder"
        )
    engines = _engines(manifest, request)
    with new_folder(out, marker=MANIFEST) as folder:
        fp32_onnx = bundle / ONNX_FILE
        if ONNX_FILE not in manifest.files and set(engines) & set(IN_ONNX):
            fp32_onnx = folder / ".fp32" / ONNX_FILE
            fp32_onnx.parent.mkdir()
            in_child("onnx", convert, bundle, fp32_onnx)
        result = in_child("quantize", make, request, engines, fp32_onnx, folder, environment=OLD_FORMAT)
        if isinstance(result, Found):
            raise _refused(manifest.metric, result, request, len(engines))
    return result


def quantize(
    bundle: str | os.PathLike,
    out: str | os.PathLike,
    calibrate: str | os.PathLike | None,
    dev: str | os.PathLike,
    rows: int = CALIBRATION_ROWS,
    max_drop_points: float = MAX_DROP_POINTS,
    auto: bool = True,
    keep_fp32: list[str] | None = None,
    engines: list[str] | None = None,
    precision: str = "int8",
) -> dict[str, Any]:
    """As `quantize_bundle`, from files in the layout of the training data.

    `calibrate` is a training file, of which `rows` rows are used, labels or not (None for bf16, which needs none);
    `dev` has labels, and is scored.
    """
    if calibrate is None and precision == "int8":
        raise InputError("int8 needs training rows", "--calibrate", "give a training file: --calibrate train.tsv")
    manifest = read_manifest(bundle)
    calibration = None if calibrate is None else read_units(manifest, Path(calibrate)).spread(rows)
    scored, how = read_labelled(manifest, Path(dev)), (max_drop_points, auto, keep_fp32 or [], engines, precision)
    return quantize_bundle(QuantizeRequest(str(bundle), str(out), calibration, scored, *how))


def _engines(manifest: Manifest, request: QuantizeRequest) -> list[str]:
    """The engines that it is made for, Paddle first."""
    able = [name for name in manifest.runs_in if request.precision != "bf16" or ENGINES[name].has_bf16]
    names, own = request.engines or able or manifest.runs_in, PADDLE_FILES[0] in manifest.files
    if request.engines == []:
        raise InputError("no engine is named", "--engine", f"use {', '.join(ON_CPU)}, or leave it out")
    for name in names:
        require_known(name, "--engine")
        needs_own = name not in IN_ONNX or ONNX_FILE not in manifest.files
        if needs_own and not own:
            what = f"no {PADDLE_FILES[0]} in this bundle, which is needed for {name}"
            raise InputError(what, request.bundle, "give the bundle that it was made from, or other engines")
        row = ENGINES[name]
        row.require_packages("--engine", "bench", convert=needs_own)
        row.check_precision(request.precision, "cpu")
        if row.reads_onnx and request.precision == "int8":
            require_installed(QDQ_PACKAGES, f"int8 for {name}", "--engine", "bench")
    return sorted(dict.fromkeys(names), key=lambda name: name in IN_ONNX)


def _refused(metric: str, found: Found, request: QuantizeRequest, engines: int) -> MetricRefused:
    made = found.made
    missed = {name: f for name, f in found.figures.items() if drop_of(f) > request.max_drop_points}
    falls = " and ".join(
        f"from {figures['metric_fp32']:.4f} to {figures[f'metric_{request.precision}']:.4f}, "
        f"{figures['drop_points']:.2f} points, in {name}"
        for name, figures in missed.items()
    )
    tries = len(made["tried"])
    sentence = f"{metric} on {len(request.dev.texts)} dev rows falls {falls} (allowed: {request.max_drop_points:g})" + (
        f", the last of {tries} attempts, each with more parts in fp32" if tries > 1 else ""
    )
    remedy = "serve the fp32 bundle"
    if request.precision == "int8":
        remedy += ", give more calibration rows, or train the student for int8 in its run "
        remedy += "(export.int8.quantization_aware)"
    worst = [name for name in made["sensitivity"] if name not in request.keep_fp32][:3]
    if not request.auto and worst:
        options = " ".join(f"--keep-fp32 {name}" for name in worst)
        remedy = f"leave the most sensitive parts in fp32: {options}, or use --auto"
    if engines > len(missed):
        remedy += f"; or leave out of --engine: {', '.join(missed)}"
    refused = MetricRefused(f"{sentence}; nothing was written", request.out, remedy)
    refused.sentence, refused.parity = sentence, next(iter(missed.values()))
    return refused

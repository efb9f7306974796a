"""Makes an int8 bundle from an fp32 one: post-training quantisation, behind a gate on the task's own metric."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import GateError, InputError
from .bundle import publish, read_manifest
from .child import run_child
from .scoring import LabelledRows


@dataclass
class QuantizeRequest:
    """What the child process needs: training rows to calibrate on, labelled dev rows for the gate."""

    bundle: str
    out: str
    calibration: LabelledRows  # its labels are not looked at
    dev: LabelledRows
    max_drop_points: float = 0.5  # hundredths of the metric
    auto: bool = True  # leave parts out, the most sensitive first, until the gate passes
    keep_fp32: list[str] = field(default_factory=list)  # parts that are left out from the start


def quantize_bundle(request: QuantizeRequest) -> dict:
    """Writes the int8 bundle atomically and returns its parity figures (see `Manifest.parity`).

    Both bundles are scored on the dev rows by the Predictor that serves them. Raises GateError when the metric
    falls by more than `max_drop_points`, with the figures and the parts that int8 harms most; nothing is then
    published. Raises InputError for a bundle that is not fp32, or rows that are too few.
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
    temporary, result, log = run_child("paddle_ernie_tiny.deploy.quantize_worker", request, out, "quantize")
    if "unknown" in result:
        shutil.rmtree(temporary)
        log.unlink()
        raise InputError(f"no part {result['unknown']!r}", "keep_fp32", f"parts: {', '.join(result['parts'])}")
    if "nothing" in result:
        shutil.rmtree(temporary)
        log.unlink()
        raise InputError("every part is left in fp32", "keep_fp32", "leave at least one part out of it")
    if not result["passed"]:
        shutil.rmtree(temporary)
        raise GateError(_refusal(manifest.metric, result, request), str(out), _remedy(result, request))
    log.unlink()
    publish(temporary, out)
    return result["parity"]


def has_vnni() -> bool:
    """Has this CPU the instructions that make int8 products faster than fp32 ones? False where it cannot be told."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return not {"avx512_vnni", "amx_int8"}.isdisjoint(flags)


def _refusal(metric: str, result: dict, request: QuantizeRequest) -> str:
    parity = result["parity"]
    tries = len(result["tried"])
    return (
        f"{metric} on {parity['rows']} dev rows falls from {parity['metric_fp32']:.4f} to {parity['metric_int8']:.4f}, "
        f"{parity['drop_points']:.2f} points (allowed: {request.max_drop_points:g})"
        + (f", the last of {tries} attempts that left ever more in fp32" if tries > 1 else "")
        + "; nothing was written"
    )


def _remedy(result: dict, request: QuantizeRequest) -> str:
    worst = [name for name in result["sensitivity"] if name not in request.keep_fp32][:3]
    if not request.auto and worst:
        options = " ".join(f"--keep-fp32 {name}" for name in worst)
        return f"leave the most sensitive parts in fp32: {options}, or use --auto"
    return "serve the fp32 bundle, or give more calibration rows; int8 may need training that knows of it"

"""How far the logits of two graphs are apart, and the gate on that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GateError
from ..kinds import Kind


def parity_of(
    one: list[np.ndarray], other: list[np.ndarray], tolerance: float, kind: Kind | None = None
) -> dict[str, Any]:
    """How far two graphs' outputs are apart: each row's logits [answers, labels] of both, for a kind of task."""
    first, second = np.concatenate(one), np.concatenate(other)
    agreed = kind and kind.agreement(first, second)
    return {
        "rows": len(one),
        "max_abs_diff": float(np.abs(first - second).max()),
        # a regressor has one output: its argmax is always the same
        "label_agreement": float((first.argmax(-1) == second.argmax(-1)).mean()) if agreed is None else agreed,
        "tolerance": tolerance,
    }


def require_parity(parity: dict[str, Any], out: Path, compared: str, verb: str) -> None:
    """Raises GateError if logits differ by more than the tolerance, or are not numbers."""
    if parity["max_abs_diff"] <= parity["tolerance"]:
        return
    raise GateError(
        f"logits of {compared} differ by up to {parity['max_abs_diff']:.3g} on {parity['rows']} rows, "
        f"the tolerance is {parity['tolerance']:g}; nothing was {verb}",
        str(out),
        f"raise the tolerance only if the labels agree: label agreement is {parity['label_agreement']:.4f}",
    )

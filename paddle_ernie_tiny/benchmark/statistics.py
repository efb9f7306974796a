"""Figures from raw samples."""

from __future__ import annotations

import numpy as np


def latency(samples_ms: list[float]) -> dict[str, float]:
    """p50, p90, p99 (linear between samples) and mean of durations in milliseconds."""
    values = np.asarray(samples_ms, dtype=np.float64)
    p50, p90, p99 = np.percentile(values, [50, 90, 99])
    return {"p50": float(p50), "p90": float(p90), "p99": float(p99), "mean": float(values.mean())}


def times_as_fast(reference: list[list[float]], own: list[list[float]]) -> dict[str, float]:
    """How many times as fast as the reference, from durations by round.

    Each round's medians are compared with each other, so that what slows the machine down for a while slows
    down both: the median of the rounds' ratios, the lowest and the highest.
    """
    ratios = [float(np.median(a) / np.median(b)) for a, b in zip(reference, own, strict=True)]
    return {"median": float(np.median(ratios)), "low": min(ratios), "high": max(ratios)}

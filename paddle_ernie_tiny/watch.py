"""What a caller of the Python API sees of a run while it trains, and how it stops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One log line of a training: its title, steps done and in all, seconds left, and the logged losses by name."""

    title: str
    steps: int
    total_steps: int
    seconds_left: float
    losses: dict[str, float]


@dataclass(frozen=True)
class Watcher:
    """Called back by every training of a run. on_progress: at every log line. should_stop: after every step."""

    on_progress: Callable[[Progress], None] | None = None
    should_stop: Callable[[], bool] | None = None

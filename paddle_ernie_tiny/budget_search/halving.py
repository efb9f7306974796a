"""Successive halving (arXiv 1502.07943): who is trained, who goes on, and with how many steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .search_settings import Halving
from .space import CandidateStudent


def entrants(
    fitting: Sequence[CandidateStudent], work: Mapping[CandidateStudent, float], most: int
) -> list[CandidateStudent]:
    """At most so many of those that keep to the budget, the ones with the most work per text first.

    First come those that no other one exceeds: one with as many layers, as wide, with as many units and the same start
    learns at least as much. Of equal shapes only the first is taken: vocabulary and precision change no training.
    """
    different = list({one.trained: one for one in reversed(fitting)}.values())
    ahead = [one for one in different if not any(_exceeds(other, one) for other in different)]
    order = sorted(different, key=lambda one: (one not in ahead, -work[one], one.name))
    return order[:most]


def _exceeds(one: CandidateStudent, other: CandidateStudent) -> bool:
    if one.start != other.start or one.trained == other.trained:
        return False
    sizes = ("num_hidden_layers", "hidden_size", "intermediate_size") if other.num_hidden_layers else ("hidden_size",)
    return all(one.sizes[size] >= other.sizes[size] for size in sizes) and bool(
        one.num_hidden_layers or not other.num_hidden_layers
    )


def rung_steps(settings: Halving, task_steps: int, stages: int) -> list[int]:
    """Steps of each rung, each twice those of the one before. task_steps: of the full recipe's stages on the task."""
    first = settings.steps or max(stages, math.ceil(task_steps / 16))
    return [first * 2**rung for rung in range(settings.rungs)]


def places(settings: Halving, count: int) -> list[int]:
    """How many candidates are in each rung, and in the final; of no rung fewer than in the next."""
    last = min(settings.finalists, count)
    found = [count]
    for _ in range(settings.rungs - 1):
        found.append(max(last, math.ceil(settings.keep * found[-1])))
    return [*found, last]


def best(scores: Mapping[CandidateStudent, float], count: int) -> list[CandidateStudent]:
    """The candidates with the highest scores; of equal ones, those that came first."""
    return sorted(scores, key=lambda one: -scores[one])[:count]


def elder_of(group: Sequence[CandidateStudent]) -> CandidateStudent:
    """The student that has the general stages for candidates of one width: with the most layers and FFN units."""
    deepest = max(one.num_hidden_layers for one in group)
    widest = max(one.intermediate_size for one in group)
    first = group[0]
    return CandidateStudent(deepest, first.hidden_size, first.num_attention_heads, widest, first.start)

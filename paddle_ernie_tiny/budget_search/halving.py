"""Successive halving (arXiv 1502.07943): who is trained, who goes on, and with how many steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import count

from ..errors import InputError
from ..study.group import shared_out
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


def rung_steps(settings: Halving, task_steps: Sequence[int]) -> list[int]:
    """Steps of each rung, each twice those of the one before.

    task_steps: of the full recipe's stages on the task, each of which has a step in a rung at least. Raises InputError
    for settings.steps that are too few for that.
    """
    wanted = settings.steps or math.ceil(sum(task_steps) / 16)
    first = next(steps for steps in count(wanted) if _is_enough(steps, task_steps))
    if settings.steps and first > wanted:
        what = f"{wanted} steps are too few for stages of {', '.join(map(str, task_steps))} steps: one would have none"
        raise InputError(what, "halving.steps", f"give {first}")
    return [first * 2**rung for rung in range(settings.rungs)]


def _is_enough(steps: int, task_steps: Sequence[int]) -> bool:
    try:
        shared_out([*task_steps], steps)
    except InputError:
        return False
    return True


def places(settings: Halving, candidates: int) -> list[int]:
    """How many candidates are in each rung, and in the final; of no rung fewer than in the next."""
    last = min(settings.finalists, candidates)
    found = [candidates]
    for _ in range(settings.rungs - 1):
        found.append(max(last, math.ceil(settings.keep * found[-1])))
    return [*found, last]


def best(scores: Mapping[CandidateStudent, float], most: int) -> list[CandidateStudent]:
    """The candidates with the highest scores; of equal ones, those that came first."""
    return sorted(scores, key=lambda one: -scores[one])[:most]


def elder_of(group: Sequence[CandidateStudent]) -> CandidateStudent:
    """The student that has the general stages for candidates of one width: with the most layers and FFN units."""
    deepest = max(one.num_hidden_layers for one in group)
    widest = max(one.intermediate_size for one in group)
    first = group[0]
    return CandidateStudent(deepest, first.hidden_size, first.num_attention_heads, widest, first.start)

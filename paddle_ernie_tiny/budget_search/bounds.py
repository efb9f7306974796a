"""The budget against figures: what a candidate has of each bound, and which bounds it breaks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .search_settings import BOUNDS


@dataclass(frozen=True)
class Broken:
    """A bound that a candidate does not keep to; `times`: by which factor it is off, above 1."""

    bound: str
    value: float
    limit: float
    times: float

    def __str__(self) -> str:
        return f"{self.value:.4g} {BOUNDS[self.bound][0]}, {self.bound} is {sign(self.bound)} {self.limit:g}"


def sign(bound: str) -> str:
    """How the bound is written."""
    return ">=" if BOUNDS[bound][1] else "<="


def broken_bounds(values: Mapping[str, float], limits: Mapping[str, float]) -> list[Broken]:
    """The bounds that the values do not keep to."""
    found = []
    for bound, limit in limits.items():
        value = values[bound]
        times = limit / value if BOUNDS[bound][1] else value / limit
        if times > 1:
            found.append(Broken(bound, value, limit, times))
    return found


def in_the_way(every: Collection[Mapping[str, float]], limits: Mapping[str, float]) -> list[str]:
    """The bounds that none of the candidates keeps to, or all of them if each is kept by some, but not together."""
    alone = [bound for bound in limits if all(broken_bounds(v, {bound: limits[bound]}) for v in every)]
    return alone or list(limits)

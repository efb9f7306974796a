"""How fast and how big shapes are, before any training.

Some shapes are exported with random weights and measured; the others are predicted from them (speed_fit.py), and the
prediction is checked on shapes that it was not fitted to. All that is measured is kept in a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..benchmark.request import Record
from ..benchmark.subjects import Shape, parse_shape
from ..defaults import AUTO
from ..errors import InputError
from ..files import cache_folder
from .speed_fit import LEAST_SHAPES, Costs, fit_costs, shape_name

FITTED, HELD_OUT, FURTHER = "fitted", "held out", "further"  # what a measured shape is for
WITHIN = 0.15  # a prediction this near to what is measured is right
STEADY = 1.15  # the reference takes up to so many times as long as usual in the machine's usual moments
Asked = tuple[Shape, str]  # a shape, and its precision
Key = tuple[str, str]  # a shape's whole name, and its precision


@dataclass(frozen=True)
class Setting:
    """How a student is called: rows per call, tokens per row (figures are means over the lengths), threads, engine.

    A length that is given twice counts twice. graph: as in deploy/graph.py.
    engine: "auto" is the one in which the middle shape of the space is fastest here, decided once.
    """

    batch: int = 1
    lengths: tuple[int, ...] = (128,)
    threads: int = 1
    engine: str = AUTO
    device: str = "cpu"
    graph: str = "served"  # plain: of tasks with an answer for each token


@dataclass(frozen=True)
class Effort:
    """How thoroughly to measure: shapes to fit and to check, of each precision; passes, and in each seconds and turns.

    Each pass is a process of its own, at another time and in other company. cache: keeps exported shapes.
    """

    fitted: int = 14
    held_out: int = 5
    passes: int = 2
    seconds: float = 1.0
    rounds: int = 3
    cache: Path = field(default_factory=lambda: cache_folder() / "bench")


@dataclass(frozen=True)
class Figures:
    """A shape's latency (median of calls, mean over the lengths) with its spread, files and memory.

    Of a measured shape, low and high are of the rounds; of a predicted one they are as far as the check's worst error.
    """

    latency_ms: float
    low: float
    high: float
    files_mb: float  # graph and weights, in 1e6 bytes
    rss_mb: float
    measured: bool


@dataclass(frozen=True)
class HeldOut:
    """A shape that was predicted from others, and measured; error: (predicted - measured) / measured."""

    model: str
    precision: str
    predicted_ms: float
    measured_ms: float
    error: float


@dataclass(frozen=True)
class SpeedCheck:
    """How right the predictions are. one_by_one: no shape was held out, so each was predicted from all the others."""

    held_out: tuple[HeldOut, ...]
    one_by_one: bool

    @property
    def right(self) -> int:
        """How many predictions are within 15 % of what was measured."""
        return sum(abs(one.error) <= WITHIN for one in self.held_out)

    def worst(self, precision: str) -> float:
        """The largest relative error in a precision; 0 if none was checked."""
        return max((abs(one.error) for one in self.held_out if one.precision == precision), default=0.0)


@dataclass(frozen=True)
class Pass:
    """What one process measured of a shape, and of the reference that took turns with it, by length."""

    turns_ms: list[list[float]]  # the median of each turn: [lengths][turns]
    reference_ms: list[float]  # [lengths]

    @property
    def slowness(self) -> float:
        """The reference's latency, in ms: it tells quiet moments of the machine from others."""
        return float(np.mean(self.reference_ms))

    def scaled(self, reference_ms: Sequence[float]) -> np.ndarray:
        """The turns, [lengths, turns], where the reference takes `reference_ms`.

        Only a reference that was much slower or faster tells of the machine: each process differs a little by itself.
        """
        usual = np.asarray(reference_ms) / self.reference_ms
        usual[np.maximum(usual, 1 / usual) <= STEADY] = 1.0
        return np.asarray(self.turns_ms) * usual[:, None]


@dataclass(frozen=True)
class MeasuredShape:
    """What was measured of a shape. tries: how often it was; the quietest passes are kept."""

    model: str
    precision: str
    role: str  # FITTED, HELD_OUT or FURTHER
    passes: list[Pass]
    files_mb: float
    rss_mb: float
    tries: int = 1

    @property
    def key(self) -> Key:
        """Name and precision."""
        return self.model, self.precision

    def times(self, reference_ms: Sequence[float]) -> tuple[float, float, float]:
        """Latency, low, high in ms, means over the lengths: the median of each pass, their mean; and of all turns."""
        scaled = [one.scaled(reference_ms) for one in self.passes]
        turns = np.concatenate(scaled, axis=1).mean(axis=0)
        latency_ms = np.mean([np.median(own, axis=1) for own in scaled])
        return float(latency_ms), float(turns.min()), float(turns.max())


def shape_of_json(value: Record) -> MeasuredShape:
    """A measured shape from its JSON."""
    return MeasuredShape(**{**value, "passes": [Pass(**own) for own in value["passes"]]})


@dataclass(frozen=True)
class ShapeSpeeds:
    """Figures of shapes in one setting. source: the file that they are kept in, or a device's table."""

    setting: Setting
    engine: str
    source: Path
    environment: Record
    reference: str
    reference_ms: list[float]  # by length
    shapes: dict[Key, MeasuredShape]
    from_table: bool = False

    def figures(self, shape: Shape, precision: str) -> Figures:
        """Measured where the shape was, predicted otherwise. Raises InputError where too few were to predict it."""
        found = self.shapes.get((shape_name(shape), precision))
        if found is not None:
            return Figures(*found.times(self.reference_ms), found.files_mb, found.rss_mb, measured=True)
        fitted = self._of(precision, FITTED)
        if len(fitted) < LEAST_SHAPES:
            what = f"{len(fitted)} shapes in {precision} are too few to predict the speed of {shape_name(shape)}"
            raise InputError(what, str(self.source), f"measure at least {LEAST_SHAPES} in {precision}")
        ms, files_mb, rss_mb = self._predicted(self._costs[precision], shape)
        error = self.check.worst(precision)
        return Figures(ms, ms * max(0.0, 1 - error), ms * (1 + error), files_mb, rss_mb, measured=False)

    @cached_property
    def check(self) -> SpeedCheck:
        """Predictions of the shapes that were held out; where none was, of each fitted shape from all the others."""
        found: list[HeldOut] = []
        one_by_one = not any(each.role == HELD_OUT for each in self.shapes.values())
        for precision in self._precisions:
            fitted, held_out = self._of(precision, FITTED), self._of(precision, HELD_OUT)
            if len(fitted) < LEAST_SHAPES + one_by_one:
                continue
            for each in fitted if one_by_one else held_out:
                costs = (
                    self._fit([other for other in fitted if other != each]) if one_by_one else self._costs[precision]
                )
                predicted = self._predicted(costs, parse_shape(each.model))[0]
                measured = each.times(self.reference_ms)[0]
                found.append(HeldOut(*each.key, predicted, measured, predicted / measured - 1))
        return SpeedCheck(tuple(found), one_by_one)

    def record(self) -> Record:
        """All that was measured and checked, as JSON values."""
        shapes = [
            {"model": model, "precision": precision, "role": each.role}
            | dict(zip(("latency_ms", "low", "high"), each.times(self.reference_ms), strict=True))
            | {"files_mb": each.files_mb, "rss_mb": each.rss_mb, "tries": each.tries}
            | {"passes": [asdict(one) for one in each.passes]}
            for (model, precision), each in self.shapes.items()
        ]
        return {
            "setting": {**asdict(self.setting), "lengths": [*self.setting.lengths], "engine": self.engine},
            "environment": self.environment,
            "reference": self.reference,
            "reference_ms": self.reference_ms,
            "shapes": shapes,
            "check": {
                "one_by_one": self.check.one_by_one,
                "held_out": [asdict(one) for one in self.check.held_out],
                "right": self.check.right,
                "of": len(self.check.held_out),
                "within": WITHIN,
            },
        }

    @property
    def _precisions(self) -> list[str]:
        return list(dict.fromkeys(precision for _, precision in self.shapes))

    def _of(self, precision: str, role: str) -> list[MeasuredShape]:
        return [each for each in self.shapes.values() if (each.precision, each.role) == (precision, role)]

    def _fit(self, measured: Sequence[MeasuredShape]) -> Costs:
        shapes = [parse_shape(each.model) for each in measured]
        figures = [(each.times(self.reference_ms)[0], each.files_mb, each.rss_mb) for each in measured]
        return fit_costs(shapes, self.setting.batch, self.setting.lengths, figures, self.setting.graph)

    def _predicted(self, costs: Costs, shape: Shape) -> tuple[float, float, float]:
        return costs.predict(shape, self.setting.batch, self.setting.lengths, self.setting.graph)

    @cached_property
    def _costs(self) -> dict[str, Costs]:
        return {precision: self._fit(self._of(precision, FITTED)) for precision in self._precisions}

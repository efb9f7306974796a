"""What a term of the learning objective is, and what it reads of the two models.

Importing this folder loads no Paddle: configurations are checked without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ..sections import Section, Weight

if TYPE_CHECKING:
    from paddle import Tensor

    from ..kinds import Kind

Side = Literal["student", "teacher"]
PARTS = ("query", "key", "value")


class TermSettings(Section):
    """What every term has: its weight, which may change linearly over the steps of a stage. 0: no such term."""

    weight: Weight = 0.0
    final_weight: Weight | None = Field(None, description="weight at the last step; null: as at the first")

    @property
    def wanted(self) -> bool:
        """Does the term count at any step?"""
        return self.weight > 0 or bool(self.final_weight)


@dataclass(frozen=True)
class Needs:
    """What is read of a model: hidden states (layer 0 is the embedding output), of which layers (from 1) which of
    "query", "key" and "value", and whether its logits."""

    hidden: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()
    parts: tuple[str, ...] = ("query", "key")
    logits: bool = False

    @property
    def states(self) -> list[tuple[str, int]]:
        """("hidden" | "query" | "key" | "value", layer) of every state but the logits."""
        hidden = [("hidden", layer) for layer in self.hidden]
        return hidden + [(part, layer) for layer in self.attention for part in self.parts]

    @classmethod
    def union(cls, each: Iterable[Needs]) -> Needs:
        """What all of them together need, in rising order."""
        each = list(each)
        parts = {part for needs in each if needs.attention for part in needs.parts}
        return cls(
            hidden=tuple(sorted({layer for needs in each for layer in needs.hidden})),
            attention=tuple(sorted({layer for needs in each for layer in needs.attention})),
            parts=tuple(part for part in PARTS if part in parts) or cls.parts,
            logits=any(needs.logits for needs in each),
        )


@dataclass
class Captured:
    """What one forward pass of a model gave.

    hidden: layer -> [batch, length, hidden_size]; layer 0 is the embedding output.
    query, key, value: layer (from 1) -> [batch, length, hidden_size], before splitting into heads.
    logits: [batch, labels], or [batch, length, labels]; None if they were not asked for.
    known: bool [batch], the rows that have logits, in a run without a teacher; None: all.
    """

    hidden: dict[int, Tensor] = field(default_factory=dict)
    query: dict[int, Tensor] = field(default_factory=dict)
    key: dict[int, Tensor] = field(default_factory=dict)
    value: dict[int, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None
    known: Tensor | None = None


@dataclass(frozen=True)
class Pair:
    """The two models that a term compares: their configurations, which layers belong together, and the task.

    layers: student layer m (from 1) -> teacher layer g(m). projection: "per_layer", "shared" or "none", of the
    student's hidden states to the teacher's width. class_weights: the weight of each label name; None: 1.
    """

    student: Any
    teacher: Any
    layers: dict[int, int]
    projection: str
    kind: Kind
    class_weights: Sequence[float] | None = None


class Term:
    """One addend of the loss, for one pair of models. A subclass is one row of the table `TERMS`.

    Its weight goes linearly from `weight` to `final_weight` over a stage. Its value is a mean over `unit`: "tokens",
    "pairs" (of tokens), "rows", "labelled" (rows or words) or "weighted" (labelled, with class weights). `latent` terms
    compare inner states and are part of every stage's objective; the others need labels or logits of the task.
    `needs_teacher`: it makes no sense where files alone give soft labels, and not to all rows (`Captured.known`).
    """

    name: ClassVar[str]
    latent: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = True
    Settings: ClassVar[type[TermSettings]] = TermSettings
    unit: str = "tokens"

    def __init__(self, settings: Any, pair: Pair):
        self.settings, self.pair = settings, pair

    def check(self) -> None:
        """Raises InputError if the term cannot be computed for this pair of models."""

    @property
    def symbol(self) -> str:
        """How the term is written in the printed equation."""
        raise NotImplementedError

    def needs(self, side: Side) -> Needs:
        """What the term reads of the student or of the teacher."""
        return Needs()

    def value(self, student: Captured, teacher: Captured, mask: Tensor, labels: Tensor | None) -> Tensor:
        """The unweighted value, a scalar in float32.

        mask: float32 [batch, length], 1 for real tokens. labels: as the kind of task has them; None without labels.
        Hidden states of the student are projected to the teacher's width already.
        """
        raise NotImplementedError

    def weight_at(self, progress: float) -> float:
        """The weight when this share of the stage's steps is done (0 to 1)."""
        first, final = self.settings.weight, self.settings.final_weight
        return first if final is None else first + (final - first) * progress

    def __str__(self) -> str:
        first, final = self.settings.weight, self.settings.final_weight
        change = "" if final in (None, first) else f"->{final:g}"
        return f"{first:g}{change} * {self.name} [{self.symbol}]"

    def mapped(self, side: Side) -> tuple[int, ...]:
        """The layers of the student, or of the teacher, that belong together."""
        return tuple(self.pair.layers if side == "student" else self.pair.layers.values())

    def mean_over_layers(self, compare: Callable[[int, int], Tensor]) -> Tensor:
        """The mean of compare(m, g(m)) over the mapped layers."""
        values = [compare(m, g) for m, g in self.pair.layers.items()]
        return sum(values[1:], values[0]) / len(values)

"""The hidden and embedding terms: how far the student's states are from the teacher's."""

from __future__ import annotations

from typing import Literal

from ..errors import InputError
from ..sections import Weight
from .term import Needs, Term, TermSettings


class DistanceSettings(TermSettings):
    """Distance of projected student states and teacher states."""

    weight: Weight = 1.0
    loss: Literal["mse", "cosine"] = "mse"


class Hidden(Term):
    """MSE(H_S W, H_T) (TinyBERT, arXiv 1909.10351, eq. 8), or 1 - cosine; mean over the mapped layers."""

    name = "hidden"
    letter = "H"
    Settings = DistanceSettings

    @property
    def symbol(self):
        return f"{self._distance} over {len(self.pair.layers)} layers"

    @property
    def _distance(self) -> str:
        projected = "" if self.pair.projection == "none" else " W"
        compared = f"{self.letter}_S{projected}, {self.letter}_T"
        return f"MSE({compared})" if self.settings.loss == "mse" else f"1 - cos({compared})"

    def check(self):
        student, teacher = self.pair.student.hidden_size, self.pair.teacher.hidden_size
        if self.pair.projection == "none" and student != teacher:
            raise InputError(
                f"states {student} and {teacher} wide cannot be compared without a projection",
                "objective.projection",
                "set objective.projection=per_layer, or give the student the teacher's hidden_size",
            )

    def needs(self, side):
        return Needs(hidden=self.mapped(side))

    def value(self, student, teacher, mask, labels):
        return self.mean_over_layers(lambda m, g: self._compare(student.hidden[m], teacher.hidden[g], mask))

    def _compare(self, student, teacher, mask):
        from . import losses

        compare = losses.hidden_mse if self.settings.loss == "mse" else losses.hidden_cosine
        return compare(student, teacher, mask)


class Embedding(Hidden):
    """The same for the embedding output (layer 0)."""

    name = "embedding"
    letter = "E"

    @property
    def symbol(self):
        return self._distance

    def needs(self, side):
        return Needs(hidden=(0,))

    def value(self, student, teacher, mask, labels):
        return self._compare(student.hidden[0], teacher.hidden[0], mask)

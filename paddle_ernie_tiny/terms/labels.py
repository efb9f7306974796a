"""The label terms: the teacher's answer, and the task's own labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..errors import InputError
from ..sections import Weight
from .term import Needs, Pair, Term, TermSettings


class SoftLabelSettings(TermSettings):
    """The teacher's answer: its distribution at a temperature, or (mse) its logits or scores themselves."""

    weight: Weight = 1.0
    loss: Literal["cross_entropy", "kl", "mse"] | None = Field(
        None, description="default: cross_entropy; mse for regression"
    )
    temperature: Annotated[float, Field(gt=0, le=1e6)] = Field(
        1.0, description="softens both distributions; the loss is multiplied by its square"
    )


class SoftLabel(Term):
    """Distance to the teacher's output, times T squared (Hinton, arXiv 1503.02531)."""

    name = "soft_label"
    latent = False
    Settings = SoftLabelSettings

    def __init__(self, settings: SoftLabelSettings, pair: Pair):
        super().__init__(settings, pair)
        self.loss = settings.loss or pair.kind.soft_losses[0]
        self.unit = "labelled" if pair.kind.by_token else "rows"

    @property
    def symbol(self):
        temperature = f"; T={self.settings.temperature:g}"
        compared = {
            "cross_entropy": f"T^2 CE(teacher, student{temperature})",
            "kl": f"T^2 KL(teacher || student{temperature})",
            "mse": "MSE(teacher, student)",
        }[self.loss]
        return compared + (" over words" if self.unit == "labelled" else "")

    def check(self):
        kind, where = self.pair.kind, "objective.soft_label"
        if self.loss not in kind.soft_losses:
            what = f"soft label loss {self.loss!r} compares distributions, a {kind.name} model has none"
            raise InputError(what, f"{where}.loss", f"leave it out, or set {where}.loss={kind.soft_losses[0]}")
        if self.loss == "mse" and self.settings.temperature != 1.0:
            what = f"temperature {self.settings.temperature:g} has no meaning for soft label loss 'mse'"
            remedy = "leave the temperature at 1, or use cross_entropy or kl"
            raise InputError(what, f"{where}.temperature", remedy)

    def needs(self, side):
        return Needs(logits=True)

    def value(self, student, teacher, mask, labels):
        from . import losses

        counted = self.pair.kind.labelled(labels) if self.unit == "labelled" else None
        if self.loss == "mse":
            return losses.logits_mse(student.logits, teacher.logits, counted)
        compare = losses.soft_kl if self.loss == "kl" else losses.soft_cross_entropy
        return compare(student.logits, teacher.logits, self.settings.temperature, counted)


class HardLabelSettings(TermSettings):
    """The task's own loss."""

    weight: Weight = 1.0


class HardLabel(Term):
    """The task's own loss on its labels."""

    name = "hard_label"
    latent = False
    Settings = HardLabelSettings
    unit = "labelled"

    @property
    def symbol(self):
        return self.pair.kind.hard_symbol

    def needs(self, side):
        return Needs(logits=side == "student")

    def value(self, student, teacher, mask, labels):
        return self.pair.kind.hard_label(student.logits, labels)

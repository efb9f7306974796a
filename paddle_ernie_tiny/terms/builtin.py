"""The terms: how both models attend, how far their states are from one another, the teacher's answer, the labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..errors import InputError
from ..sections import PositiveInt, Weight, key
from .term import Needs, Pair, Term, TermSettings


class AttentionSettings(TermSettings):
    """Attention of mapped layers. `relation` (MiniLMv2) is for unequal head counts."""

    weight: Weight = 1.0
    loss: Literal["kl", "mse", "relation"] = "kl"
    relation_heads: PositiveInt | None = Field(None, description="for relation; default: the student's heads")
    relations: list[Literal["query", "key", "value"]] = Field(
        ["query", "key", "value"], min_length=1, description="for relation: each with itself (q-q, k-k, v-v)"
    )

    @model_validator(mode="after")
    def _relations_fit(self):
        if len(set(self.relations)) != len(self.relations):
            raise ValueError(f"relations names a part twice: {', '.join(self.relations)}")
        if self.loss != "relation" and self.relation_heads is not None:
            raise ValueError("relation_heads is only for loss: relation")
        return self


class Attention(Term):
    """KL of attention maps, MSE of their scores (TinyBERT, arXiv 1909.10351, eq. 7), or KL of relations (MiniLMv2,
    arXiv 2012.15828, eq. 5-8); mean over the mapped layers."""

    name = "attention"
    Settings = AttentionSettings

    def __init__(self, settings: AttentionSettings, pair: Pair):
        super().__init__(settings, pair)
        self.heads = {"student": pair.student.num_attention_heads, "teacher": pair.teacher.num_attention_heads}
        self.compared = [("query", "key")]
        if settings.loss == "relation":  # q-q, k-k and v-v relations, re-split into common heads
            self.heads = dict.fromkeys(self.heads, settings.relation_heads or self.heads["student"])
            self.compared = [(part, part) for part in settings.relations]
        self.unit = "pairs" if settings.loss == "mse" else "tokens"

    @property
    def symbol(self):
        relations = ", ".join(f"{left[0]}-{right[0]}" for left, right in self.compared)
        compared = {
            "kl": "KL(A_T || A_S)",
            "mse": "MSE(S_S, S_T)",
            "relation": f"KL(R_T || R_S) of {relations} in {self.heads['student']} heads",
        }[self.settings.loss]
        return f"{compared} over {len(self.pair.layers)} layers"

    def check(self):
        loss, (own, given) = self.settings.loss, self.heads.values()
        if loss == "relation":
            for owner, heads in self.heads.items():
                width = getattr(self.pair, owner).hidden_size
                if width % heads:
                    what = f"the {owner}'s width {width} cannot be split into {heads} relation heads"
                    raise InputError(what, "objective.attention.relation_heads", "give a divisor of both widths")
        elif own != given:
            what = f"attention loss {loss!r} needs equal head counts, the student has {own} and the teacher {given}"
            remedy = "set objective.attention.loss=relation (MiniLMv2), or give the student the teacher's head count"
            raise InputError(what, "objective.attention.loss", remedy)

    def needs(self, side):
        parts = dict.fromkeys(part for pair in self.compared for part in pair)
        return Needs(attention=self.mapped(side), parts=tuple(parts))

    def value(self, student, teacher, mask, labels):
        from . import losses

        compare = losses.scores_mse if self.settings.loss == "mse" else losses.distribution_kl

        def of_layers(m, g):
            values = []
            for left, right in self.compared:
                own = losses.head_scores(getattr(student, left)[m], getattr(student, right)[m], self.heads["student"])
                given = losses.head_scores(getattr(teacher, left)[g], getattr(teacher, right)[g], self.heads["teacher"])
                values.append(compare(own, given, mask))
            return sum(values) / len(values)

        return self.mean_over_layers(of_layers)


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
            what = f"states {student} and {teacher} wide cannot be compared without a projection"
            remedy = "set objective.projection=per_layer, or give the student the teacher's hidden_size"
            raise InputError(what, "objective.projection", remedy)

    def needs(self, side):
        return Needs(hidden=self.mapped(side))

    def value(self, student, teacher, mask, labels):
        from . import losses

        compare = losses.hidden_mse if self.settings.loss == "mse" else losses.hidden_cosine
        return self.mean_over_layers(lambda m, g: compare(student.hidden[m], teacher.hidden[g], mask))


class Embedding(Hidden):
    """The same for the embedding output (layer 0)."""

    name = "embedding"
    letter = "E"

    def __init__(self, settings: DistanceSettings, pair: Pair):
        super().__init__(settings, replace(pair, layers={0: 0}))

    @property
    def symbol(self):
        return self._distance


class SoftLabelSettings(TermSettings):
    """The teacher's answer: its distribution at a temperature, or its logits, scores or vectors (mse, cosine)."""

    weight: Weight = 1.0
    loss: Literal["cross_entropy", "kl", "mse", "cosine"] | None = key(
        None, "default: cross_entropy; of regression mse, of embedding cosine"
    )
    temperature: Annotated[float, Field(gt=0, le=1e6)] = key(1.0, "of both distributions; the loss is times T squared")
    standardize: bool = key(
        False, "logits with mean 0 and deviation 1 over each row's labels, for many labels (arXiv 2403.01427)"
    )


class SoftLabel(Term):
    """Distance to the teacher's output, times T squared (Hinton, arXiv 1503.02531).

    A mean over the rows that have such an output, of a teacher or from a file; 0 if none has.
    """

    name = "soft_label"
    latent = False
    needs_teacher = False
    Settings = SoftLabelSettings

    def __init__(self, settings: SoftLabelSettings, pair: Pair):
        super().__init__(settings, pair)
        self.loss = settings.loss or pair.kind.soft_losses[0]
        self.unit = pair.kind.soft_unit

    @property
    def symbol(self):
        temperature = f"; T={self.settings.temperature:g}"
        compared = {
            "cross_entropy": "T^2 CE(teacher, student{temperature})",
            "kl": "T^2 KL(teacher || student{temperature})",
            "mse": "MSE(teacher, student)",
            **self.pair.kind.soft_symbols,
        }[self.loss].format(temperature=temperature)
        compared += " of standardized logits" * self.settings.standardize
        return compared + (" over words" if self.unit == "labelled" else "")

    def check(self):
        kind, where = self.pair.kind, "objective.soft_label"
        if self.loss not in kind.soft_losses:
            compared = "vectors" if self.loss == "cosine" else "distributions"
            what = f"soft label loss {self.loss!r} compares {compared}, a {kind.name} model has none"
            raise InputError(what, f"{where}.loss", f"leave it out, or set {where}.loss={kind.soft_losses[0]}")
        if self.loss in ("mse", "cosine") and self.settings.temperature != 1.0:
            what = f"temperature {self.settings.temperature:g} has no meaning for soft label loss {self.loss!r}"
            raise InputError(what, f"{where}.temperature", "leave the temperature at 1, or use cross_entropy or kl")
        distribution = self.loss not in ("mse", "cosine") and (kind.one_label or (kind.by_token and kind.has_labels))
        if self.settings.standardize and not distribution:
            what = (
                f"logits are standardized over the labels of a distribution; loss {self.loss!r} of {kind.name} has none"
            )
            raise InputError(what, f"{where}.standardize", "leave it out")

    def needs(self, side):
        return Needs(logits=True)

    def value(self, student, teacher, mask, labels):
        from . import losses

        own, given = student.logits, teacher.logits
        if teacher.known is not None:
            if not bool(teacher.known.any()):
                return own.astype("float32").sum() * 0.0
            rows = teacher.known.nonzero().flatten()
            of_rows = (None if values is None else values.index_select(rows) for values in (own, given, labels, mask))
            own, given, labels, mask = of_rows
        if self.settings.standardize:
            own, given = losses.standardized(own), losses.standardized(given)
        return self.pair.kind.soft_label(self.loss, own, given, self.settings.temperature, labels, mask)


class HardLabelSettings(TermSettings):
    """The task's own loss."""

    weight: Weight = 1.0


class HardLabel(Term):
    """The task's own loss on its labels."""

    name = "hard_label"
    latent = False
    needs_teacher = False
    Settings = HardLabelSettings
    unit = "weighted"

    @property
    def symbol(self):
        return self.pair.kind.hard_symbol + (self.pair.kind.weights_symbol if self.pair.class_weights else "")

    def needs(self, side):
        return Needs(logits=side == "student")

    def value(self, student, teacher, mask, labels):
        return self.pair.kind.weighted_hard_label(student.logits, labels, self.pair.class_weights)

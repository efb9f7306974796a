"""The learning objective: named, weighted terms, printed as one equation."""

from __future__ import annotations

from dataclasses import dataclass

import paddle
from paddle import Tensor

from ..config import ObjectiveSettings
from ..errors import InputError
from ..models.capture import Captured, Needs
from ..models.layer_map import layer_map
from ..training.label_loss import label_loss, labelled
from . import losses


@dataclass(frozen=True)
class Term:
    """One addend of the loss.

    `symbol` is how it stands in the printed equation; its weight goes linearly from `weight` to `final_weight`
    over a stage. It is a mean over `unit`: "tokens", "pairs" (of tokens), "rows" or "labelled" (rows or words).
    """

    name: str
    weight: float
    final_weight: float
    symbol: str
    unit: str

    def weight_at(self, progress: float) -> float:
        """The weight when this share of the stage's steps is done (0 to 1)."""
        return self.weight + (self.final_weight - self.weight) * progress

    def __str__(self) -> str:
        change = "" if self.final_weight == self.weight else f"->{self.final_weight:g}"
        return f"{self.weight:g}{change} * {self.name} [{self.symbol}]"


class Objective:
    """Latent terms (attention, hidden, embedding) and, with `label_terms`, soft and hard labels.

    Says what it needs of both models, so that only this is captured. Raises InputError when the terms cannot
    be computed for this pair of models.
    """

    def __init__(
        self,
        settings: ObjectiveSettings,
        student_config,
        teacher_config,
        label_terms: bool,
        kind: str = "classification",
    ):
        self.settings, self.kind = settings, kind
        self.map = layer_map(settings.layer_map, student_config.num_hidden_layers, teacher_config.num_hidden_layers)
        self.student_heads = student_config.num_attention_heads
        self.teacher_heads = teacher_config.num_attention_heads
        self.relation_heads = settings.attention.relation_heads or self.student_heads
        self.soft_loss = settings.soft_label.loss or ("mse" if kind == "regression" else "cross_entropy")
        self.terms = self._terms(label_terms)
        if not self.terms:
            raise InputError("every term has weight 0", "objective", "give at least one term a weight above 0")
        self._check_widths(student_config.hidden_size, teacher_config.hidden_size)
        self._check_heads(student_config.hidden_size, teacher_config.hidden_size)
        if self.wants("soft_label"):
            self._check_soft_label()

    def _terms(self, label_terms: bool) -> list[Term]:
        s, layers = self.settings, f"over {len(self.map)} layers"
        names = {"query": "q-q", "key": "k-k", "value": "v-v"}
        relations = ", ".join(names[part] for part in s.attention.relations)
        attention = {
            "kl": f"KL(A_T || A_S) {layers}",
            "mse": f"MSE(S_S, S_T) {layers}",
            "relation": f"KL(R_T || R_S) of {relations} in {self.relation_heads} heads {layers}",
        }[s.attention.loss]
        distance = {"mse": "MSE({0}_S{1}, {0}_T)", "cosine": "1 - cos({0}_S{1}, {0}_T)"}
        projected = {"per_layer": " W", "shared": " W", "none": ""}[s.projection]
        terms = [
            ("attention", s.attention, attention, "pairs" if s.attention.loss == "mse" else "tokens"),
            ("hidden", s.hidden, f"{distance[s.hidden.loss].format('H', projected)} {layers}", "tokens"),
            ("embedding", s.embedding, distance[s.embedding.loss].format("E", projected), "tokens"),
        ]
        if label_terms:
            temperature = f"; T={s.soft_label.temperature:g}"
            soft = {
                "cross_entropy": f"T^2 CE(teacher, student{temperature})",
                "kl": f"T^2 KL(teacher || student{temperature})",
                "mse": "MSE(teacher, student)",
            }[self.soft_loss]
            hard = "MSE(labels, student)" if self.kind == "regression" else "CE(labels, student)"
            words = " over words" if self.kind == "token_classification" else ""
            terms.append(("soft_label", s.soft_label, soft + words, "labelled" if words else "rows"))
            terms.append(("hard_label", s.hard_label, hard + words, "labelled"))
        return [
            Term(name, t.weight, t.weight if t.final_weight is None else t.final_weight, symbol, unit)
            for name, t, symbol, unit in terms
            if t.wanted
        ]

    def _check_widths(self, student: int, teacher: int) -> None:
        compared = self.wants("hidden") or self.wants("embedding")
        if compared and self.settings.projection == "none" and student != teacher:
            raise InputError(
                f"states {student} and {teacher} wide cannot be compared without a projection",
                "objective.projection",
                "set objective.projection=per_layer, or give the student the teacher's hidden_size",
            )

    def _check_heads(self, student_width: int, teacher_width: int) -> None:
        if not self.wants("attention"):
            return
        where = "objective.attention"
        if self.settings.attention.loss == "relation":
            for owner, width in (("student", student_width), ("teacher", teacher_width)):
                if width % self.relation_heads:
                    raise InputError(
                        f"the {owner}'s width {width} cannot be split into {self.relation_heads} relation heads",
                        f"{where}.relation_heads",
                        "choose a number that divides both widths",
                    )
        elif self.student_heads != self.teacher_heads:
            raise InputError(
                f"attention loss {self.settings.attention.loss!r} needs equal head counts, the student has "
                f"{self.student_heads} and the teacher {self.teacher_heads}",
                f"{where}.loss",
                "set objective.attention.loss=relation (MiniLMv2), or give the student the teacher's head count",
            )

    def _check_soft_label(self) -> None:
        if self.kind == "regression" and self.soft_loss != "mse":
            raise InputError(
                f"soft label loss {self.soft_loss!r} compares distributions, a regressor answers with one score",
                "objective.soft_label.loss",
                "leave it out, or set objective.soft_label.loss=mse",
            )
        if self.soft_loss == "mse" and self.settings.soft_label.temperature != 1.0:
            raise InputError(
                f"temperature {self.settings.soft_label.temperature:g} has no meaning for soft label loss 'mse'",
                "objective.soft_label.temperature",
                "leave the temperature at 1, or use cross_entropy or kl",
            )

    def wants(self, name: str) -> bool:
        return any(term.name == name for term in self.terms)

    def needs(self, of: str) -> Needs:
        """What is compared of "student" or "teacher", in matching order."""
        layers = list(self.map.keys() if of == "student" else self.map.values())
        attention = self.settings.attention
        parts = tuple(attention.relations) if attention.loss == "relation" else ("query", "key")
        return Needs(
            hidden=tuple([0] * self.wants("embedding") + layers * self.wants("hidden")),
            attention=tuple(layers if self.wants("attention") else ()),
            parts=parts,
        )

    def equation(self) -> str:
        """The objective as one line, as it is printed when a stage starts."""
        return "loss = " + " + ".join(map(str, self.terms))

    def __call__(
        self,
        student: Captured,
        teacher: Captured,
        mask: Tensor,
        student_logits: Tensor | None = None,
        teacher_logits: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The unweighted value of every term, by name. Layer terms are means over the mapped layers."""
        compute = {
            "attention": lambda: self._attention(student, teacher, mask),
            "hidden": lambda: self._over_layers(
                lambda m, g: self._distance("hidden", student.hidden[m], teacher.hidden[g], mask)
            ),
            "embedding": lambda: self._distance("embedding", student.hidden[0], teacher.hidden[0], mask),
            "soft_label": lambda: self._soft_label(student_logits, teacher_logits, labels),
            "hard_label": lambda: label_loss(self.kind, student_logits, labels),
        }
        return {term.name: compute[term.name]() for term in self.terms}

    def total(self, values: dict[str, Tensor], progress: float = 0.0) -> Tensor:
        """The weighted sum of the terms when this share of the stage's steps is done."""
        return sum(term.weight_at(progress) * values[term.name] for term in self.terms)

    def counts(self, mask: Tensor, labels: Tensor | None = None) -> Tensor:
        """How many units each term is a mean over: float32 [terms]. Means of several batches weigh by it."""
        lengths = mask.astype("float32").sum(axis=1)
        by_unit = {
            "tokens": lengths.sum,
            "pairs": lengths.square().sum,
            "rows": lambda: paddle.ones_like(lengths).sum(),
            "labelled": lambda: labelled(self.kind, labels).astype("float32").sum(),
        }
        return paddle.stack([by_unit[term.unit]() for term in self.terms])

    def _soft_label(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        mask = labelled(self.kind, labels) if self.kind == "token_classification" else None
        if self.soft_loss == "mse":
            return losses.logits_mse(student_logits, teacher_logits, mask)
        loss = losses.soft_kl if self.soft_loss == "kl" else losses.soft_cross_entropy
        return loss(student_logits, teacher_logits, self.settings.soft_label.temperature, mask)

    def _distance(self, term: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        loss = losses.hidden_mse if getattr(self.settings, term).loss == "mse" else losses.hidden_cosine
        return loss(student, teacher, mask)

    def _over_layers(self, of_pair) -> Tensor:
        return sum(of_pair(m, g) for m, g in self.map.items()) / len(self.map)

    def _attention(self, student: Captured, teacher: Captured, mask: Tensor) -> Tensor:
        if self.settings.attention.loss == "relation":
            return self._over_layers(lambda m, g: self._relation(student, teacher, mask, m, g))
        compare = losses.distribution_kl if self.settings.attention.loss == "kl" else losses.scores_mse
        return self._over_layers(
            lambda m, g: compare(
                self._scores(student.query[m], student.key[m], self.student_heads),
                self._scores(teacher.query[g], teacher.key[g], self.teacher_heads),
                mask,
            )
        )

    @staticmethod
    def _scores(left: Tensor, right: Tensor, heads: int) -> Tensor:
        return losses.scaled_scores(losses.split_heads(left, heads), losses.split_heads(right, heads))

    def _relation(self, student: Captured, teacher: Captured, mask: Tensor, m: int, g: int) -> Tensor:
        """q-q, k-k and v-v relations, re-split into common heads (MiniLMv2, arXiv 2012.15828, eq. 5-8)."""
        heads, relations = self.relation_heads, self.settings.attention.relations
        parts = []
        for part in relations:
            s, t = getattr(student, part)[m], getattr(teacher, part)[g]
            parts.append(losses.distribution_kl(self._scores(s, s, heads), self._scores(t, t, heads), mask))
        return sum(parts) / len(parts)

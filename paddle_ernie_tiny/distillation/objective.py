"""The learning objective: named, weighted terms, printed as one equation."""

from __future__ import annotations

from dataclasses import dataclass

from paddle import Tensor

from ..config import ObjectiveSettings
from ..data.metrics import IGNORED
from ..errors import InputError
from ..models.capture import Captured
from ..training.label_loss import label_loss
from . import losses
from .layer_map import layer_map


@dataclass(frozen=True)
class Term:
    """One addend of the loss; `symbol` is how it stands in the printed equation."""

    name: str
    weight: float
    symbol: str


class Objective:
    """Latent terms (attention, hidden, embedding) and, with `label_terms`, soft and hard labels.

    Says which layers it needs of both models, so that only these are captured. Raises InputError when the
    terms cannot be computed for this pair of models.
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
        self.terms = self._terms(label_terms)
        if not self.terms:
            raise InputError("every term has weight 0", "objective", "give at least one term a weight above 0")
        self._check_heads(student_config.hidden_size, teacher_config.hidden_size)

    def _terms(self, label_terms: bool) -> list[Term]:
        s = self.settings
        kind = {"kl": "KL(A_T || A_S)", "mse": "MSE(S_S, S_T)", "relation": "KL(R_T || R_S)"}[s.attention.loss]
        terms = [
            Term("attention", s.attention.weight, f"{kind} over {len(self.map)} layers"),
            Term("hidden", s.hidden.weight, f"MSE(H_S W, H_T) over {len(self.map)} layers"),
            Term("embedding", s.embedding.weight, "MSE(E_S W, E_T)"),
        ]
        if label_terms:
            soft = f"T^2 CE(teacher, student; T={s.soft_label.temperature:g})"
            hard = "CE(labels, student)"
            if self.kind == "regression":
                soft, hard = "MSE(teacher, student)", "MSE(labels, student)"
            elif self.kind == "token_classification":
                soft, hard = f"{soft} over words", f"{hard} over words"
            terms.append(Term("soft_label", s.soft_label.weight, soft))
            terms.append(Term("hard_label", s.hard_label.weight, hard))
        return [term for term in terms if term.weight > 0]

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

    def wants(self, name: str) -> bool:
        return any(term.name == name for term in self.terms)

    @property
    def values_needed(self) -> bool:
        return self.wants("attention") and self.settings.attention.loss == "relation"

    def hidden_layers(self, of: str) -> list[int]:
        """Layers whose states are compared, of "student" or "teacher", in matching order; 0 is the embedding."""
        layers = [0] if self.wants("embedding") else []
        if self.wants("hidden"):
            layers += self.map.keys() if of == "student" else self.map.values()
        return layers

    def attention_layers(self, of: str) -> list[int]:
        """Layers whose q, k (and v) are compared, of "student" or "teacher"."""
        if not self.wants("attention"):
            return []
        return list(self.map.keys() if of == "student" else self.map.values())

    def equation(self) -> str:
        """The objective as one line, as it is printed when a stage starts."""
        return "loss = " + " + ".join(f"{term.weight:g} * {term.name} [{term.symbol}]" for term in self.terms)

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
            "hidden": lambda: self._hidden(student, teacher, mask),
            "embedding": lambda: losses.hidden_mse(student.hidden[0], teacher.hidden[0], mask),
            "soft_label": lambda: self._soft_label(student_logits, teacher_logits, labels),
            "hard_label": lambda: label_loss(self.kind, student_logits, labels),
        }
        return {term.name: compute[term.name]() for term in self.terms}

    def total(self, values: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""
        return sum(term.weight * values[term.name] for term in self.terms)

    def _soft_label(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        if self.kind == "regression":
            return losses.score_mse(student_logits, teacher_logits)
        mask = labels != IGNORED if self.kind == "token_classification" else None
        return losses.soft_cross_entropy(student_logits, teacher_logits, self.settings.soft_label.temperature, mask)

    def _hidden(self, student: Captured, teacher: Captured, mask: Tensor) -> Tensor:
        parts = [losses.hidden_mse(student.hidden[m], teacher.hidden[g], mask) for m, g in self.map.items()]
        return sum(parts) / len(parts)

    def _attention(self, student: Captured, teacher: Captured, mask: Tensor) -> Tensor:
        if self.settings.attention.loss == "relation":
            parts = [self._relation(student, teacher, mask, m, g) for m, g in self.map.items()]
            return sum(parts) / len(parts)
        compare = losses.distribution_kl if self.settings.attention.loss == "kl" else losses.scores_mse
        parts = [
            compare(
                self._scores(student.query[m], student.key[m], self.student_heads),
                self._scores(teacher.query[g], teacher.key[g], self.teacher_heads),
                mask,
            )
            for m, g in self.map.items()
        ]
        return sum(parts) / len(parts)

    @staticmethod
    def _scores(left: Tensor, right: Tensor, heads: int) -> Tensor:
        return losses.scaled_scores(losses.split_heads(left, heads), losses.split_heads(right, heads))

    def _relation(self, student: Captured, teacher: Captured, mask: Tensor, m: int, g: int) -> Tensor:
        """q-q, k-k and v-v relations, re-split into common heads (MiniLMv2, arXiv 2012.15828, eq. 5-8)."""
        pairs = [
            (student.query[m], teacher.query[g]),
            (student.key[m], teacher.key[g]),
            (student.value[m], teacher.value[g]),
        ]
        heads = self.relation_heads
        parts = [losses.distribution_kl(self._scores(s, s, heads), self._scores(t, t, heads), mask) for s, t in pairs]
        return sum(parts) / len(parts)

"""The learning objective: named, weighted terms, printed as one equation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import paddle
from paddle import Tensor

from ..config import ObjectiveSettings, RunConfig
from ..errors import InputError
from ..kinds import Kind
from ..models.initialise import layer_map
from ..stages import STAGES
from ..terms import TERMS, Captured, Needs, Pair, Term
from ..terms.term import Side


class Objective:
    """The terms of one stage for one pair of models: latent ones, and with `label_terms` soft and hard labels.

    A latent term that compares layers is `left_out` where the student has none. Says what it needs of both models, so
    that only this is captured. `student` and `teacher` are configurations (num_hidden_layers, hidden_size,
    num_attention_heads). `class_weights`: of each label name, in the task's own loss. Raises
    InputError if a term cannot be computed for this pair of models.
    """

    def __init__(
        self,
        settings: ObjectiveSettings,
        student: Any,
        teacher: Any,
        kind: Kind,
        label_terms: bool,
        class_weights: Sequence[float] | None = None,
    ):
        wanted = [term for name, term in TERMS.items() if settings.term(name).wanted and (term.latent or label_terms)]
        # without a latent term no layers are compared, and the student may have more of them than the teacher
        latent = any(term.latent for term in wanted)
        layers = layer_map(settings.layer_map, student.num_hidden_layers, teacher.num_hidden_layers) if latent else {}
        pair = Pair(student, teacher, layers, settings.projection, kind, class_weights)
        self.kind, self.projection, self.label_terms = kind, settings.projection, label_terms
        self.class_weights = class_weights
        self.layers = layers
        terms = [term(settings.term(term.name), pair) for term in wanted]
        # of a student without layers: the embeddings can be compared, but no layers
        self.terms: list[Term] = [term for term in terms if layers or not term.latent or term.needs("student").states]
        self.left_out = [term.name for term in terms if term not in self.terms]
        for term in self.terms:
            term.check()

    def needs(self, side: Side) -> Needs:
        """What all terms together read of the student or of the teacher."""
        return Needs.union(term.needs(side) for term in self.terms)

    def equation(self) -> str:
        """The objective as one line, as it is printed when a stage starts."""
        return "loss = " + " + ".join(map(str, self.terms))

    def __call__(
        self, student: Any, teacher: Captured, mask: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The unweighted value of every term by name, scalars in float32.

        student, teacher: what both models gave for the same batch. mask: float32 [batch, length], 1 for real tokens.
        labels: as the kind of task has them; None without labels.
        """
        return {term.name: term.value(student, teacher, mask, labels) for term in self.terms}

    def total(self, values: dict[str, Tensor], progress: float = 0.0) -> Tensor:
        """The weighted sum of the terms when this share of the stage's steps is done."""
        weighted = [term.weight_at(progress) * values[term.name] for term in self.terms]
        return sum(weighted[1:], weighted[0])

    def counts(self, mask: Tensor, labels: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """How many units each term is a mean over: float32 [terms]. Means of several batches are weighted by it.

        known: which rows have a soft label, bool [batch]; None: all.
        """
        lengths = mask.astype("float32").sum(axis=1)
        by_unit = {
            "tokens": lengths.sum,
            "pairs": lengths.square().sum,
            "rows": lambda: (paddle.ones_like(lengths) if known is None else known.astype("float32")).sum(),
            "labelled": lambda: self.kind.labelled(cast(Tensor, labels)).astype("float32").sum(),
            "weighted": lambda: self.kind.label_weights(cast(Tensor, labels), self.class_weights).sum(),
        }
        return paddle.stack([by_unit[term.unit]() for term in self.terms])


def stage_objective(
    config: RunConfig,
    index: int,
    student: Any,
    teacher: Any,
    label_terms: bool | None = None,
    class_weights: Sequence[float] | None = None,
    shared_vocabulary: bool = True,
) -> Objective:
    """The objective of stage `index` of a run for these two models; `label_terms=False`: its latent terms alone.

    Raises InputError if the stage has no term, or one that does not fit the models: latent terms compare tokens one by
    one, and so need a `shared_vocabulary`, as do windows of whole texts.
    """
    stage = STAGES[config.stages[index].stage]
    wanted = stage.label_terms if label_terms is None else label_terms
    settings = config.stage_objective(index)
    latent = [name for name, term in TERMS.items() if term.latent and settings.term(name).wanted]
    if latent and not shared_vocabulary:
        what = (
            f"the vocabulary of {config.student.init.folder} is not the teacher's, so the two models cut a text into "
        )
        what += f"different tokens, and {', '.join(latent)}, which compare these one by one, cannot be computed"
        remedy = "give these terms weight 0 in the objective"
        if not stage.label_terms:
            labels = [row.name for row in STAGES.values() if row.label_terms]
            remedy = f"take the stage out ({', '.join(labels)} alone learns from soft and hard labels)"
        remedy += ", or start from a model with the teacher's vocabulary"
        raise InputError(what, f"stages[{index}] ({stage.name})", remedy)
    kind = config.task.configured_kind
    other = "use head_tail, or " if "head_tail" in kind.long_texts else "use "
    if not shared_vocabulary and config.task.long_text == "windows" and not kind.units:
        what = f"{config.student.init.folder} cuts a text into other windows than the teacher, which has other tokens"
        raise InputError(what, "task.long_text (windows)", f"{other}a student with the teacher's vocabulary")
    objective = Objective(settings, student, teacher, kind, wanted, class_weights)
    if not objective.terms and label_terms is None:
        what = f"every term has weight 0, so the stage {stage.name} learns nothing"
        if latent and not student.num_hidden_layers:
            what = f"{', '.join(latent)} compare layers, the student has none, so the stage {stage.name} learns nothing"
        remedy = "give at least one of its terms a weight above 0, or take the stage out"
        raise InputError(what, f"stages[{index}].objective", remedy)
    return objective

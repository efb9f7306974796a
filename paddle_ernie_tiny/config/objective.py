"""The sections of the learning objective: its terms and how they compare layers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..sections import PositiveInt, Section, Weight


class TermSettings(Section):
    """What every term of the objective has: its weight, which may change linearly over the stage's steps."""

    weight: Weight = 1.0
    final_weight: Weight | None = Field(None, description="weight at the last step; null: as at the first")

    @property
    def wanted(self) -> bool:
        """Does the term count at any step?"""
        return self.weight > 0 or bool(self.final_weight)


class AttentionTerm(TermSettings):
    """Attention of mapped layers. `relation` (MiniLMv2) is for unequal head counts."""

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


class HiddenTerm(TermSettings):
    """Distance of projected student and teacher hidden states of mapped layers."""

    loss: Literal["mse", "cosine"] = "mse"


class EmbeddingTerm(TermSettings):
    """The same for the embedding output (layer 0)."""

    loss: Literal["mse", "cosine"] = "mse"


class SoftLabelTerm(TermSettings):
    """The teacher's answer: its distribution at a temperature, or (mse) its logits or scores themselves."""

    loss: Literal["cross_entropy", "kl", "mse"] | None = Field(
        None, description="default: cross_entropy; mse for regression"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        1.0, description="softens both distributions; the loss is multiplied by its square"
    )


class HardLabelTerm(TermSettings):
    """The task's own loss."""


class ObjectiveSettings(Section):
    """The learning objective: latent terms, and the label terms that the last stage adds."""

    layer_map: Literal["uniform", "top", "bottom"] | list[PositiveInt] = Field(
        "uniform", description="which teacher layers: spread evenly, the last ones, the first ones, or listed (from 1)"
    )
    projection: Literal["per_layer", "shared", "none"] = Field(
        "per_layer", description="of the student's states to the teacher's width; none: the widths are equal"
    )
    attention: AttentionTerm = Field(default_factory=AttentionTerm)
    hidden: HiddenTerm = Field(default_factory=HiddenTerm)
    embedding: EmbeddingTerm = Field(default_factory=EmbeddingTerm)
    soft_label: SoftLabelTerm = Field(default_factory=SoftLabelTerm)
    hard_label: HardLabelTerm = Field(default_factory=HardLabelTerm)

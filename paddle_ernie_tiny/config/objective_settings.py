"""The section of the learning objective: how layers are compared, and the settings of every term of the table."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, create_model, model_validator

from ..sections import PositiveInt, Section, key
from ..terms import TERMS, TermSettings


class LayerSettings(Section):
    """How the student's layers are compared with the teacher's."""

    layer_map: Literal["uniform", "top", "bottom"] | list[PositiveInt] = key(
        "uniform", "which teacher layers: spread evenly, the last ones, the first ones, or listed (from 1)"
    )
    projection: Literal["per_layer", "shared", "none"] = key(
        "per_layer", "of the student's states to the teacher's width; none: the widths are equal"
    )


class ObjectiveSettings(LayerSettings):
    """The learning objective: latent terms, and the label terms that the last stage adds.

    Beside its fields it takes a section for each row of `TERMS`, by the term's name.
    """

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _read_terms(cls, values: Any) -> Any:
        return dict(objective_section().model_validate(values)) if isinstance(values, dict) else values

    def term(self, name: str) -> TermSettings:
        """The settings of a term of the table."""
        return (self.model_extra or {})[name]


def objective_section() -> type[LayerSettings]:
    """All fields of the objective, with one for each row of `TERMS` as it is now: extensions add rows."""
    fields: dict[str, Any] = {
        name: (term.Settings, Field(default_factory=term.Settings, description=term.__doc__))
        for name, term in TERMS.items()
    }
    return create_model("ObjectiveSection", __base__=LayerSettings, **fields)

"""The section of the learning objective: how layers are compared, and the settings of every term of the table."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    create_model,
    model_validator,
)

from ..sections import PositiveInt, Section
from ..terms import TERMS, TermSettings


class ObjectiveSettings(Section):
    """The learning objective: latent terms, and the label terms that the last stage adds.

    Beside the fields below it takes a section for each row of `TERMS`, by the term's name.
    """

    model_config = ConfigDict(extra="allow")

    layer_map: Literal["uniform", "top", "bottom"] | list[PositiveInt] = Field(
        "uniform", description="which teacher layers: spread evenly, the last ones, the first ones, or listed (from 1)"
    )
    projection: Literal["per_layer", "shared", "none"] = Field(
        "per_layer", description="of the student's states to the teacher's width; none: the widths are equal"
    )

    @model_validator(mode="wrap")
    @classmethod
    def _read_terms(cls, values: Any, validate: ModelWrapValidatorHandler) -> Any:
        """Checks the terms' sections beside the own fields, and reports the errors of both together."""
        if not isinstance(values, dict):
            return validate(values)
        own = {key: value for key, value in values.items() if key in cls.model_fields}
        terms: dict[str, Any] = {}
        errors: list[Any] = []
        try:
            sections = terms_section().model_validate({k: v for k, v in values.items() if k not in own})
            terms = {name: getattr(sections, name) for name in TERMS}
        except ValidationError as error:
            errors += error.errors()
        try:
            checked = validate({**own, **terms})
        except ValidationError as error:
            errors += error.errors()
        if errors:
            details: list[Any] = [{key: e[key] for key in ("type", "loc", "input", "ctx") if key in e} for e in errors]
            raise ValidationError.from_exception_data(cls.__name__, details)
        return checked

    def term(self, name: str) -> TermSettings:
        """The settings of a term of the table."""
        return (self.model_extra or {})[name]


def terms_section() -> type[BaseModel]:
    """A section with a field for each row of `TERMS` as it is now: the toolkit's own, and those of extensions."""
    return _terms_section(tuple(TERMS))


@cache
def _terms_section(names: tuple[str, ...]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        name: (TERMS[name].Settings, Field(default_factory=TERMS[name].Settings, description=TERMS[name].__doc__))
        for name in names
    }
    return create_model("TermsSection", __base__=Section, **fields)

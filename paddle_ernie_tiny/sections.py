"""What every section of a run's configuration is built on."""

from __future__ import annotations

import json
from os.path import expanduser
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

PositiveInt = Annotated[int, Field(gt=0, lt=2**31)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Column = str | int
PathName = Annotated[str, AfterValidator(expanduser)]  # of a file or folder; a leading ~ is written out


class Section(BaseModel):
    """Base of every section: unknown keys and values of another type are errors (`true` is not a number)."""

    model_config = ConfigDict(
        extra="forbid", strict=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False
    )


def checked_fields(of_class: type, values: dict[str, Any]) -> dict[str, Any]:
    """JSON values for the fields of a data class, as they are. Raises ValueError for unknown or unfit ones."""
    try:  # in JSON mode, since a strict model takes nothing but an instance otherwise
        TypeAdapter(of_class).validate_json(json.dumps(values), strict=True, extra="forbid")
    except ValidationError as error:
        raise ValueError(first_of(error)) from None
    return values


def first_of(error: ValidationError) -> str:
    """The first of pydantic's errors, with its place."""
    first = error.errors()[0]
    place = ".".join(str(part)[:40] for part in first["loc"] if part != "[key]")
    return f"{place}: ".removeprefix(": ") + first["msg"].removeprefix("Value error, ")


def key(default: Any, description: str, **bounds: Any) -> Any:
    """A key of a section: its default (`...`: none, it is required), what it means, and bounds as of pydantic."""
    return Field(default, description=description, **bounds)

"""What every section of a run's configuration is built on."""

from __future__ import annotations

from os.path import expanduser
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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


def key(default: Any, description: str, **bounds: Any) -> Any:
    """A key of a section: its default (`...`: none, it is required), what it means, and bounds as of pydantic."""
    return Field(default, description=description, **bounds)

"""Which keys a section of the configuration has, and where a key is at home; for messages."""

from __future__ import annotations

import functools
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .objective_settings import ObjectiveSettings, objective_section
from .schema import RunConfig


@functools.cache
def sections_of_keys() -> dict[Any, list[str]]:
    """The places of every key that is in a section, such as "task.labels"; looked up once."""
    found: dict[Any, list[str]] = {}
    for name in RunConfig.model_fields:
        for key in fields_at((name,)):
            found.setdefault(key, []).append(f"{name}.{key}")
    return found


def fields_at(location: Sequence[str | int]) -> dict[str, FieldInfo]:
    """The fields of the section at a place of the configuration; the objective's terms are among its own."""
    section: type[BaseModel] | None = RunConfig
    for part in location:
        if isinstance(part, str):
            field = _fields_of(section).get(part)
            section = _section_in(field.annotation) if field else None
    return _fields_of(section)


def _fields_of(section: type[BaseModel] | None) -> dict[str, FieldInfo]:
    if section is ObjectiveSettings:
        section = objective_section()
    return section.model_fields if section else {}


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_section_in(inner) for inner in typing.get_args(annotation))
    return next((section for section in found if section), None)

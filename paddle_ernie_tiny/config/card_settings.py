"""What the model card says of a run that the run itself cannot know."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ..sections import Section, key
from ..text_rule import is_blank, refused_character

_HUB_NAME = r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$"  # of a model or data set: no folder of a machine


def _readable(value: str) -> str:
    if what := "it is empty" if is_blank(value) else refused_character(value):
        raise ValueError(what)
    return value


HubName = Annotated[str, Field(pattern=_HUB_NAME, max_length=200)]


class CardSettings(Section):
    """The model card (README.md of the bundle). What is not given, and not known from names, is "not stated" there."""

    name: Annotated[str, AfterValidator(_readable)] | None = key(None, "of the model; default: the task's name")
    license: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$", max_length=100)] | None = key(
        None, "the hub's identifier, such as apache-2.0; default: not stated"
    )
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = key(
        None,
        "code such as zh; default: that of a task of the table, or of a published model with zh or en in its name",
    )
    base_model: HubName | None = key(
        None, "name on a hub; default: the published model that the student starts from, else the teacher"
    )
    datasets: list[HubName] | None = key(None, "names on a hub; default: the data set of source: paddlenlp")

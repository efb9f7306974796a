"""Command-line options from data classes: a field's help, default and bounds are written once, where it is used."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer


def with_options(settings: type, parameter: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a verb whose argument `parameter` is a `settings` object: each field with a "help" is an option.

    A field's metadata may also say "option" (its name), "min", "max", "envvar", and "commas": a list that is typed as
    one text.
    """
    hints = typing.get_type_hints(settings)
    fields = [field for field in dataclasses.fields(settings) if "help" in field.metadata]

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(verb)
        def command(**given: Any) -> None:
            values = {field.name: given.pop(field.name) for field in fields}
            values = {name: value for name, value in values.items() if value is not None}
            for field in fields:
                if field.metadata.get("commas"):
                    values[field.name] = _split(values[field.name], hints[field.name], field.name)
            verb(**given, **{parameter: settings(**values)})

        own = [p for p in inspect.signature(verb, eval_str=True).parameters.values() if p.name != parameter]
        options = [_option(field, hints[field.name]) for field in fields]
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own] + options
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _option(field: dataclasses.Field, hint: Any) -> inspect.Parameter:
    known = field.metadata
    names = [known["option"]] if known.get("option") else []
    bounds = {key: known[key] for key in ("min", "max", "envvar") if known.get(key) is not None}
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    default: Any = None if field.default is dataclasses.MISSING else field.default
    if known.get("commas"):
        hint, default = str, ",".join(map(str, field.default_factory()))  # type: ignore[misc, operator]
    elif field.default is dataclasses.MISSING and not required:
        hint = hint | None  # its own default is made when the object is
    annotation = Annotated[hint, typer.Option(*names, help=known["help"], **bounds)]
    shown = inspect.Parameter.empty if required else default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=annotation)


def _split(text: str, hint: Any, name: str) -> list[Any]:
    """ "1,32" as the list of the field's type. Raises InputError for what is not a number."""
    from .errors import InputError

    parts = [part.strip() for part in text.split(",") if part.strip()]
    (item,) = typing.get_args(hint)
    try:
        return [item(part) for part in parts]
    except ValueError:
        raise InputError(f"not a list of numbers: {text!r}", name, "such as 1,32") from None

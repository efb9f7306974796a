"""What the command line is made of: options from data classes, whose fields have their help, and how it fails."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
import traceback
import typing
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .distributed import let_main_fail_first
from .errors import ErnieTinyError, InputError, Interrupted

DEBUG = os.environ.get("ERNIE_TINY_DEBUG") == "1"


def with_options(settings: type, parameter: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a verb whose argument `parameter` is a `settings` object: each field with a "help" is an option.

    A field's metadata may also say "option" (its name), "min", "max", "envvar", and "commas": a list that is typed as
    one text.
    """
    hints = typing.get_type_hints(settings)
    fields = {field.name: field for field in dataclasses.fields(settings) if "help" in field.metadata}

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(verb)
        def command(**given: Any) -> None:
            values = {name: given.pop(name) for name in fields}
            for name, field in fields.items():
                if field.metadata.get("commas"):
                    values[name] = _split(values[name], hints[name], name)
            options = settings(**{name: value for name, value in values.items() if value is not None})
            verb(**given, **{parameter: options})

        own = [p for p in inspect.signature(verb, eval_str=True).parameters.values() if p.name != parameter]
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own]
        parameters += [_option(field, hints[name]) for name, field in fields.items()]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _option(field: dataclasses.Field, hint: Any) -> inspect.Parameter:
    known, default = field.metadata, field.default
    bounds = {key: known[key] for key in ("min", "max", "envvar") if key in known}
    if known.get("commas"):
        assert field.default_factory is not dataclasses.MISSING, "a list's default is made by a function"
        hint, default = str, ",".join(map(str, field.default_factory()))
    elif default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        default = inspect.Parameter.empty  # required
    elif default is dataclasses.MISSING:
        hint, default = hint | None, None  # its own default is made when the object is
    names = [known["option"]] if "option" in known else []
    annotation = Annotated[hint, typer.Option(*names, help=known["help"], **bounds)]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _split(text: str, hint: Any, name: str) -> list[Any]:
    """ "1,32" as the list of the field's type. Raises InputError for what is not a number."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    (item,) = typing.get_args(hint)
    try:
        return [item(part) for part in parts]
    except ValueError:
        raise InputError(f"not a list of numbers: {text!r}", name, "such as 1,32") from None


def with_homes(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with `~` in its paths written out: a shell leaves it in `--out=~/x`, and in quotes."""

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        verb(**{name: _home_in(value) for name, value in given.items()})

    return command


def _home_in(value: Any) -> Any:
    return Path(os.path.expanduser(value)) if isinstance(value, Path) else value


def require_utf8(arguments: list[str]) -> None:
    """Raises InputError for an argument that is not UTF-8."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            remedy = "set the terminal to UTF-8, or put the text into a UTF-8 file"
            raise InputError("an argument is not UTF-8", repr(argument), remedy) from None


def fail(error: ErnieTinyError) -> NoReturn:
    """Prints the error, after the traceback if the user asked for it, and ends the process."""
    stopped = isinstance(error, Interrupted)
    if DEBUG and not stopped:
        traceback.print_exc()
    if not stopped:
        let_main_fail_first()
    print(error if stopped else f"error: {error}", file=sys.stderr)
    if stopped:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(error.exit_code)  # libraries take seconds to end themselves
    sys.exit(error.exit_code)

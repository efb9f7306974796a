"""What the command line is made of: options from data classes, whose fields have their help, and how it fails."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import io
import os
import signal
import sys
import traceback
import typing
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer import Argument, Option

from .defaults import AUTO_THREADS
from .distributed import check_launcher, let_main_fail_first
from .engines import NAMES, ON_CPU
from .errors import ErnieTinyError, InputError, Interrupted, explained
from .machine import thread_count
from .watch import is_stopping

DEBUG = os.environ.get("ERNIE_TINY_DEBUG") == "1"


def threads_typed(text: str) -> int:
    """What is typed as `--threads`, as `thread_count` takes it. Raises Typer's error for wrong usage."""
    try:
        return thread_count(text)
    except InputError as error:
        raise typer.BadParameter(f"{error.what}; {error.remedy}") from None


# what several verbs take
Config = Annotated[Path, Argument(help="YAML file of the run, such as configs/demo.yaml")]
Overrides = Annotated[list[str] | None, Argument(help="key.sub=value; overrides the file")]
Bundle = Annotated[Path, Argument(help="bundle folder")]
Rows = Annotated[Path, Option(help="rows to compare on: one per line (pairs: tab between), or any data file")]
Tolerance = Annotated[float, Option(help="largest allowed difference of logits")]
BatchSize = Annotated[int, Option(min=1, help="rows per forward pass")]
Threads = Annotated[Any, Option(parser=threads_typed, metavar="NUMBER|auto", help=f"CPU threads; {AUTO_THREADS}")]
EngineName = Annotated[str, Option(help=f"{NAMES}; auto: the fastest here, measured once")]
EngineNames = Annotated[str, Option("--engine", help=f"what it is to run in, comma-separated: {', '.join(ON_CPU)}")]
TextColumn = Annotated[str | None, Option(help="column of the text; default: as in training")]
SecondColumn = Annotated[str | None, Option(help="column of the second text")]
LabelColumn = Annotated[str | None, Option("--label", help="column of the label")]


def with_options(settings: type, parameter: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a verb whose argument `parameter` is a `settings` object: each field with a "help" is an option.

    A field's metadata may also say "option" (its name), "min", "max", "envvar", "metavar", and "commas": a list that is
    typed as one text. A field that may be a number or a word is handed on as it is typed.
    """
    hints = typing.get_type_hints(settings)
    fields = {field.name: field for field in dataclasses.fields(settings) if "help" in field.metadata}

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(verb)
        def command(**given: Any) -> None:
            values = {name: given.pop(name) for name in fields}
            for name, field in fields.items():
                if field.metadata.get("commas"):
                    values[name] = _items(values[name], hints[name], name)
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
    bounds = {key: known[key] for key in ("min", "max", "envvar", "metavar") if key in known}
    if known.get("commas"):
        assert field.default_factory is not dataclasses.MISSING, "a list's default is made by a function"
        hint, default = str, ",".join(map(str, field.default_factory()))
    elif default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        default = inspect.Parameter.empty  # required
    elif default is dataclasses.MISSING:
        hint, default = hint | None, None  # its own default is made when the object is
    elif hint == int | str:
        hint, default = str, str(default)
    names = [known["option"]] if "option" in known else []
    annotation = Annotated[hint, typer.Option(*names, help=known["help"], **bounds)]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def split(text: str) -> list[str]:
    """ "a, b" as its parts."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _items(text: str, hint: Any, name: str) -> list[Any]:
    """ "1,32" as the list of the field's type. Raises InputError for what is not a number."""
    (item,) = typing.get_args(hint)
    try:
        return [item(part) for part in split(text)]
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


def set_output_encoding() -> None:
    """Output is UTF-8 in files and pipes, and in a terminal's own encoding there; what it lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def run_verb(app: typer.Typer) -> NoReturn:
    """Runs the verb of the command line and ends the process with its exit code. Raises KeyboardInterrupt."""
    try:
        set_output_encoding()
        check_launcher()
        require_utf8(sys.argv[1:])
        code = app(standalone_mode=False)
        if code == 128 + signal.SIGINT:  # what Typer makes of a KeyboardInterrupt
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except Exception as error:
        # Typer brings classes of its own for wrong usage and for leaving; they differ between its versions.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(2)
        # what other versions make of Ctrl-C, and what an extension makes of it that is just being loaded
        if type(error).__name__ == "Abort" or (isinstance(error, ImportError) and is_stopping()):
            raise KeyboardInterrupt from None
        if type(error).__name__ == "Exit":
            sys.exit(getattr(error, "exit_code", 0))
        if DEBUG and not isinstance(error, ErnieTinyError | ModuleNotFoundError):
            raise
        fail(explained(error))


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

"""Errors that a user can fix: each says what is wrong, where, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


class ErnieTinyError(Exception):
    """Base of the toolkit's own errors; the command line prints it without a traceback and exits 1.

    what: what is wrong, with the value; where: file and line, YAML path, or option; remedy: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, where: str | None = None, remedy: str | None = None):
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what, where, remedy)  # as arguments, so that the error can cross to another process

    def __str__(self) -> str:
        first = f"{self.where}: {self.what}" if self.where else self.what
        return f"{first}\n  remedy: {self.remedy}" if self.remedy else first


class InputError(ErnieTinyError):
    """The user's configuration, data or arguments are wrong (exit code 2)."""

    exit_code = 2


class InputErrors(InputError):
    """Several input errors, found in one pass and shown together."""

    def __init__(self, errors: list[InputError]):
        self.errors = errors
        noun = "problem" if len(errors) == 1 else "problems"
        super().__init__(f"{len(errors)} {noun} found:\n" + "\n".join(f"- {error}" for error in errors))

    def __reduce__(self):
        return InputErrors, (self.errors,)


class Problems(list[InputError]):
    """Gathers input errors and raises them together, at the latest when there are twenty."""

    def add(self, what: str, where: str | None, remedy: str | None) -> None:
        """Takes in an error. Raises InputErrors if it is the twentieth."""
        self.append(InputError(what, where, remedy))
        if len(self) == 20:
            self.finish()

    def finish(self) -> None:
        """Raises what was found, if anything, as InputErrors."""
        if self:
            raise InputErrors(list(self))


class GateError(ErnieTinyError):
    """A check that guards quality (export parity, teacher above chance) did not pass; nothing was published."""


class Interrupted(ErnieTinyError):
    """Ctrl-C arrived; the current step was finished and a checkpoint written."""

    exit_code = 130


@dataclass(frozen=True)
class Finding:
    """What a check saw and does not refuse: what was checked, what was seen, where, and what to do about it."""

    level: Literal["warning", "note"]
    check: str
    what: str
    where: str
    remedy: str = ""

    def __str__(self) -> str:
        mark = "warning: " if self.level == "warning" else ""
        return f"{mark}{self.where}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")

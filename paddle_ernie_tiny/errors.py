"""Errors that a user can mend: each says what is wrong, where, and how to mend it."""

from __future__ import annotations


class ErnieTinyError(Exception):
    """Base of the toolkit's own errors; the command line prints it without a traceback and exits 1."""

    exit_code = 1

    def __init__(self, what: str, where: str | None = None, remedy: str | None = None):
        self.what, self.where, self.remedy = what, where, remedy
        parts = [f"{where}: {what}" if where else what]
        if remedy:
            parts.append(f"  remedy: {remedy}")
        super().__init__("\n".join(parts))


class InputError(ErnieTinyError):
    """The user's configuration, data or arguments are wrong (exit code 2)."""

    exit_code = 2


class InputErrors(InputError):
    """Several input errors, found in one pass and shown together."""

    def __init__(self, errors: list[InputError]):
        self.errors = errors
        noun = "problem" if len(errors) == 1 else "problems"
        super().__init__(f"{len(errors)} {noun} found:\n" + "\n".join(f"- {error}" for error in errors))


class GateError(ErnieTinyError):
    """A check that guards quality (export parity, teacher above chance) did not pass; nothing was published."""


class Interrupted(ErnieTinyError):
    """Ctrl-C arrived, the step in hand was finished and a checkpoint written."""

    exit_code = 130

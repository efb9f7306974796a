"""Errors that a user can fix: each says what is wrong, where, and how to fix it."""

from __future__ import annotations

import errno
import os
import re
import reprlib
import signal
from dataclasses import dataclass
from typing import Any, Literal

_MOST_SHOWN = 20  # errors in one message
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def shown(value: Any) -> str:
    """A value as messages show it: a long one is cut."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes out no whole number of more than 4,300 digits
        return "a number of thousands of digits"


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
        lines = [f"{len(errors)} {noun} found:", *(f"- {error}" for error in errors[:_MOST_SHOWN])]
        if len(errors) > _MOST_SHOWN:
            lines.append(f"- and {len(errors) - _MOST_SHOWN} more")
        super().__init__("\n".join(lines))

    def __reduce__(self):
        return InputErrors, (self.errors,)


class Problems(list[InputError]):
    """Gathers input errors and raises them together, at the latest when there are twenty."""

    def add(self, what: str, where: str | None, remedy: str | None) -> None:
        """Takes in an error. Raises InputErrors if it is the twentieth."""
        self.append(InputError(what, where, remedy))
        if len(self) == _MOST_SHOWN:
            self.finish()

    def finish(self) -> None:
        """Raises what was found, if anything, as InputErrors."""
        if self:
            raise InputErrors(list(self))


class GateError(ErnieTinyError):
    """A check that guards quality (export parity, teacher above chance) did not pass; nothing was published."""


class Interrupted(ErnieTinyError):
    """Ctrl-C (exit code 130) or SIGTERM (143) arrived; in a training, a checkpoint was written first."""

    def __init__(self, number: int = signal.SIGINT):
        how = "terminated" if number == signal.SIGTERM else "interrupted"
        super().__init__(f"{how}; run the same command again (a run continues where it stopped)")
        self.number, self.exit_code = number, 128 + number

    def __reduce__(self):
        return Interrupted, (self.number,)


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


_FULL = "make room, then run the same command again (a run continues where it stopped)"
_PLACE = "check the path, or choose another one"
_OPEN = "raise the limit (ulimit -n)"
# What the system refuses: what it means, what to do, and is it the user's input that is wrong (exit code 2)?
_REFUSALS: dict[int, tuple[str, str, bool]] = {
    errno.ENOSPC: ("the disk is full", _FULL, False),
    errno.EDQUOT: ("the disk quota is used up", _FULL, False),
    errno.EFBIG: (
        "the file would be larger than is allowed",
        "raise the limit (ulimit -f)",
        False,
    ),
    errno.EIO: ("the disk reports an error", "check the disk, or choose another one", False),
    errno.EMFILE: ("too many open files", _OPEN, False),
    errno.ENFILE: ("too many open files on this machine", _OPEN, False),
    errno.EROFS: ("the file system is read-only", "choose another place", True),
    errno.EACCES: ("no permission", "change the permissions, or choose another place", True),
    errno.EPERM: ("not permitted", "change the permissions, or choose another place", True),
    errno.ENOENT: ("no such file or folder", _PLACE, True),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", _PLACE, True),
    errno.EISDIR: ("this is a folder, not a file", _PLACE, True),
    errno.ENAMETOOLONG: ("the path is too long", _PLACE, True),
    errno.ELOOP: ("links that lead to each other", _PLACE, True),
}
_OUT_OF_MEMORY = re.compile(r"out of memory|bad_alloc|cannot allocate memory|ResourceExhausted", re.IGNORECASE)
_SMALLER = "use smaller batches (per_device_train_batch_size, --batch-size), or a machine with more of it"


def os_error(error: BaseException) -> OSError | None:
    """The system's refusal that an exception reports; None if it reports none.

    Libraries in Rust (safetensors, tokenizers) give its number in the text of an exception of their own.
    """
    if isinstance(error, (OSError, ErnieTinyError)):
        return error if isinstance(error, OSError) else None
    number = re.search(r"\bos error (\d+)\b|\bOs \{ code: (\d+)", str(error))
    if number is None:
        return None
    code, path = int(number[1] or number[2]), re.search(r'at path "([^"]+)"', str(error))
    return OSError(code, os.strerror(code), *([path[1]] if path else []))


def explained(error: BaseException) -> ErnieTinyError:
    """Any exception as an error of the toolkit: what the system refused, with the path and the remedy.

    Full disks, lacking permissions, missing files and exhausted memory, of whatever library, are explained here and
    nowhere else. What is not known is named by its class, with exit code 1.
    """
    if isinstance(error, ErnieTinyError):
        return error
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error))):
        detail = str(error).strip().partition("\n")[0]
        return ErnieTinyError("the memory is used up" + (f": {detail}" if detail else ""), remedy=_SMALLER)
    refusal = os_error(error)
    if refusal is None or refusal.errno is None:
        what = f"{type(error).__name__}: {error}"
        return ErnieTinyError(what, remedy="set ERNIE_TINY_DEBUG=1 for the traceback")
    where = None if refusal.filename is None else str(refusal.filename)
    what, remedy, is_input = _REFUSALS.get(refusal.errno, (str(refusal.strerror), _PLACE, False))
    return (InputError if is_input else ErnieTinyError)(what, where, remedy)

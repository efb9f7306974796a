"""Errors that a user can fix: each says what is wrong, where, and how to fix it."""

from __future__ import annotations

import errno
import os
import re
import reprlib
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

_MOST_SHOWN = 20  # kinds of errors in one message
_PLACES = 3  # shown of alike errors
_VALUES = re.compile(r"""'[^']*'|"[^"]*"|[0-9]+""")  # what differs between alike errors
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


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
    times = 1  # how many alike errors this one speaks for

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
    """Several input errors, found in one pass and shown together; alike ones of a file's lines as one."""

    def __init__(self, errors: list[InputError]):
        self.errors = errors
        total = sum(error.times for error in errors)
        lines = [f"{total} {'problem' if total == 1 else 'problems'} found:", *(f"- {text}" for text in folded(errors))]
        if len(lines) > _MOST_SHOWN + 1:
            lines[_MOST_SHOWN + 1 :] = [f"- and {len(lines) - _MOST_SHOWN - 1} more"]
        super().__init__("\n".join(lines))

    def __reduce__(self):
        return InputErrors, (self.errors,)


def folded(errors: Iterable[InputError]) -> list[str]:
    """The errors as texts; those of a file's lines that differ in values alone are one, with count and three places."""
    groups: dict[Any, list[InputError]] = {}
    for error in errors:
        groups.setdefault(_alike(error), []).append(error)
    texts = []
    for first, *others in groups.values():
        total = sum(error.times for error in (first, *others))
        if others and {error.what for error in others} == {first.what}:
            lines = ", ".join(_line(error) for error in (first, *others)[:_PLACES])
            more = f" ({total} alike: lines {lines}{' ...' if total > _PLACES else ''})"
        else:
            named = "".join(f"; line {_line(error)}: {error.what}" for error in others[: _PLACES - 1])
            more = f" ({total} alike{named}{' ...' if total > _PLACES else ''})" if others else ""
        texts.append(str(InputError(first.what + more, first.where, first.remedy)))
    return texts


def _line(error: InputError) -> str:
    return (error.where or "").rpartition(":")[2]


def _alike(error: InputError) -> Any:
    """What errors about lines of one file share, if only values in them differ; otherwise the error itself."""
    place, _, line = (error.where or "").rpartition(":")
    return (place, _VALUES.sub("", error.what)) if line.isdecimal() else id(error)


class Problems(list[InputError]):
    """Gathers input errors about a file's rows and raises them together; of alike ones three are kept, all are counted.

    notes: what is worth saying of the files, and no error. share: the share of bad rows that may be left out; None: no
    row may.
    """

    def __init__(self, share: float | None = None, notes: list[Finding] | None = None):
        super().__init__()
        self.share, self.notes, self.bad_rows, self.last = share, [] if notes is None else notes, 0, ""
        self._kept: dict[Any, list[InputError]] = {}

    def add(self, what: str, where: str | None, remedy: str | None, rows: int = 1) -> None:
        """Takes in an error that costs so many rows. Raises InputErrors if it is of the twentieth kind."""
        error = InputError(what, where, remedy)
        self.bad_rows += rows if self.last != where else 0
        self.last = where or ""
        kept = self._kept.setdefault(_alike(error), [])
        if len(kept) == _PLACES:
            kept[-1].times += 1
            return
        kept.append(error)
        self.append(error)
        if len(self._kept) == _MOST_SHOWN and self.share is None:
            self.finish()

    def note(self, level: Literal["warning", "note"], what: str, where: str) -> None:
        """Takes in what is to be said of a file, once."""
        finding = Finding(level, "files", what, where)
        if finding not in self.notes:
            self.notes.append(finding)

    def is_bad(self, where: str) -> bool:
        """Was an error added last for the row at this place?"""
        return self.last == where

    def finish(self, rows: int = 0, where: str = "") -> None:
        """Raises what was found, if anything, as InputErrors; or notes it, if so few of a file's rows may be left out.

        rows: how many are good. where: the file.
        """
        found, bad = list(self), self.bad_rows
        self.clear()
        self._kept, self.bad_rows = {}, 0
        if found and (self.share is None or bad > self.share * (rows + bad)):
            if self.share is not None:
                what = f"{bad} of {rows + bad} rows are bad, more than max_bad_rows ({self.share:g}) allows"
                found.insert(0, InputError(what, where, "correct them, or raise max_bad_rows"))
            raise InputErrors(found)
        if found:
            shown_errors = "; ".join(text.partition("\n")[0] for text in folded(found))
            self.note("warning", f"{bad} of {rows + bad} rows are bad and left out: {shown_errors}", where)


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
_EXTRAS = "install the cpu or gpu extra (for predict and serve, serving or serving-onnx; scores need evaluate, too)"
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
    nowhere else, as are packages that are not installed. What is not known is named by its class, with exit code 1.
    """
    if isinstance(error, ErnieTinyError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return InputError(f"the package {error.name!r} is not installed", remedy=_EXTRAS)
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

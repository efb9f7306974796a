"""Files and folders: written whole or not at all, known by their SHA-256, read as UTF-8 by line."""

from __future__ import annotations

import codecs
import errno
import fcntl
import hashlib
import io
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from .errors import InputError, os_error

_CLOCK_NS = 2_000_000_000  # times of change are at least as exact as this on every file system
_PIPE_CHARACTERS = 1000  # a pipe that is ready takes 4,096 bytes at once
UTF8_REMEDY = "save the file as UTF-8 (for a Chinese Windows file: iconv -f GB18030 -t UTF-8)"


@contextmanager
def at(path: str | os.PathLike) -> Iterator[None]:
    """Names `path` in a system's refusal inside the block that says nothing of where, such as that of a full disk."""
    try:
        yield
    except Exception as error:
        refusal = os_error(error)
        if refusal is None:
            raise
        if refusal.filename is None and refusal.errno is not None:
            refusal.filename = str(path)
        if refusal is error:
            raise
        raise refusal from error  # of a library that has an exception of its own for it


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes UTF-8 text with LF line ends, so that the file is either the old one or the whole new one.

    A pipe or a device is written into. Raises InputError for a folder, or a file in a folder that is not there.
    """
    require_writable(path)
    if _is_special(path):
        with at(path), open(path, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        return
    path = Path(os.path.realpath(path))  # a link stays, what it names is replaced
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with at(path), open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def growing_text(path: str | os.PathLike | None) -> Iterator[Callable[[str], None]]:
    """A function that writes whole lines: to standard output, or to a file that appears when the block ends.

    If the block ends by an error or Ctrl-C, the lines so far are in `part_of(path)`, and the old file stays. A pipe or
    a device is written into. Signals wait while a line is written, so that none is cut.
    """
    if path is None:
        yield _write_out
        return
    require_writable(path)
    special = _is_special(path)
    target = Path(path) if special else Path(os.path.realpath(path))
    temporary = target if special else target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with at(path), open(temporary, "w", encoding="utf-8", newline="\n") as file:

            def write(lines: str) -> None:
                with _signals_held(), at(path):
                    file.write(lines)
                    file.flush()

            yield write
            if not special:
                os.fsync(file.fileno())
        if not special:
            os.replace(temporary, target)
            sync(target.parent)
    except BaseException:
        if not special and temporary.is_file() and temporary.stat().st_size:
            os.replace(temporary, part_of(target))
        raise
    finally:
        if not special:
            temporary.unlink(missing_ok=True)


def part_of(path: str | os.PathLike) -> Path:
    """Where the lines of a file are that was not finished."""
    target = Path(os.path.realpath(path))
    return target.with_name(f"{target.name}.part")


def _write_out(lines: str) -> None:
    """Writes lines to standard output; while its reader takes none, Ctrl-C ends the waiting, between two lines."""
    stream = sys.stdout
    try:
        handle = stream.fileno()
    except (OSError, AttributeError):
        handle = None
    held = io.StringIO(lines)
    while block := "".join(held.readlines(_PIPE_CHARACTERS)):
        if handle is not None:
            select.select([], [handle], [])
        with _signals_held():
            stream.write(block)
            stream.flush()


@contextmanager
def _signals_held() -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _is_special(path: str | os.PathLike) -> bool:
    """Is this a pipe or a device, which is written into and not replaced?"""
    device = Path(path).is_relative_to("/dev") and not Path(path).is_relative_to("/dev/shm")  # a disk in memory
    return device or (os.path.exists(path) and not os.path.isfile(path))


def sync(path: str | os.PathLike) -> None:
    """Returns when the bytes of a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do this for folders
            raise
    finally:
        os.close(handle)


def require_writable(path: str | os.PathLike, source: str | os.PathLike | None = None) -> None:
    """Raises InputError if no file can be written there: to be found out before the work, not after it.

    source: the file whose rows are read; a regular one is not written over.
    """
    path = Path(path)
    if source is not None and path.is_file() and Path(source).is_file() and path.samefile(source):
        raise InputError("this is the file that is read", str(path), "give another name")
    if path.is_dir():
        raise InputError("this is a folder, not a file", str(path), "give the name of a file")
    if not path.parent.is_dir():
        raise InputError("no such folder", str(path.parent), "make it first")
    if _is_special(path):
        if not os.access(path, os.W_OK):
            raise InputError("no permission to write there", str(path), "choose another place")
        return
    require_folder(Path(os.path.realpath(path)).parent)  # a new file takes the old one's place


def cache_folder() -> Path:
    """The toolkit's folder of caches: of the user, or in the system's temporary folder for one without a home."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(tempfile.gettempdir() if folder.startswith("~") else folder, "paddle_ernie_tiny")


def require_folder(folder: Path) -> None:
    """Raises InputError if nothing can be written in a folder, or it cannot be made: before the work, as above."""
    existing = _existing(folder)
    if not existing.is_dir():
        raise InputError("this is a file, not a folder", str(existing), "choose another place")
    if not os.access(existing, os.W_OK | os.X_OK):  # also for who may do anything, where a disk is read-only
        raise InputError("no permission to write there", str(existing), "choose another place")


def _existing(path: Path) -> Path:
    """The nearest folder or file above a path, or itself, that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON value, as `write_text` writes; NumPy numbers become floats. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, default=float) + "\n")


def read_json(path: Path) -> Any:
    """The file's content; None if there is no such file, it is not complete, or it is nested too deeply."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def sha256(*paths: str | os.PathLike) -> str:
    """SHA-256 over the bytes of files, one after another, read in blocks."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def text_sha256(*texts: str) -> str:
    """SHA-256 over texts, one after another, as UTF-8 (of half a surrogate pair too)."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def known_sha256(*paths: str | os.PathLike) -> str:
    """As `sha256`, but read once per process while sizes and times of change of the files stay the same."""
    states = [os.stat(path) for path in paths]
    if any(time.time_ns() - state.st_mtime_ns < _CLOCK_NS for state in states):
        return sha256(*paths)  # a second change could have the same time as the first
    return _known_sha256(
        tuple(str(path) for path in paths), tuple((s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in states)
    )


@cache
def _known_sha256(paths: tuple[str, ...], states: tuple[tuple[int, int, int], ...]) -> str:
    return sha256(*paths)


def utf8_lines(path: Path, block_bytes: int = -1) -> Iterator[tuple[int, str | InputError]]:
    """(line number from 1, text) of every line of a file; an InputError that names the line if it is not UTF-8.

    Lines end at LF only and keep their end; a byte order mark is dropped. With `block_bytes`, a longer line comes in
    several blocks of at most that size, cut between characters. The file is read once, so it may be a pipe. Raises
    InputError for UTF-16.
    """
    decoder, number, first = codecs.getincrementaldecoder("utf-8")(), 1, True
    with path.open("rb") as file:
        while raw := file.readline(block_bytes):
            ended = raw.endswith(b"\n") or len(raw) != block_bytes
            if first and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise InputError("UTF-16, not UTF-8", str(path), "save the file as UTF-8")
            try:
                text = decoder.decode(raw, final=ended)
            except UnicodeDecodeError as error:
                shown, text, first = error.object[max(0, error.start - 10) : error.end + 10], "", False
                yield number, InputError(f"not UTF-8 text, near {shown!r}", f"{path}:{number}", UTF8_REMEDY)
                decoder.reset()
            if text and first:
                text, first = text.removeprefix("\ufeff"), False
            if text:
                yield number, text
            number += ended
    if rest := decoder.getstate()[0]:
        yield number, InputError(f"not UTF-8 text, near {rest!r}", f"{path}:{number}", UTF8_REMEDY)


def free_bytes(folder: Path) -> tuple[int, Path]:
    """(free bytes on the disk that would hold `folder`, the nearest folder that exists)."""
    existing = _existing(folder)
    return shutil.disk_usage(existing).free, existing


@contextmanager
def locked(root: Path, what: str) -> Iterator[None]:
    """One process at a time in a folder, which is made; the lock ends with the process, whatever happens to it.

    Raises InputError where another `what` is at work there.
    """
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            remedy = "wait for it, or choose another output_dir"
            raise InputError(f"another {what} is active in this folder", str(root), remedy) from None
        yield


@contextmanager
def new_folder(target: Path, marker: str | None = None) -> Iterator[Path]:
    """A temporary folder whose content takes the place of `target` when the block ends without an error.

    What is in `target` is replaced only then, and only if it holds a file called `marker`: an earlier result of the
    same kind. Raises InputError before the block if `target` is a file, or holds anything else.
    """
    target = Path(os.path.realpath(target))  # through links: the link stays, what it names is replaced
    require_replaceable(target, marker)
    _remove_abandoned(target)
    temporary = target.with_name(f".{target.name}.{os.uname().nodename}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        with at(target):
            yield temporary
        _replace(target, temporary, marker)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_replaceable(target: Path, marker: str | None) -> None:
    """Raises InputError unless `target` is absent, an empty folder, or a folder with a file called `marker`.

    Also where no folder can be made beside it, which takes its place later.
    """
    if target.exists() and not target.is_dir():
        raise InputError("this is a file, not a folder", str(target), "choose another folder")
    if target.is_dir() and any(target.iterdir()) and not (marker and (target / marker).is_file()):
        what = "the folder is not empty" + (f" and holds no {marker}" if marker else "")
        raise InputError(what, str(target), "choose another folder")
    require_folder(target.parent)


def _replace(target: Path, temporary: Path, marker: str | None) -> None:
    if os.path.ismount(target) or target == Path.cwd():  # such a folder cannot be renamed: its content is replaced
        for old in target.iterdir():
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        for new in sorted(temporary.iterdir(), key=lambda path: path.name == marker):  # the marker last
            shutil.move(str(new), target / new.name)
        return
    old = temporary.with_name(temporary.name.removesuffix(".tmp") + ".old.tmp")
    if target.exists():
        os.rename(target, old)
    os.rename(temporary, target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _remove_abandoned(target: Path) -> None:
    """Removes what processes of this machine that have ended left half written."""
    import psutil  # not where Paddle Serving runs, which only reads files

    for folder in target.parent.glob(f".{target.name}.{os.uname().nodename}.*.tmp"):
        process = folder.name.removesuffix(".tmp").removesuffix(".old").rpartition(".")[2]
        if process.isdigit() and (int(process) == os.getpid() or not psutil.pid_exists(int(process))):
            shutil.rmtree(folder, ignore_errors=True)

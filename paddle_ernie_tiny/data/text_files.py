"""Plain text files of any size, named by folder, glob or path: a hash of their contents, and their lines."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from functools import lru_cache
from glob import glob, has_magic
from pathlib import Path

from ..errors import InputError
from ..files import sha256, utf8_lines
from .tables import listing, nearest_listing

_LINE_BYTES = 1 << 20  # a longer line is read in pieces


def corpus_files(pattern: str | Path) -> list[Path]:
    """The files that a folder (every *.txt below it), a glob (`**` for any depth) or a path names, sorted.

    Raises:
        InputError: nothing there; it says what was looked for and what is there.
    """
    path = Path(pattern)
    if path.is_dir():
        files = sorted(found for found in path.rglob("*.txt") if found.is_file())
        looked_for, found = "*.txt files in or below it", f"it holds {listing(path)}"
    elif has_magic(str(pattern)) and not path.exists():
        files = sorted(Path(found) for found in glob(str(pattern), recursive=True) if Path(found).is_file())
        fixed = itertools.takewhile(lambda part: not has_magic(part), path.parts)
        looked_for, found = "files that match this pattern", nearest_listing(Path(*fixed))
    else:
        files = [path] if path.is_file() else []
        looked_for, found = "files of this name", nearest_listing(path.parent)
    if not files:
        raise InputError(f"there are no {looked_for}", str(pattern), f"correct the path; {found}")
    if not any(file.stat().st_size for file in files):
        raise InputError("the corpus is empty", str(pattern), "give text files with one passage a line")
    return files


def corpus_fingerprint(pattern: str | Path) -> str:
    """SHA-256 over the contents of the files, in their order; names and places do not count."""
    digest = hashlib.sha256()
    for file in corpus_files(pattern):
        status = file.stat()
        digest.update(_file_fingerprint(str(file), status.st_size, status.st_mtime_ns).encode())
    return digest.hexdigest()


def read_lines(pattern: str | Path) -> Iterator[str]:
    """The lines with text of all files; a line over 1 MiB comes in several pieces.

    Raises InputError at a line that is not UTF-8, and as `corpus_files` does.
    """
    for file in corpus_files(pattern):
        for _, line in utf8_lines(file, _LINE_BYTES):
            if isinstance(line, InputError):
                raise line
            if line.strip():
                yield line.rstrip("\r\n")


@lru_cache(maxsize=4096)
def _file_fingerprint(path: str, size: int, mtime_ns: int) -> str:
    return sha256(path)

"""Seals: a JSON file, written last, that vouches for itself and for other files by their SHA-256.

The seal is also the mark that something is finished: a checkpoint, a step, a prepared corpus. Whoever reads the files
reads the seal first, so that damaged ones are noticed before they are used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import known_sha256, sha256, sync, text_sha256, write_json

SEALED = "sealed.json"  # the name of a seal that is nothing else
COMPLETE, SCORE = "complete", "score.json"  # of a checkpoint, and of the best model beside it
FILES, SEAL = "sealed_files", "seal"  # keys of a seal: SHA-256 of each file by its path from the seal; of the rest
_REMEDY = "run the same command again, it makes this again; `ernie-tiny verify` checks the whole folder"


class DamageError(InputError):
    """A file is not what was written, or is gone."""


def write_seal(seal: Path, values: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
    """Writes JSON `values` and the SHA-256 of `files`, once those are on the disk. Makes the seal's folder."""
    seal.parent.mkdir(parents=True, exist_ok=True)
    files = sorted(files)
    for path in [*files, *{file.parent for file in files}, seal.parent.parent]:
        sync(path)
    sums = sums_of(seal, files)
    content = json.loads(json.dumps({**values, **({FILES: sums} if sums else {})}, default=float))
    write_json(seal, {**content, SEAL: _digest(seal, content)})


def sums_of(seal: Path, files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file by its path from the seal, as the seal records it."""
    return {os.path.relpath(file, seal.parent): sha256(file) for file in files}


def read_seal(seal: Path, files: bool = True, remedy: str = _REMEDY) -> dict[str, Any] | None:
    """The values of a seal; None if there is none.

    Raises DamageError, with the `remedy`, if the seal or one of its files is damaged; without `files` those are not
    looked at. A file is hashed once per process.
    """
    try:
        content = json.loads(seal.read_bytes())
        own = content.pop(SEAL, "") if isinstance(content, dict) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        own = None
    if own == "":
        raise DamageError("the file has no checksum: it is damaged, or an earlier version wrote it", str(seal), remedy)
    if own is None or own != _digest(seal, content):
        raise DamageError("the file is damaged: its content is not what was written", str(seal), remedy)
    for name, digest in content.get(FILES, {}).items() if files else ():
        path = Path(os.path.normpath(seal.parent / name))
        try:
            damage = None if known_sha256(path) == digest else "damaged: its SHA-256 is not the recorded one"
        except OSError as error:
            damage = f"gone or not readable ({error.strerror})"
        if damage:
            raise DamageError(f"the file is {damage}", str(path), remedy)
    return content


def whole_or_none(seal: Path, what: str) -> dict[str, Any] | None:
    """As `read_seal`; of damaged files it says that `what` is made again, and gives None."""
    try:
        return read_seal(seal)
    except DamageError as damage:
        _say_once(f"  {what}: made again; {damage.where}: {damage.what}")
        return None


@cache
def _say_once(line: str) -> None:
    print(line, flush=True)  # a study looks at its jobs every second


def _digest(seal: Path, content: dict[str, Any]) -> str:
    """Of the content, and of the file's name: a seal of another kind in its place is damage."""
    return text_sha256(seal.name, json.dumps(content, sort_keys=True, ensure_ascii=False))

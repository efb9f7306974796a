"""Writing and vouching for files: whole or not at all, and known by their SHA-256."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes UTF-8 text with LF line ends, so that the file is either the old one or the whole new one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(*paths: str | os.PathLike) -> str:
    """SHA-256 over the bytes of files, one after another, read in pieces."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

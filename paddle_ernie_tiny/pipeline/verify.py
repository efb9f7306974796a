"""Checks of everything that a run or a bundle keeps: every file against the SHA-256 that was recorded of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from ..augmentation.augmenters import AUGMENTED, read_augmented
from ..data.corpus import META
from ..deploy.bundle import MANIFEST, read_manifest
from ..distillation.signal_files import KEY, check_signals
from ..errors import InputError
from ..seals import COMPLETE, FILES, SCORE, SEALED, DamageError, read_seal
from .report import read_resolved
from .step import DONE, INPUTS, METRICS, RunFolder

Part = tuple[Path, Callable[[], str]]  # its seal, and its check: () -> what is whole, or DamageError
_SEALS = {DONE, INPUTS, METRICS, SEALED, COMPLETE, SCORE, META}
_WHEN_READ = "`ernie-tiny run CONFIG` makes it again when a step reads it; until then the folder can be removed"
_REMEDIES = {
    **dict.fromkeys((META, KEY, AUGMENTED), _WHEN_READ),
    COMPLETE: "`ernie-tiny run CONFIG` continues from the checkpoint before it",
    SCORE: "`ernie-tiny run CONFIG` starts this step again",
}


def verify(folder: Path, say: Callable[[str], None] = print) -> int:
    """Says of every part of a run folder, or of a bundle, whether it is whole; returns how many are damaged.

    Of a damaged part the line says which command makes it again. Raises InputError if it is no such folder.
    """
    if (folder / MANIFEST).is_file():
        parts: Iterable[Part] = [(folder / MANIFEST, partial(_bundle, folder))]
    else:
        parts = _parts(folder, str(read_resolved(RunFolder(folder))["config"].get("signals_folder") or ""))
    damaged = 0
    for path, check in parts:
        name = path.relative_to(folder) if path.is_relative_to(folder) else path
        try:
            say(f"ok       {name}: {check()}")
        except InputError as error:
            damaged += 1
            remedy = _REMEDIES.get(path.name, "`ernie-tiny run CONFIG` makes it again")
            remedy = "`ernie-tiny export` makes it again, or copy the folder again" if path.name == MANIFEST else remedy
            say(f"damaged  {name}: {error.where}: {error.what}; {remedy}")
    return damaged


def _parts(root: Path, signals_folder: str) -> Iterator[Part]:
    wanted = [folder / META for folder in root.glob("data/general*")]
    wanted += (folder / SCORE for folder in root.rglob("best"))
    found = (path for path in root.rglob("*") if path.name in _SEALS and path.is_file())
    for path in sorted({*found, *wanted}):
        if path.name != INPUTS or not path.with_name(DONE).is_file():
            yield path, partial(_seal, path)
    for path in sorted(root.rglob(AUGMENTED)):
        yield path, partial(_augmented, path)
    for folder in (root / "data" / "signals", *([Path(signals_folder)] if signals_folder else [])):
        for path in sorted(folder.glob("*")):
            yield path / KEY, partial(_signals, path)


def _bundle(folder: Path) -> str:
    return f"{len(read_manifest(folder).files)} files"


def _seal(path: Path) -> str:
    values = read_seal(path)
    if values is None:
        raise DamageError("the file is gone", str(path))
    if path.name == INPUTS:
        return "begun, not finished"
    files = values.get(FILES, {})
    folders = {Path(name).parent.name for name in files} - {""} if path.name == DONE else ()
    return f"{len(files)} file{'s' * (len(files) != 1)}" + (f" in {', '.join(sorted(folders))}/" if folders else "")


def _augmented(path: Path) -> str:
    return f"{len(read_augmented(path)[1].splitlines())} rows"


def _signals(folder: Path) -> str:
    return f"signals of {check_signals(folder)} rows"

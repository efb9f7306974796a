"""What the verb bench does."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import InputError
from .output import print_tables, write_folder, write_json
from .run import Request, run


def run_bench(request: Request, json_file: Path | None, out: Path | None) -> None:
    """Runs the benchmark, prints its tables, writes what was asked for."""
    if json_file is not None and not json_file.parent.is_dir():
        raise InputError("no such folder", str(json_file.parent), "make it first")
    result = run(request, say=lambda text: print(text, file=sys.stderr))
    print_tables(result)
    if json_file is not None:
        write_json(result, json_file)
    if out is not None:
        write_folder(result, out)


def numbers(text: str, option: str) -> list[int]:
    """ "1,32" as [1, 32]. Raises InputError for anything else."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"not a list of numbers: {text!r}", option, "such as 1,32") from None


def words(text: str) -> list[str]:
    """ "fp32,int8" as its parts."""
    return [part.strip() for part in text.split(",") if part.strip()]

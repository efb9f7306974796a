"""What the verb bench does."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import InputError
from ..files import write_text
from .output import markdown as to_markdown
from .output import print_tables, write_json
from .run import Request, run


def bench(request: Request, json_file: Path | None, markdown: Path | None) -> None:
    """Runs the benchmark, prints its tables, writes the files that were asked for."""
    for path in (json_file, markdown):
        if path is not None and not path.parent.is_dir():
            raise InputError("no such folder", str(path.parent), "make it first")
    result = run(request, say=lambda text: print(text, file=sys.stderr))
    print_tables(result)
    if json_file is not None:
        write_json(result, json_file)
    if markdown is not None:
        write_text(markdown, to_markdown(result))


def numbers(text: str, option: str) -> list[int]:
    """ "1,32" as [1, 32]. Raises InputError for anything else."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"not a list of numbers: {text!r}", option, "such as 1,32") from None


def words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]

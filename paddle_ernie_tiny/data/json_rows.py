"""JSON objects in a text file, with the line that each starts on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import Problems

_REMEDY = "write one JSON object per line"
_MOST_LINES = 1000  # an object over more lines than that is an unclosed brace
_BLANKS = re.compile(r"[ \t\n\r]*")


def json_rows(path: Path, lines: Iterator[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, dict]]:
    """One object per line, or objects one after another: several on a line, or one over several lines.

    Gives (line, object). What is no object is a problem, and so is a key that is given twice.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_fields)
    held: list[str] = []  # the lines of an object that is not closed yet: decoded when its last bracket comes
    start, depth = 1, 0
    for number, line in lines:
        text = line
        if held and line.lstrip().startswith("{") and held[-1].rstrip()[-1:] not in (",", ":", "["):
            what = "not JSON: the object is not closed where the next one begins"
            problems.add(what, f"{path}:{start}", _REMEDY)
            held = []
        elif held:
            closed, depth = _nesting(line, depth)
            if line.strip():
                held.append(line)
            if not closed and number - start < _MOST_LINES:
                continue
            text, held = "".join(held), []
        place, start = 0, start if text is not line else number
        while (place := _BLANKS.match(text, place).end()) < len(text):  # type: ignore[union-attr]
            try:
                value, place = decoder.raw_decode(text, place)
            except (ValueError, RecursionError) as error:
                # an object that is not closed yet fails where its text ends; a string may not hold the line's end
                unclosed = text[place] == "{" and getattr(error, "pos", -1) >= len(text.rstrip())
                if unclosed and number - start < _MOST_LINES:
                    held, (_, depth) = [text[place:]], _nesting(text[place:], 0)
                else:
                    why = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
                    problems.add(f"not JSON: {why}", f"{path}:{start}", _REMEDY)
                break
            if isinstance(value, dict):
                yield start, value
            else:
                problems.add(f"a JSON {type(value).__name__}, not an object", f"{path}:{start}", _REMEDY)
            start = number
    if held:
        problems.add("not JSON: the file ends inside an object", f"{path}:{start}", _REMEDY)


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key is given twice")
    return fields


def _nesting(line: str, depth: int) -> tuple[bool, int]:
    """After a line: may the outermost bracket be closed, or is a string cut off? And how many brackets are open."""
    outside = line.replace("\\\\", "").replace('\\"', "").split('"')
    closed = len(outside) % 2 == 0
    for bracket in re.finditer(r"[{}\[\]]", "".join(outside[::2])):
        depth += 1 if bracket.group() in "{[" else -1
        closed |= depth <= 0
    return closed, depth

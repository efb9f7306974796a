"""JSON objects in a text file, with the line that each starts on; of one array its items, with their numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError, Problems
from .decoding import Lines, first_text

_REMEDY = "write one JSON object per line, or one array of objects"
# how a file of reading comprehension begins: one object over any number of lines
_VALUE = r'"(?:[^"\\]|\\.)*"|[\w.+-]+|\[[^\[\]{}]*\]|\{[^\[\]{}]*\}'
_DOCUMENT = re.compile(rf'\s*\{{\s*(?:"\w+"\s*:\s*(?:{_VALUE})\s*,\s*)*"data"\s*:\s*\[\s*\{{')
_BEGIN_LINES, _BEGIN_CHARACTERS = 20, 2000
_MOST_LINES = 1000  # an object over more lines than that is an unclosed brace
_BLANKS = re.compile(r"[ \t\n\r]*")
_BLANKS_AND_COMMAS = re.compile(r"[ \t\n\r,]*")


def json_rows(path: Path, lines: Lines, problems: Problems) -> Iterator[tuple[int, dict]]:
    """One object per line, or objects one after another: several on a line, or one over several lines; or one array.

    Gives (line, object), of an array (number of the item from 1, object), of a document of reading comprehension its
    questions (their number from 1). What is no object is a problem, and so is a key that is given twice.
    """
    begin, text, number, depth = list[tuple[int, str]](), "", 0, 0
    for line in lines:
        begin, text = [*begin, line], text + line[1][:_BEGIN_CHARACTERS]
        depth = _nesting(line[1], depth)[1]
        open_ended = text.lstrip()[:1] == "{" and depth > 0
        if _DOCUMENT.match(text) or (text.strip() and not open_ended) or len(begin) > _BEGIN_LINES:
            break
    lines = chain(begin, lines)
    if depth > 0 and _DOCUMENT.match(text):  # else it is a row on a line
        found: Iterable[tuple[int, dict]] = [(1, _document(path, lines))]
    else:
        first, lines = first_text(lines)
        is_array = first.lstrip().startswith("[")
        found = _objects(path, _inside_array(path, lines) if is_array else lines, problems, is_array)
    for place, value in found:
        for row in questions_of(value):
            number += 1
            yield place if row is value else number, _possible(row)


def questions_of(value: dict) -> Iterator[dict]:
    """The questions of a document of reading comprehension, of one of its articles or paragraphs, as flat rows.

    SQuAD's form, which CMRC2018, DRCD and DuReader-robust share, and CMRC2018's first one (`context_text`). A row has
    `id`, `question`, `context` and, where they are given, `answers` and `is_impossible`. An object that is none of
    these comes as it is.
    """
    articles = value.get("data") if isinstance(value.get("data"), list) else None
    parts = value["paragraphs"] if isinstance(value.get("paragraphs"), list) else articles
    if parts and all(isinstance(part, dict) and part.keys() & {"paragraphs", "qas"} for part in parts):
        for part in parts:
            if part.get("paragraphs") != []:
                yield from questions_of(part)
    elif isinstance(value.get("qas"), list):
        for asked in value["qas"]:
            asked = asked if isinstance(asked, dict) else {}
            row = {
                "id": asked.get("id", asked.get("query_id")),
                "context": value.get("context", value.get("context_text")),
            }
            row["question"] = asked.get("question", asked.get("query_text"))
            yield {**row, **{key: asked[key] for key in ("answers", "is_impossible") if key in asked}}
    else:
        yield value


def _possible(row: dict) -> dict:
    """The row; one that is_impossible has the empty lists of `datasets` for answers."""
    if row.get("is_impossible") is not True:
        return row
    contradiction = {"is_impossible": True, "answers": row.get("answers")}  # which is refused as no answer
    return {**row, "answers": contradiction if row.get("answers") else {"text": [], "answer_start": []}}


def _document(path: Path, lines: Iterable[tuple[int, str]]) -> dict:
    """A whole file that is one object. Raises InputError."""
    try:
        return json.loads("".join(text for _, text in lines), object_pairs_hook=unique_fields)
    except (ValueError, RecursionError) as error:
        where = f"{path}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else str(path)
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(":")[0]
        raise InputError(f"not JSON: {what}", where, "restore the file; it begins as one object with data") from None


def _inside_array(path: Path, lines: Lines) -> Lines:
    """The lines between an array's brackets. Raises InputError for one that is not closed."""
    opened, held = False, (1, "")
    for number, line in lines:
        if line.strip():
            if opened:
                yield held
            held, opened = (number, line if opened else line.replace("[", " ", 1)), True
    number, line = held[0], held[1].rstrip()
    if not line.endswith("]"):
        raise InputError("not JSON: the array is not closed", f"{path}:{number}", "restore the file's end")
    yield number, line[:-1] + "\n"


def _objects(path: Path, lines: Lines, problems: Problems, is_array: bool) -> Iterator[tuple[int, dict]]:
    decoder = json.JSONDecoder(object_pairs_hook=unique_fields)
    held: list[str] = []  # the lines of an object that is not closed yet: decoded when its last bracket comes
    start, depth, items, gap = 1, 0, 0, ""
    for number, line in lines:
        text = line
        if held and line.lstrip().startswith("{") and held[-1].rstrip()[-1:] not in (",", ":", "["):
            what = "not JSON: the object is not closed where the next one begins"
            _refuse(what, f"{path}:{start}", problems, is_array, number - start)
            held = []
        elif held:
            closed, depth = _nesting(line, depth)
            if line.strip():
                held.append(line)
            if not closed and number - start < _MOST_LINES:
                continue
            text, held = "".join(held), []
        place, start = 0, start if text is not line else number
        blanks = _BLANKS_AND_COMMAS if is_array else _BLANKS
        while between := blanks.match(text, place):
            place, gap = between.end(), gap + between.group().strip()
            if place == len(text):
                break
            if is_array and gap != ("," if items else ""):
                raise InputError("not JSON: no single comma between two items", f"{path}:{number}", _REMEDY)
            try:
                value, place = decoder.raw_decode(text, place)
            except (ValueError, RecursionError) as error:
                # an object that is not closed yet fails where its text ends; a string may not hold the line's end
                unclosed = text[place] == "{" and getattr(error, "pos", -1) >= len(text.rstrip())
                if unclosed and number - start < _MOST_LINES:
                    held, (_, depth) = [text[place:]], _nesting(text[place:], 0)
                else:
                    why = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
                    _refuse(f"not JSON: {why}", f"{path}:{start}", problems, is_array, number - start + 1)
                break
            items, gap = items + 1, ""
            at = items if is_array else start
            if isinstance(value, dict):
                yield at, value
            else:
                problems.add(f"a JSON {type(value).__name__}, not an object", f"{path}:{at}", _REMEDY)
            start = number
    if held:
        what = "not JSON: the file ends inside an object"
        _refuse(what, f"{path}:{start}", problems, is_array, len(held))
    elif gap.strip():
        raise InputError("not JSON: a comma after the last item", str(path), "take it out")


def _refuse(what: str, where: str, problems: Problems, is_array: bool, lines: int) -> None:
    """A problem that costs so many lines; of an array it costs what comes after it too, so it is raised."""
    if is_array:
        raise InputError(what, where, _REMEDY)
    problems.add(what, where, _REMEDY, rows=max(1, lines))


def unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of an object. Raises ValueError for a key that is given twice."""
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

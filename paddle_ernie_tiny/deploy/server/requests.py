"""What a client asked: the body of /v1/predict, checked, and its JSON schema."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic_core import from_json

from .options import ServeOptions
from .problems import Problem

# Control characters but tab and line ends: no text holds them, and what follows a NUL is lost in many logs and tools.
_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
_HAS_CONTROL = re.compile(f"[{_CONTROL}]")
_SCHEMA_PATTERN = rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$"


@dataclass(frozen=True)
class Asked:
    """One request: rows for one model. `single` is whether it came as `text` and not as `texts`."""

    model: str
    texts: list[str]
    texts_b: list[str] | None
    single: bool


def read_request(body: bytes, pairs: dict[str, bool], options: ServeOptions) -> Asked:
    """Checks the body of a prediction; `pairs` says of each model whether a row is two texts.

    Raises Problem (400, 404, 422) that names the place.
    """
    try:  # strict: UTF-8, no lone surrogates, no NaN, a bounded depth
        values = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        reason = str(error).split("\n")[0]
        raise Problem("not_json", f"the body is not JSON: {reason}", "body", "send JSON in UTF-8") from None
    if not isinstance(values, dict):
        raise _wrong(f"expected an object, got {_kind(values)}", "body", 'send {"text": "..."}')
    model = _model(values, pairs)
    pair = pairs[model]
    known = {"model", "text", "texts"} | ({"text_b"} if pair and "texts" not in values else set())
    for key in values:
        if key not in known:
            remedy = "this model takes one text a row" if key == "text_b" and not pair else f"known: {_list(known)}"
            raise _wrong("unknown key", _shown(key), remedy)
    if ("text" in values) == ("texts" in values):
        raise _wrong("give text or texts, not both and not neither", "body", "texts takes a list")
    if "text" in values:
        if pair and "text_b" not in values:
            raise _wrong("this model compares two texts", "text_b", "give text and text_b")
        text = _text(values["text"], "text", options)
        return Asked(model, [text], [_text(values["text_b"], "text_b", options)] if pair else None, True)
    rows = values["texts"]
    if not isinstance(rows, list) or not rows:
        got = "an empty list" if rows == [] else _kind(rows)
        raise _wrong(f"expected a list of texts, got {got}", "texts", "give at least one text")
    if len(rows) > options.max_texts:
        raise _wrong(f"{len(rows)} texts, at most {options.max_texts} are taken", "texts", "send them in several")
    if not pair:
        return Asked(model, [_text(row, f"texts[{i}]", options) for i, row in enumerate(rows)], None, False)
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != {"text", "text_b"}:
            raise _wrong("this model compares two texts", f"texts[{i}]", 'give {"text": "...", "text_b": "..."}')
    first, second = (
        [_text(row[key], f"texts[{i}].{key}", options) for i, row in enumerate(rows)] for key in ("text", "text_b")
    )
    return Asked(model, first, second, False)


def _model(values: dict, pairs: dict[str, bool]) -> str:
    if "model" not in values:
        if len(pairs) == 1:
            return next(iter(pairs))
        raise _wrong("this server has several models", "model", f"name one of {_list(pairs)}")
    name = values["model"]
    if not isinstance(name, str):
        raise _wrong(f"expected a string, got {_kind(name)}", "model", f"name one of {_list(pairs)}")
    if name not in pairs:
        raise Problem("unknown_model", "there is no model of this name", "model", f"known: {_list(pairs)}")
    return name


def _text(value, where: str, options: ServeOptions) -> str:
    if not isinstance(value, str):
        raise _wrong(f"expected a string, got {_kind(value)}", where, "give the text as a string")
    if len(value) > options.max_characters:
        what = f"{len(value)} characters, at most {options.max_characters} are taken"
        raise _wrong(what, where, "shorten the text")
    control = _HAS_CONTROL.search(value)
    if control:
        what = f"control character U+{ord(control.group()):04X} at position {control.start()}"
        raise _wrong(what, where, "take it out")
    if not value or value.isspace():
        raise _wrong("the text is empty", where, "give a text with characters in it")
    return value


def _wrong(message: str, where: str, remedy: str) -> Problem:
    return Problem("invalid_request", message, where, remedy)


def _kind(value) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _list(names) -> str:
    return ", ".join(sorted(names))


def _shown(key: str) -> str:
    return key if len(key) <= 40 else key[:40] + "..."


def request_schema(pairs: dict[str, bool], options: ServeOptions) -> dict:
    """JSON schema of what `read_request` takes from these models."""
    text = {"type": "string", "minLength": 1, "maxLength": options.max_characters, "pattern": _SCHEMA_PATTERN}
    shapes = []
    for pair in sorted(set(pairs.values())):
        names = [name for name in pairs if pairs[name] == pair]
        both = {"text": text, "text_b": text} if pair else {"text": text}
        row = _object(both, list(both)) if pair else text
        many = {"type": "array", "items": row, "minItems": 1, "maxItems": options.max_texts}
        need = ["model"] if len(pairs) > 1 else []
        model = {"model": {"type": "string", "enum": names}}
        shapes += [_object({**model, **both}, need + list(both)), _object({**model, "texts": many}, [*need, "texts"])]
    return {"oneOf": shapes}


def _object(properties: dict, required: list[str]) -> dict:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

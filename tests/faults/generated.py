"""Values from hypothesis: drawn in blocks, each from its own seed, so that a case's number and the seed give its value.

`from_schema` gives values for a JSON schema as pydantic writes it, with hostile ones among them.
"""

from __future__ import annotations

import copy
import random
import warnings
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

_BLOCK = 100
HOSTILE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    -5,
    1,
    513,
    10**30,
    -(10**30),
    2**31,
    2**32,
    2**63,
    1e26,
    1e308,
    -0.0,
    0.5,
]
HOSTILE += [
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "text",
    "\0",
    "1e400",
    "9" * 5000,
    "NaN",
    "中文",
    "💥" * 200,
]
HOSTILE += [
    "../../etc/passwd",
    "/dev/zero",
    "/",
    ".",
    "~",
    "a\nb",
    "\x1b[31m",
    "\u202e",
    "<script>alert(1)</script>",
    "a#b",
]
HOSTILE += [[], {}, [[]], [[[[1]]]], [None], {"a": {"b": {"c": 1}}}, {"": 1}, {1: 2}, {None: None}, {True: 1}, ["a", 1]]
HOSTILE += [[{}], [{"stage": "general"}], "x" * 300, 3.7, 1e-320]
hostile = st.sampled_from(HOSTILE).map(copy.deepcopy)  # what is drawn is changed in place


def draw(strategy: st.SearchStrategy[Any], count: int, label: str) -> list[Any]:
    """`count` different values (by what they look like), the same for the same label."""
    values: dict[str, Any] = {}
    for number in range(20):
        values |= {repr(value): value for value in _block(strategy, f"{label} {number}")}
        if len(values) >= count:
            return list(values.values())[:count]
    return (list(values.values()) * count)[:count]  # there are no more


def _block(strategy: st.SearchStrategy[Any], label: str) -> list[Any]:
    block: list[Any] = []

    @seed(random.Random(label).getrandbits(64))
    @settings(
        max_examples=_BLOCK,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        block.append(value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collect()
    return block


def from_schema(schema: dict[str, Any], definitions: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that fit the schema, and now and then a hostile one in their place."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return st.deferred(lambda: from_schema(definitions[name], definitions, depth + 1))
    if depth > 8:
        return hostile
    return st.integers(0, 9).flatmap(lambda dice: hostile if dice == 9 else _fitting(schema, definitions, depth))


def _fitting(schema: dict[str, Any], definitions: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return st.one_of([from_schema(option, definitions, depth + 1) for option in schema[key]])
    kind = schema.get("type")
    if kind == "integer":
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        high = schema.get("maximum", schema.get("exclusiveMaximum", 2**40) - 1)
        return st.one_of(st.integers(low, min(high, 64)) if low <= 64 else st.just(low), st.sampled_from([low, high]))
    if kind == "number":
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0.0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", 1e6))
        return st.one_of(st.floats(low, high), st.sampled_from([low, high, 0.5]))
    if kind == "string":
        texts = st.text(st.characters(exclude_categories=()), max_size=20)
        given_pattern = schema.get("pattern")
        return st.one_of(st.from_regex(given_pattern), texts) if given_pattern else texts
    if kind == "array":
        return st.lists(from_schema(schema.get("items", {}), definitions, depth + 1), max_size=3)
    if kind == "object" and "properties" in schema:
        return _objects(schema, definitions, depth)
    if kind == "object":
        more = schema.get("additionalProperties")
        inner = from_schema(more if isinstance(more, dict) else {}, definitions, depth + 1)
        return st.dictionaries(st.text(max_size=8), inner, max_size=3)
    return {"boolean": st.booleans(), "null": st.none()}.get(str(kind), hostile)


def _objects(schema: dict[str, Any], definitions: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    fields = {name: from_schema(part, definitions, depth + 1) for name, part in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema.get("required", ()) if name in fields}
    chosen = st.sets(st.sampled_from(sorted(fields)), max_size=4) if fields else st.just(set())
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries({**required, **{name: fields[name] for name in sorted(names)}})
    )


@st.composite
def edited(draw_one: Any, base: bytes) -> bytes:
    """Bytes with some flipped, taken out or put in."""
    content = bytearray(base)
    pieces = [
        b'"',
        b"\0",
        b"\t",
        b"\r",
        b"\n",
        b"\xff",
        b"{",
        b"}",
        b"\\",
        b",",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\x1b",
    ]
    for _ in range(draw_one(st.sampled_from([1, 2, 5, 20]))):
        place = draw_one(st.integers(0, max(0, len(content) - 1)))
        action = draw_one(st.sampled_from(["flip", "delete", "insert", "repeat"]))
        if action == "flip" and content:
            content[place] = draw_one(st.integers(0, 255))
        elif action == "delete":
            del content[place : place + draw_one(st.sampled_from([1, 5, 50]))]
        elif action == "insert":
            content[place:place] = draw_one(st.sampled_from(pieces))
        else:
            content[place:place] = content[place : place + 40]
    return bytes(content)

"""Spans of a text as words and tags: what CLUENER, doccano and Label Studio write of named entities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import shown
from ..kinds.token_classification import split_text

UNIT = "mixed"  # how such a text is cut: characters, with Latin words and numbers whole
Span = tuple[int, int, str]  # its first character, the one after its last, its type


def is_spans(value: Any) -> bool:
    """Is a label a row's spans, in one of the three forms? An empty list or mapping is: no entity."""
    if isinstance(value, dict):
        return all(isinstance(found, dict) for found in value.values())
    return isinstance(value, list) and all(isinstance(item, list | dict) for item in value)


def tagged_by_spans(text: str, value: Any) -> tuple[list[str], list[str]]:
    """The words of a text, also cut where a span begins or ends, and their tags (B-, I-, O). Raises ValueError."""
    spans = sorted(_spans(text, value))
    for (_, end, name), (start, _, other) in zip(spans, spans[1:], strict=False):
        if start < end:
            raise ValueError(f"spans overlap: {name} ends at {end}, {other} begins at {start}")
    words: list[str] = []
    tags: list[str] = []
    place = 0
    for start, end, name in spans:
        outside, inside = split_text(text[place:start], UNIT), split_text(text[start:end], UNIT)
        if not inside:
            raise ValueError(f"the span of {name} at {start} holds no word")
        words += [word for word, _, _ in (*outside, *inside)]
        tags += ["O"] * len(outside) + [f"B-{name}"] + [f"I-{name}"] * (len(inside) - 1)
        place = end
    rest = [word for word, _, _ in split_text(text[place:], UNIT)]
    return words + rest, tags + ["O"] * len(rest)


def _spans(text: str, value: Any) -> Iterator[Span]:
    """The spans of a label; each lies in the text, and is what the file says stands there."""
    found = _of_cluener(value) if isinstance(value, dict) else _of_tools(value)
    for start, end, name, quoted in found:
        if not all(type(place) is int for place in (start, end)) or not isinstance(name, str) or not name.strip():
            raise ValueError(f"not a span of start, end and type: {shown([start, end, name])}")
        if not 0 <= start < end <= len(text):
            raise ValueError(f"the span {start} to {end} of {name} is not in the text, of {len(text)} characters")
        if quoted is not None and quoted != text[start:end]:
            what = f"the span {start} to {end} is {shown(text[start:end])}"
            raise ValueError(f"{what}, but the file says {shown(quoted)}")
        yield start, end, name.strip()


def _of_cluener(value: dict) -> Iterator[tuple[Any, Any, Any, str | None]]:
    """`{"name": {"叶老桂": [[9, 11]]}}`: the last character counts."""
    for name, entities in value.items():
        for word, places in entities.items():
            for place in places if isinstance(places, list) else [places]:
                start, end = place if isinstance(place, list) and len(place) == 2 else (None, None)
                yield start, end + 1 if isinstance(end, int) else None, name, word


def _of_tools(value: list) -> Iterator[tuple[Any, Any, Any, str | None]]:
    """doccano's lists and mappings, and Label Studio's results, in an annotation or by themselves (`--json-min`)."""
    done = [item for item in value if isinstance(item, dict) and "result" in item and not item.get("was_cancelled")]
    if done:
        first, *others = [item["result"] for item in done]
        if any(list(_of_tools(first)) != list(_of_tools(other)) for other in others):
            raise ValueError(f"{len(done)} annotations that differ")
        yield from _of_tools(first)
        return
    for item in value:
        if isinstance(item, list):
            start, end, name = item if len(item) == 3 else (None, None, None)
            yield start, end, name, None
        elif "result" not in item and item.get("type", "labels") not in ("choices", "relation"):
            item = item.get("value", item) if isinstance(item.get("value", item), dict) else {}
            names = item.get("labels", item.get("label", item.get("type")))
            if isinstance(names, list) and len(names) > 1:
                raise ValueError(f"a span of {len(names)} types: {shown(names)}")
            name = names[0] if isinstance(names, list) and names else names
            start, end = item.get("start", item.get("start_offset")), item.get("end", item.get("end_offset"))
            yield start, end, name, item.get("text")

"""Copies of rows that differ from their original and from one another, and the file that keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_text
from .candidates import script_of

_ATTEMPTS = 4
_SAMPLES = 20
Draw = Callable[[list[tuple[int, int]], float, int], Sequence[Any]]


@dataclass
class Augmented:
    """Augmented rows, without their originals, in the originals' order.

    origin: for each row, the place of its original among the given rows. given_up: copies that were asked for
    and not made. samples: twenty before/after pairs, spread over the rows, as mappings of strings.
    """

    examples: list
    origin: list[int]
    given_up: int
    samples: list[dict[str, str]]

    @classmethod
    def of(cls, originals: Sequence, copies: list[tuple[int, Any]], wanted: int) -> Augmented:
        """From (place of the original, copy), in the originals' order; `wanted` copies of each were asked for."""
        origin, made = [row for row, _ in copies], [copy for _, copy in copies]
        firsts = np.unique(origin, return_index=True)[1]  # one copy of each original
        picked = np.unique(np.linspace(0, len(firsts) - 1, min(_SAMPLES, len(firsts))).round().astype(int))
        samples = [_sample(originals[origin[i]], made[i]) for i in firsts[picked]]
        return cls(made, origin, wanted * len(originals) - len(made), samples)


def _sample(before: Any, after: Any) -> dict[str, str]:
    def shown(text: str | list[str]) -> str:
        words = [text] if isinstance(text, str) else text
        return ("" if any(script_of(word) == "chinese" for word in words) else " ").join(words)

    sample = {"before": shown(before.text), "after": shown(after.text)}
    return sample if before.text_b is None else {**sample, "before_b": before.text_b, "after_b": after.text_b}


def distinct_copies(originals: Mapping[int, Any], copies: int, probability: float, draw: Draw) -> list[tuple[int, Any]]:
    """(row, copy) of up to `copies` copies of each original by row, all different from it and from one another.

    `draw([(row, number of the copy)], probability, attempt)` proposes copies. What is a repetition is drawn again, up
    to three times, with a probability that rises to 1 in equal steps; then the copy is given up.
    """
    made: dict[int, dict[int, Any]] = {row: {} for row in originals}
    pending = [(row, number) for row in originals for number in range(copies)]
    for attempt in range(_ATTEMPTS):
        raised = probability + (1 - probability) * attempt / (_ATTEMPTS - 1)
        repeated = []
        for (row, number), copy in zip(pending, draw(pending, raised, attempt), strict=True):
            if copy == originals[row] or copy in made[row].values():
                repeated.append((row, number))
            else:
                made[row][number] = copy
        pending = repeated
    return [(row, copy) for row, by_number in made.items() for _, copy in sorted(by_number.items())]


def cached(folder: Path, inputs: dict[str, Any], make: Callable[[], Augmented], row_type: type) -> Augmented:
    """What `make()` returns, or what it returned for the same inputs before.

    `inputs` is a JSON mapping, `row_type` the dataclass of the rows. The folder holds one file of JSON lines, the first
    with the SHA-256 of the inputs and of the other lines. If either does not fit, the rows are made and written again.
    """
    path, fingerprint = folder / "augmented.jsonl", _sha256(json.dumps(inputs, sort_keys=True))
    if (kept := _read(path, fingerprint, row_type)) is not None:
        return kept
    result = make()
    rows = zip(result.origin, result.examples, strict=True)
    body = "".join(json.dumps({"origin": origin, **asdict(row)}) + "\n" for origin, row in rows)
    head = {"fingerprint": fingerprint, "sha256": _sha256(body), "given_up": result.given_up, "samples": result.samples}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(head) + "\n" + body)
    return result


def _read(path: Path, fingerprint: str, row_type: type) -> Augmented | None:
    try:
        head, _, body = path.read_text(encoding="utf-8").partition("\n")
        head = json.loads(head)
        if head["fingerprint"] != fingerprint or head["sha256"] != _sha256(body):
            return None
        rows = [json.loads(line, object_hook=_with_tuples) for line in body.splitlines()]
        origin = [row.pop("origin") for row in rows]
        return Augmented([row_type(**row) for row in rows], origin, head["given_up"], head["samples"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _with_tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()

"""Copies of rows that differ from their original and from one another, and the file that keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_text
from .segments import script_of

_ATTEMPTS = 4
_SAMPLES = 20


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
    def of(cls, originals: Sequence, copies: Sequence[list], fields: Sequence[str], wanted: int) -> Augmented:
        """From the copies of each original, of which there should be `wanted`: values of some of its fields."""
        origin = [index for index, values in enumerate(copies) for _ in values]
        made = [
            replace(original, **dict(zip(fields, copy, strict=False)))
            for original, values in zip(originals, copies, strict=True)
            for copy in values
        ]
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


def distinct_copies(
    originals: Sequence[Hashable],
    copies: int,
    probability: float,
    draw: Callable[[list[tuple[int, int]], float, int], Sequence[Any]],
) -> list[list]:
    """Up to `copies` values for each original, all different from it and from one another.

    `draw([(row, copy)], probability, attempt)` proposes values. What is a repetition is drawn again, up to three
    times, with a probability that rises to 1 in equal steps; then the copy is given up.
    """
    made: list[dict[int, Any]] = [{} for _ in originals]
    pending = [(row, copy) for row in range(len(originals)) for copy in range(copies)]
    for attempt in range(_ATTEMPTS):
        raised = probability + (1 - probability) * attempt / (_ATTEMPTS - 1)
        repeated = []
        for (row, copy), value in zip(pending, draw(pending, raised, attempt), strict=True):
            if value == originals[row] or value in made[row].values():
                repeated.append((row, copy))
            else:
                made[row][copy] = value
        pending = repeated
    return [[values[copy] for copy in sorted(values)] for values in made]


def cached(folder: Path, inputs: dict[str, Any], make: Callable[[], Augmented], row_type: type) -> Augmented:
    """What `make()` returns, or what it returned for the same inputs before.

    `inputs` is a JSON mapping, `row_type` the dataclass of the rows. The folder holds one file of JSON lines. The
    first tells the SHA-256 of the inputs and of the other lines; if either does not fit, or the file cannot be
    read, the rows are made and written again.
    """
    path, fingerprint = folder / "augmented.jsonl", _sha256(json.dumps(inputs, sort_keys=True))
    kept = _read(path, fingerprint, row_type)
    if kept is not None:
        return kept
    result = make()
    rows = zip(result.origin, result.examples, strict=True)
    body = "".join(json.dumps({"origin": o, **asdict(e)}) + "\n" for o, e in rows)
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
        rows: list[dict[str, Any]] = [
            {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(line).items()}
            for line in body.splitlines()
        ]
        origin = [row.pop("origin") for row in rows]
        return Augmented([row_type(**row) for row in rows], origin, head["given_up"], head["samples"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()

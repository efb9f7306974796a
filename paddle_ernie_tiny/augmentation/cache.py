"""Augmented rows on disk, known by everything that decided them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ..config import AugmentationSettings
from ..data.readers import Example
from ..data.words import jieba_version
from ..files import sha256, write_text
from .copies import Augmented

_FILE = "augmented.jsonl"
_VERSION = 1  # raise it when the same inputs give other rows


def cache_inputs(
    examples: Sequence, settings: AugmentationSettings, seed: int, masked_lm: str = "", tokenizer: str = ""
) -> dict:
    """Everything that decides the augmented rows: `masked_lm` and `tokenizer` are fingerprints of those.

    Left out is what does not: how many rows a forward has, and which labels the rows are trained on.
    """
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps(dataclasses.astuple(example), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    vectors = settings.word_vectors
    return {
        "version": _VERSION,
        "rows": digest.hexdigest(),
        "settings": settings.model_dump(exclude={"rows_per_batch", "labels", "word_vectors"}),
        "word_vectors": sha256(vectors) if vectors is not None and Path(vectors).is_file() else None,
        "masked_lm": masked_lm,
        "tokenizer": tokenizer,
        "jieba": jieba_version(),
        "seed": seed,
    }


def cached(folder: Path, inputs: dict, make: Callable[[], Augmented], row_type: type = Example) -> Augmented:
    """What `make()` returns, or what it returned for the same inputs before.

    `inputs` is a JSON mapping, as from `cache_inputs`; `row_type` the dataclass of the rows. The folder holds
    one file of JSON lines, the first of which tells the inputs' and the other lines' SHA-256; where either does
    not fit, or the file cannot be read, the rows are made and written anew.
    """
    path, fingerprint = folder / _FILE, _sha256(json.dumps(inputs, sort_keys=True))
    kept = _read(path, fingerprint, row_type)
    if kept is not None:
        return kept
    result = make()
    rows = zip(result.origin, result.examples, strict=True)
    body = "".join(json.dumps({"origin": o, **dataclasses.asdict(e)}) + "\n" for o, e in rows)
    head = {
        "fingerprint": fingerprint,
        "sha256": _sha256(body),
        "given_up": result.given_up,
        "samples": result.samples,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(head) + "\n" + body)
    return result


def _read(path: Path, fingerprint: str, row_type: type) -> Augmented | None:
    try:
        head, _, body = path.read_text(encoding="utf-8").partition("\n")
        head = json.loads(head)
        if head["fingerprint"] != fingerprint or head["sha256"] != _sha256(body):
            return None
        rows = [json.loads(line) for line in body.splitlines()]
        origin = [row.pop("origin") for row in rows]
        return Augmented([_row(row_type, row) for row in rows], origin, head["given_up"], head["samples"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _row(row_type: type, values: dict):
    return row_type(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()

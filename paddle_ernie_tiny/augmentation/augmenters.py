"""The table of augmenters, and their rows on disk, known by everything that decided them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..config import AugmentationSettings
from ..data.words import jieba_version
from ..distributed import main_first
from ..files import sha256, write_text
from ..kinds import Kind
from .copies import AugmentationTeacher, Augmented
from .entities import swap_entities
from .sentences import replace_words

Augmenter = Callable[[Sequence, Sequence[str], AugmentationSettings, int, AugmentationTeacher], Augmented]
AUGMENTERS: dict[str, Augmenter] = {"words": replace_words, "entities": swap_entities}
_VERSION = 1  # raise it when the same inputs give other rows


def augmented_rows(
    kind: Kind,
    folder: Path,
    train: Sequence,
    labels: Sequence[str],
    settings: AugmentationSettings,
    seed: int,
    teacher: AugmentationTeacher,
) -> Augmented:
    """Copies of the training rows by the kind's augmenter, made once for the same inputs and kept in `folder`.

    No inputs are how many rows a forward pass has, and which labels the copies are trained on. Of several processes
    the main one makes the copies, and the others read its file. Raises InputError as the augmenter does.
    """
    digest = hashlib.sha256()
    for example in train:
        digest.update(json.dumps(dataclasses.astuple(example), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    vectors = settings.word_vectors
    inputs = {
        "version": _VERSION,
        "rows": digest.hexdigest(),
        "settings": settings.model_dump(exclude={"rows_per_batch", "labels", "word_vectors"}),
        "word_vectors": sha256(vectors) if vectors is not None and Path(vectors).is_file() else None,
        "jieba": jieba_version(),
        "seed": seed,
        "augmenter": kind.augmenter,
        "labels": list(labels),
        "masked_lm": teacher.model_fingerprint,
        "tokenizer": teacher.tokenizer.fingerprint,
    }
    make = partial(AUGMENTERS[kind.augmenter], train, labels, settings, seed, teacher)
    with main_first():
        return cached(folder, inputs, make, row_type=type(train[0]))


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
    body = "".join(json.dumps({"origin": o, **dataclasses.asdict(e)}) + "\n" for o, e in rows)
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

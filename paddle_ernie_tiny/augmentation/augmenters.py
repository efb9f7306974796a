"""Copies of rows with words replaced as in TinyBERT (arXiv 1909.10351, section 3.2, algorithm 1), or with entities."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..config import AugmentationSettings
from ..data.rows import Example
from ..data.text_tokenizer import TextTokenizer
from ..distributed import main_first
from ..errors import InputError
from ..files import sha256, text_sha256, write_text
from ..kinds.token_classification import entities
from ..seals import DamageError
from .candidates import Word, WordPredictor, analyse, cut_texts, nearest_words, script_of

_VERSION = 1  # raise it when the same inputs give other rows
# Rows that are augmented together: enough to fill batches of similar length, few enough to keep in memory.
_BLOCK_ROWS = 64
AUGMENTED = "augmented.jsonl"
_ATTEMPTS = 4
_SAMPLES = 20
Draw = Callable[[list[tuple[int, int]], float, int], Sequence[Any]]


@dataclass(frozen=True)
class AugmentationRequest:
    """What is augmented and how; `masked_lm` loads the teacher's masked language model, or gives None without one."""

    rows: Sequence
    labels: Sequence[str]
    settings: AugmentationSettings
    seed: int
    tokenizer: TextTokenizer
    masked_lm: Callable[[], Any | None]
    model_fingerprint: str


@dataclass
class Augmented:
    """Augmented rows, without their originals, in the originals' order.

    origin: for each row, the place of its original among the given rows. given_up: copies that were asked for
    and not made. samples: twenty before/after pairs, spread over the rows.
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


def replace_words(request: AugmentationRequest) -> Augmented:
    """Up to `copies_per_row` copies of each row, with words replaced by others that fit their place.

    Each word of a copy is replaced with `replace_probability` by one drawn uniformly from its candidates: what
    the masked LM predicts for its place, and its nearest neighbours among the word vectors if those are given.
    A word without candidates stays. Labels are the originals'. The same rows and seed give the same copies, whatever
    `rows_per_batch`. Raises InputError if masked LM and word vectors are both missing, and as `nearest_words` does.
    """
    masked_lm, settings, rows = request.masked_lm(), request.settings, request.rows
    predict, neighbours = None, {}
    if masked_lm is not None:
        predict = WordPredictor(masked_lm, request.tokenizer, settings.candidates, settings.rows_per_batch)
    elif settings.word_vectors is None:
        what = "there is neither a masked language model nor word vectors to draw replacements from"
        raise InputError(what, "augmentation", "name a model with a masked LM head, or give augmentation.word_vectors")
    if settings.word_vectors is not None:
        cut = cut_texts([text for row in rows for text in row.content if text is not None], settings.language)
        words = {word.lower() for text in cut for _, word, _ in text}
        neighbours = nearest_words(Path(settings.word_vectors), words, settings.candidates)
    copies: list[tuple[int, Example]] = []
    bar_format = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=len(rows), desc="augmenting", bar_format=bar_format, disable=None, leave=False) as bar:
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = dict(enumerate(rows[start : start + _BLOCK_ROWS], start))
            copies += _copies_of_block(request, block, predict, neighbours, bar.update)
            bar.n = start + len(block)
            bar.refresh()
    return Augmented.of(rows, copies, settings.copies_per_row)


def _copies_of_block(
    request: AugmentationRequest,
    block: dict[int, Example],
    predict: WordPredictor | None,
    neighbours: dict[str, list[str]],
    advance: Callable[[float], object],
) -> list[tuple[int, Example]]:
    """(row, copy) of the block's rows by place; `advance` is told how many rows' work is done."""
    settings = request.settings
    contents = {row: [text for text in example.content if text is not None] for row, example in block.items()}
    texts = {row: analyse(content, request.tokenizer, settings.language) for row, content in contents.items()}
    candidates: dict[Word, list[str]] = {}

    def chosen(row: int, copy: int, probability: float, attempt: int) -> list[tuple[Word, float]]:
        """The words that this copy replaces, each with the die in [0, 1) of its candidate."""
        found = []
        for side, text in enumerate(texts[row]):
            rng = np.random.default_rng([request.seed, row, side, copy, attempt])
            replaced, which = rng.random((2, len(text.words)))
            found += [(text.words[i], float(which[i])) for i in np.flatnonzero(replaced < probability)]
        return found

    def draw(pending: list[tuple[int, int]], probability: float, attempt: int) -> list[Example]:
        choices = [chosen(row, copy, probability, attempt) for row, copy in pending]
        new = dict.fromkeys(word for choice in choices for word, _ in choice if word not in candidates)
        candidates.update({word: sorted(neighbours.get(word.text.lower(), [])) for word in new})
        wanted = [word for word in new if word.pieces]
        if predict is not None and wanted:
            share = len(block) / len(wanted) if attempt == 0 else 0.0
            for word, found in zip(wanted, predict(wanted, lambda count: advance(count * share)), strict=True):
                # in an order of its own: rounding may swap words that are equally probable
                candidates[word] = sorted({*found, *candidates[word]})
        drawn = []
        for (row, _), choice in zip(pending, choices, strict=True):
            of_word = [(word, candidates[word], die) for word, die in choice]
            replacements = {word: others[int(die * len(others))] for word, others, die in of_word if others}
            changed: Any = [text.with_words(replacements) for text in texts[row]]
            drawn.append(replace(block[row], **dict(zip(("text", "text_b", "text_c"), changed, strict=False))))
        return drawn

    return distinct_copies(block, settings.copies_per_row, settings.replace_probability, draw)


def swap_entities(request: AugmentationRequest) -> Augmented:
    """Up to `copies_per_row` copies of each token row, with entities replaced by others of the same type.

    Each entity is replaced with `replace_probability` by one drawn uniformly from the different entities of its type
    in all rows, with tags in the scheme of the labels. Copies of rows without entities count as given up. The same
    rows and seed give the same copies. The teacher is not asked. Raises InputError for tags of an unknown scheme.
    """
    rows, labels, settings = request.rows, request.labels, request.settings
    wrong = [name for name in labels if name != "O" and not re.fullmatch(r"[BIMES]-.+", name)]
    if wrong:
        what = f"tag {wrong[0]!r} is of no scheme that is known here"
        raise InputError(what, "task.labels", "use O and BIO, BIOES or BMES tags, such as B-PER and I-PER")
    found = [entities([labels[tag] for tag in row.tags]) for row in rows]
    pool: dict[str, dict[tuple[str, ...], tuple[int, ...]]] = {}  # by type: each entity's words, and their tags
    for row, places in zip(rows, found, strict=True):
        for entity_type, start, end in places:
            tags = _entity_tags(labels, entity_type, end - start)
            if tags is not None:
                pool.setdefault(entity_type, {})[row.words[start:end]] = tags
    ordered = {entity_type: sorted(words) for entity_type, words in pool.items()}

    def draw(pending: list[tuple[int, int]], probability: float, attempt: int) -> list:
        drawn = []
        for row, copy in pending:
            words, tags = list(rows[row].words), list(rows[row].tags)
            dice = np.random.default_rng([request.seed, row, copy, attempt]).random((len(found[row]), 2))
            # from the end, so that places before a replacement stay what they were
            for (entity_type, start, end), (replaced, which) in reversed(list(zip(found[row], dice, strict=True))):
                own = tuple(words[start:end])
                others = [other for other in ordered.get(entity_type, []) if other != own]
                if replaced < probability and others:
                    other = others[int(which * len(others))]
                    words[start:end], tags[start:end] = other, pool[entity_type][other]
            drawn.append(replace(rows[row], words=tuple(words), tags=tuple(tags)))
        return drawn

    copies = distinct_copies(dict(enumerate(rows)), settings.copies_per_row, settings.replace_probability, draw)
    return Augmented.of(rows, copies, settings.copies_per_row)


def _entity_tags(labels: Sequence[str], entity_type: str, length: int) -> tuple[int, ...] | None:
    """The tags of an entity of `length` words in the labels' scheme (BIO, BIOES or BMES); None if there is no such."""
    letters = {name[0] for name in labels}
    inside, single = "M" if "M" in letters else "I", "S" if "S" in letters else "B"
    scheme = [single] if length == 1 else ["B", *[inside] * (length - 2), "E" if "E" in letters else inside]
    names = [f"{letter}-{entity_type}" for letter in scheme]
    return tuple(map(labels.index, names)) if set(names) <= set(labels) else None


AUGMENTERS: dict[str, Callable[[AugmentationRequest], Augmented]] = {"words": replace_words, "entities": swap_entities}


def augmented_rows(request: AugmentationRequest, augmenter: str, folder: Path) -> Augmented:
    """Copies of the rows by the augmenter of that name, made once for the same inputs and kept in `folder`.

    No inputs are how many rows a forward pass has, and which labels the copies are trained on. Of several processes
    the main one makes the copies, and the others read its file. Raises InputError as the augmenter does.
    """
    vectors = request.settings.word_vectors
    inputs = {
        "version": _VERSION,
        "rows": text_sha256(*(json.dumps(astuple(row), ensure_ascii=False) for row in request.rows)),
        "settings": request.settings.model_dump(exclude={"rows_per_batch", "labels", "word_vectors"}),
        "word_vectors": sha256(vectors) if vectors is not None and Path(vectors).is_file() else None,
        "jieba": version("jieba"),
        "seed": request.seed,
        "augmenter": augmenter,
        "labels": list(request.labels),
        "masked_lm": request.model_fingerprint,
        "tokenizer": request.tokenizer.fingerprint,
    }
    with main_first(folder):
        return cached(folder, inputs, lambda: AUGMENTERS[augmenter](request), row_type=type(request.rows[0]))


def cached(folder: Path, inputs: dict[str, Any], make: Callable[[], Augmented], row_type: type) -> Augmented:
    """What `make()` returns, or what it returned for the same inputs before.

    `inputs` is a JSON mapping, `row_type` the dataclass of the rows. The folder holds one file of JSON lines, the first
    with the SHA-256 of the inputs, and that of everything else. If either does not fit, the rows are made and written
    again.
    """

    def with_tuples(row: dict[str, Any]) -> dict[str, Any]:
        return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}

    path, fingerprint = folder / AUGMENTED, text_sha256(json.dumps(inputs, sort_keys=True))
    try:
        head, body = read_augmented(path) if path.exists() else ({}, "")
    except DamageError as damage:
        print(f"  augmented rows: made again; {damage.where}: {damage.what}", flush=True)
        head = {}
    if head.get("fingerprint") == fingerprint:
        rows = [json.loads(line, object_hook=with_tuples) for line in body.splitlines()]
        origin = [row.pop("origin") for row in rows]
        return Augmented([row_type(**row) for row in rows], origin, head["given_up"], head["samples"])
    result = make()
    pairs = zip(result.origin, result.examples, strict=True)
    body = "".join(json.dumps({"origin": origin, **asdict(row)}) + "\n" for origin, row in pairs)
    head = {"fingerprint": fingerprint, "given_up": result.given_up, "samples": result.samples}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({**head, "sha256": text_sha256(json.dumps(head) + body)}) + "\n" + body)
    return result


def read_augmented(path: Path) -> tuple[dict[str, Any], str]:
    """The first line of a file of augmented rows as a mapping, and the other lines. Raises DamageError."""
    try:
        first, _, body = path.read_text(encoding="utf-8").partition("\n")
        head = json.loads(first)
        if isinstance(head, dict) and head.pop("sha256", None) == text_sha256(json.dumps(head) + body):
            return head, body
    except (OSError, ValueError, RecursionError):
        pass
    what, remedy = "the file is damaged: its SHA-256 is not the recorded one", "run the same command again"
    raise DamageError(what, str(path), remedy)

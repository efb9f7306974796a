"""The vocabulary of a run's exported student: the tokens that the run's own texts use, and a reserve (models/prune.py).

No row that is scored decides which tokens stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..config import RunConfig
from ..config.schema import PruningSettings
from ..config.student_settings import VocabularySettings
from ..data.corpus import corpus_files, corpus_fingerprint, read_lines
from ..data.formats import files_of
from ..data.rows import EncodedRows, TokenExample, characters
from ..data.splits import TaskData
from ..data.text_tokenizer import TextTokenizer
from ..data.windows import by_row
from ..deploy.bundle import PrunedVocabulary
from ..deploy.card import pruned_sentence
from ..deploy.export import ExportRequest, export_bundle
from ..deploy.row_files import LabelledRows
from ..errors import Finding, GateError, InputError
from ..models.build import load_tokenizer, read_model_config, resolve_model
from ..models.initialise import start_folder
from ..models.prune import check_positions, kept_tokens, used_tokens, write_pruned
from ..training.inference import predict
from .context import RunContext
from .findings import found
from .steps.classifiers import pretraining_vocabulary, start_vocabulary

_WHERE = "export.prune_vocabulary"
_ROWS = 2000  # tokenised at a time
_UNCUT = 1 << 30  # tokens
_CHEAP_CHARACTERS = 10_000_000  # that preflight tokenises: a few seconds


def further_texts(config: RunConfig) -> list[str]:
    """The paths of the texts whose tokens stay beside those of the task's rows."""
    settings = config.export.prune_vocabulary or PruningSettings()
    if settings.corpus is not None:
        return list(settings.corpus)
    return [config.general_corpus.path] if config.general_corpus else []


def check_pruning(config: RunConfig) -> None:
    """Raises InputError for texts of a pruned vocabulary that are not there, or are a file whose rows are scored."""
    if config.export.prune_vocabulary is None:
        return
    texts = {file.resolve(): path for path in further_texts(config) for file in corpus_files(path)}
    data = config.data
    scored = {"dev": data.dev, "test": data.test, **data.more_tests, **({"train": data.train} if not data.dev else {})}
    for split, given in scored.items() if data.source == "files" else ():
        for file in files_of(given) if given else ():
            if file.resolve() in texts:
                what = (
                    f"it holds {file}, of which rows are scored (data.{split}): they may not decide which tokens stay"
                )
                remedy = "name other texts; the training rows count without being named"
                raise InputError(what, f"{_WHERE}.corpus ({texts[file.resolve()]})", remedy)


def run_tokens(config: RunConfig, data: TaskData, tokenizer: TextTokenizer) -> np.ndarray:
    """The ids of a student's tokenizer that its bundle keeps, int64, rising.

    Those of the training rows, of rows without labels, and of `further_texts`, uncut, and the reserve. Lines that are
    the text of a scored row are passed over. Raises InputError for text that cannot be read.
    """
    settings, used = config.export.prune_vocabulary or PruningSettings(), np.zeros(tokenizer.vocab_size, dtype=bool)
    rows, reading = [*data.train, *(data.pool.rows if data.pool else ())], config.task.long_text or "truncate"
    for first in range(0, len(rows), _ROWS):
        for ids in data.kind.encode(tokenizer, rows[first : first + _ROWS], _UNCUT, reading).input_ids:
            used[ids] = True
    scored = set(map(_plain, chain.from_iterable(_texts(row) for row in _scored_rows(data))))
    lines = (line for path in further_texts(config) for line in read_lines(path) if _plain(line) not in scored)
    return kept_tokens(tokenizer, used | used_tokens(tokenizer, lines), settings.keep)


def _scored_rows(data: TaskData) -> Iterator[Any]:
    return chain(data.dev, data.test, *data.more_tests.values())


def _texts(row: Any) -> list[str]:
    """The texts of a row; of one that is words, these together."""
    return ["".join(row.words)] if isinstance(row, TokenExample) else [text for text in row.content if text]


def _plain(text: str) -> str:
    return "".join(text.split())


def planned_tokenizer(config: RunConfig, data: TaskData) -> TextTokenizer:
    """The tokenizer of a run's one student before anything is trained; a vocabulary that the run makes is made here.

    Raises InputError for models and texts that cannot be read.
    """
    teacher, start = config.teacher, start_folder(config.student)
    if start is not None:
        return load_tokenizer(start)
    if teacher is not None and teacher.model is not None:
        return load_tokenizer(resolve_model(teacher.model))
    if teacher is not None and teacher.pretrain is not None and config.general_corpus is not None:
        return pretraining_vocabulary(teacher.pretrain, config.general_corpus.path)
    return start_vocabulary(config.student.init.vocabulary or VocabularySettings(), data)


def pruning_findings(context: RunContext) -> list[Finding]:
    """How many tokens the exported student keeps, and which dev rows that changes, where counting takes seconds.

    Raises InputError for a model whose tokens cannot be left out so.
    """
    config, data = context.config, context.data
    if config.export.prune_vocabulary is None:
        return []
    rows = chain(data.train, data.pool.rows if data.pool else ())
    size = sum(map(characters, rows))
    size += sum(file.stat().st_size for path in further_texts(config) for file in corpus_files(path))
    why = f"there are {size / 1e6:.0f} MB of text" if size > _CHEAP_CHARACTERS else ""
    why = "the vocabulary is not made yet" if context.teacher_source is None else why
    if why or context.teacher_source is None:
        return [found("tokenizer", f"how many tokens the student keeps is counted at the export: {why}", _WHERE)]
    tokenizer = context.tokenizers["student"]
    kept = run_tokens(config, data, tokenizer)
    model = start_folder(config.student) or context.teacher_source
    check_positions(read_model_config(model)["model_type"], tokenizer, kept, str(model))
    changed = int(_changed(context, "dev", tokenizer.keep(kept.tolist()), kept)[1].sum())
    what = f"the exported student keeps {len(kept)} of {tokenizer.vocab_size} tokens; {changed} of {len(data.dev)} "
    return [found("tokenizer", f"{what}dev rows have one that it does not keep", _WHERE)]


def pruning_inputs(context: RunContext) -> dict[str, Any]:
    """What decides the pruned vocabulary and its figures, for the record of the step that exports; none: {}."""
    settings, pool = context.config.export.prune_vocabulary, context.data.pool
    if settings is None:
        return {}
    texts = [corpus_fingerprint(path) for path in further_texts(context.config)]
    data = {**context.data.fingerprints, **({"unlabelled": pool.fingerprint} if pool else {})}
    how = settings.model_dump(mode="json", exclude={"corpus"})
    return {"prune_vocabulary": {**how, "texts": texts, "data": data, "metric": context.metric}}


def export_pruned(context: RunContext, request: ExportRequest, folder: Path) -> dict[str, Any]:
    """Exports a copy of the request's model without the tokens that the run's texts do not use; `folder` is for it.

    Rows whose tokens are all kept have to be answered as by the whole model's dynamic graph: test rows first; if there
    are none, training rows. Raises GateError as `export_bundle` does, or if the dev metric falls by more than it may.
    """
    kept = run_tokens(context.config, context.data, context.tokenizers["student"])
    copy, whole = folder / "pruned", Path(request.checkpoint)
    shutil.rmtree(copy, ignore_errors=True)
    try:
        sizes = write_pruned(whole, copy, kept)
        splits, changed = _compared(context, request, copy, kept)
        _require_metric(context, splits["dev"], request.out)
        data, chosen = context.data, np.argsort(changed, kind="stable")[: context.config.export.rows]
        rows, same = LabelledRows.of([data.test[i] for i in chosen]), (~changed[chosen]).tolist()
        if changed.all():
            rows = LabelledRows.of(data.train[: context.config.export.rows])
            same = [True] * len(rows.texts)
        vocabulary = {**sizes, "rows_as_before": sum(same), "splits": splits}
        how = {"texts": rows.texts, "texts_b": rows.texts_b, "as_before": same, "vocabulary": vocabulary}
        return export_bundle(replace(request, checkpoint=str(copy), whole=str(whole), **how))
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def pruning_lines(vocabulary: PrunedVocabulary, metric: str, max_drop_points: float) -> list[str]:
    """For the screen: what was left out, and a warning for splits beside dev that lose more than they may."""
    splits = vocabulary["splits"].items()
    fallen = [name for name, part in splits if 100 * (part["score_before"] - part["score_after"]) > max_drop_points]
    warning = f"warning: {metric} falls by more than {max_drop_points:g} points on {', '.join(fallen)}: "
    warning += f"give text that is like these rows ({_WHERE}.corpus)"
    return [pruned_sentence(vocabulary, metric), *([warning] if fallen else [])]


def _changed(
    context: RunContext, split: str, pruned: TextTokenizer, kept: np.ndarray
) -> tuple[EncodedRows, np.ndarray]:
    """A split in a pruned tokenizer's ids, and which of its rows are other tokens than before: bool [rows]."""
    data, task = context.data, context.config.task
    examples = data.more_tests[split] if split in data.more_tests else getattr(data, split)
    before = context.rows(split, "student")
    after = data.kind.encode(pruned, examples, task.max_length_tokens, task.long_text or "truncate")
    old = [kept[ids].tolist() for ids in after.input_ids]
    pairs = zip(_by_row(before, before.input_ids), _by_row(after, old), strict=True)
    return after, np.array([one != other for one, other in pairs], dtype=bool)


def _by_row(rows: EncodedRows, ids: list[list[int]]) -> list[list[list[int]]]:
    """The ids of each row's windows."""
    return [[row] for row in ids] if rows.rows is None else by_row(rows.rows, ids, list)


def _compared(
    context: RunContext, request: ExportRequest, copy: Path, kept: np.ndarray
) -> tuple[dict[str, dict[str, Any]], np.ndarray]:
    """Of every scored split: its rows, how many are changed, the metric before and after; and the changed test rows."""
    data, kind, tokenizer = context.data, request.kind_of_task, load_tokenizer(copy)
    whole, pruned = (context.load_classifier(Path(folder)) for folder in (request.checkpoint, copy))
    size, splits, changed = context.config.stages[-1].training.per_device_eval_batch_size, {}, {}
    for split in ("dev", *([] if data.test_is_dev else ["test"]), *data.more_tests):
        rows, changed[split] = _changed(context, split, tokenizer, kept)
        before = after = context.score(context.predict(whole, split, "student", size, kind))
        if changed[split].any():
            after = context.score(predict(pruned, kind, rows, tokenizer.pad_id, data.labels, size))
        counts = {"rows": len(changed[split]), "rows_changed": int(changed[split].sum())}
        splits[split] = {**counts, "score_before": before, "score_after": after}
    return splits, changed["dev" if data.test_is_dev else "test"]


def _require_metric(context: RunContext, dev: dict[str, Any], out: str) -> None:
    settings = context.config.export.prune_vocabulary
    assert settings is not None, "asked for only where it is configured"
    drop = 100 * (dev["score_before"] - dev["score_after"])
    if drop <= settings.max_drop_points:
        return
    what = (
        f"{context.metric} on {dev['rows']} dev rows falls from {dev['score_before']:.4f} to {dev['score_after']:.4f}, "
    )
    what += (
        f"{drop:.2f} points, with the pruned vocabulary (allowed: {settings.max_drop_points:g}): {dev['rows_changed']} "
    )
    what += "of them have a token that is left out; nothing was exported"
    remedy = f"add text that is like what will be served ({_WHERE}.corpus), keep more tokens ({_WHERE}.keep), or leave "
    raise GateError(what, out, remedy + f"{_WHERE} out")

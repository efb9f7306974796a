"""From text to label: tokenisation, batching and model timed apart, on a data set's own lengths.

Two pipelines. `toolkit` is the bundle's Predictor as it serves: Rust tokenizer, texts of similar length together,
padded to the longest of a batch. `usual` is what one writes first with PaddleNLP: its Python tokenizer, batches in
the file's order, every text padded to the maximal length.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ..defaults import AUTO, BATCH_SIZE, MAX_LENGTH_TOKENS
from ..deploy.bundle import MANIFEST, read_manifest
from ..deploy.engine_choice import open_engine
from ..deploy.predictor import Predictor
from ..deploy.row_files import read_rows, read_texts
from ..engines import ENGINES, Engine
from ..errors import InputError
from ..kinds.metrics import softmax
from .request import BenchRequest, Record, Say, Texts
from .subjects import Subject
from .turns import Candidate, memory_mb, own_process, take_turns, times_as_fast

_LEAST_BATCHES = {"usual": 1, "toolkit": 4}  # a turn of the toolkit needs some batches to sort texts into
_SEED = 11


def read_columns(file: Path, columns: list[str], bundle: str | None = None) -> Texts:
    """Rows of a table's columns (names, or positions from 0); without columns as a bundle's training data, or lines.

    bundle: the first model. Raises InputError for a file that is not there, a column that is not, and empty rows.
    """
    if not columns and bundle is not None and (Path(bundle) / MANIFEST).is_file():
        return read_rows(read_manifest(bundle), file)
    if not columns:
        return read_texts(file)
    if len(columns) > 2:
        raise InputError(f"{len(columns)} columns", "--column", "give one, or two for pairs")
    return read_texts(file, *columns)


def measure_texts(
    request: BenchRequest, usual: Subject, subjects: list[Subject], texts: Texts, say: Say
) -> list[Record]:
    """A record for each number of threads, and each subject in each engine that its bundle was compared in.

    The first is the reference: the usual pipeline around `usual`, in Paddle.
    """
    chosen = [("usual", "paddle", usual)]
    for subject, engine in product(subjects, request.engines):
        if engine == AUTO or engine in read_manifest(subject.folder).runs_in:
            chosen.append(("toolkit", engine, subject))
        else:
            say(f"{subject.label} is left out of {engine} from text to label: its bundle was not compared there")
    records = []
    for threads in request.threads:
        setting = {"device": request.device, "threads": threads, "batch": BATCH_SIZE}
        with ExitStack() as stack:
            running = []
            for name, engine, subject in chosen:
                library = "numpy" if engine == AUTO else ENGINES[engine].library
                how = (threads, library, TextPipeline, name, subject.folder, request.device, threads, texts, engine)
                ask, loaded = stack.enter_context(own_process(f"{name} pipeline of {subject.label} in {engine}", *how))
                ask(TextPipeline.prepare, request.seconds / request.rounds)
                running.append(Candidate(subject, engine, ask, loaded))
            say(f"text to label, {len(texts[0])} rows, {threads} thread(s): {len(running)} pipelines take turns")
            turns = take_turns(request.rounds, running, lambda each, number: each.ask(TextPipeline.time, number))
        for (name, *_), each, own in zip(chosen, running, turns, strict=True):
            records.append(_record(name, each, own, turns[0], setting))
    return records


def _record(
    pipeline: str, candidate: Candidate, turns: list[TextTurn], reference: list[TextTurn], setting: Record
) -> Record:
    """Rows per second and where a row's time goes; `rest`: what is neither tokenizer nor model."""
    rows, seconds = sum(turn.rows for turn in turns), sum(turn.seconds for turn in turns)
    parts = {"tokenise": sum(turn.tokenise for turn in turns), "model": sum(turn.model for turn in turns)}
    parts["rest"] = seconds - sum(parts.values())
    per_row = [[[turn.seconds / turn.rows] for turn in each] for each in (reference, turns)]
    return {
        "pipeline": pipeline,
        "engine": candidate.runs_in,
        **candidate.subject.identity,
        **setting,
        "rows": rows,
        "rows_a_turn": turns[0].rows,
        "items_per_second": rows / seconds,
        "ms_a_text": {part: value / rows * 1e3 for part, value in {"total": seconds, **parts}.items()},
        "share": {part: value / seconds for part, value in parts.items()},
        "times_as_fast": times_as_fast(*per_row),
        "cpu_share": sum(turn.cpu_seconds for turn in turns) / seconds,
        "rss_mb": turns[-1].rss_mb,
        "peak_rss_mb": turns[-1].peak_rss_mb,
        **candidate.loaded,
        "turns": [asdict(turn) for turn in turns],
    }


@dataclass(frozen=True)
class TextTurn:
    """One turn over `rows` texts: seconds in all, and of them in the tokenizer and in the model; memory after it."""

    rows: int
    seconds: float
    cpu_seconds: float
    tokenise: float
    model: float
    rss_mb: float
    peak_rss_mb: float


class TextPipeline:
    """In its process: a way from text to label around a bundle, and the rows that it answers, in one drawn order."""

    def __init__(self, name: str, bundle: Path, device: str, threads: int, texts: Texts, engine: str = "paddle"):
        self.texts, self.least_batches = texts, _LEAST_BATCHES[name]
        self.order = np.random.default_rng(_SEED).permutation(len(texts[0]))
        self.rows_per_turn = min(len(self.order), BATCH_SIZE)
        self.stopwatch = {"tokenise": 0.0, "model": 0.0}
        manifest = read_manifest(bundle)
        opened = open_engine(bundle, manifest, engine, device, threads, manifest.precision)[1]
        model = self._timed(opened, "model")
        if name == "usual":
            from paddlenlp.transformers import BertTokenizer, RobertaBPETokenizer
            from paddlenlp.utils.log import logger

            logger.set_level("ERROR")
            pieces, pairs = bundle / "vocab.txt", [str(bundle / name) for name in ("vocab.json", "merges.txt")]
            theirs = BertTokenizer(str(pieces)) if pieces.is_file() else RobertaBPETokenizer(*pairs)
            tokenise = self._timed(theirs, "tokenise")
            self.answer: Callable[..., list[Any]] = partial(_answer_as_usual, tokenise, model)
        else:
            predictor = Predictor(bundle, device, threads, engine=model)
            tokenizer, self.answer = predictor.tokenizer, predictor.predict
            for method in ("encode", "encode_words"):
                setattr(tokenizer, method, self._timed(getattr(tokenizer, method), "tokenise"))

    def prepare(self, seconds: float) -> None:
        """Warms it up, and finds how many rows it answers in `seconds`: whole batches, or all rows."""
        self.time(0)  # the first call sets the engine up
        turn = self.time(0)
        batches = max(self.least_batches, round(seconds / turn.seconds * turn.rows / BATCH_SIZE))
        self.rows_per_turn = min(len(self.order), batches * BATCH_SIZE)
        if self.rows_per_turn == len(self.order):
            self.time(0)  # over all lengths

    def time(self, turn: int) -> TextTurn:
        """Answers the rows of this turn (from 0)."""
        rows = np.take(self.order, np.arange(self.rows_per_turn) + turn * self.rows_per_turn, mode="wrap")
        texts, texts_b = (None if column is None else [column[row] for row in rows] for column in self.texts)
        self.stopwatch.update(tokenise=0.0, model=0.0)
        busy, start = time.process_time(), time.perf_counter()
        self.answer(texts, texts_b)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        return TextTurn(len(rows), seconds, busy, self.stopwatch["tokenise"], self.stopwatch["model"], *memory_mb())

    def _timed(self, function: Callable[..., Any], part: str) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.stopwatch[part] += time.perf_counter() - start
            return result

        return timed


def _answer_as_usual(tokenise: Any, engine: Engine, texts: list[str], texts_b: list[str] | None) -> list[int]:
    labels = []
    for first in range(0, len(texts), BATCH_SIZE):
        batch = slice(first, first + BATCH_SIZE)
        pair = {} if texts_b is None else {"text_pair": texts_b[batch]}
        rows = tokenise(texts[batch], **pair, max_length=MAX_LENGTH_TOKENS, padding="max_length", truncation=True)
        ids, types = (np.asarray(rows[name], dtype=np.int64) for name in ("input_ids", "token_type_ids"))
        labels += softmax(engine(ids, types)).argmax(-1).tolist()
    return labels

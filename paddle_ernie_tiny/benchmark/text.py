"""From text to label: tokenisation, batching and model timed apart, on a data set's own lengths.

Two pipelines. `toolkit` is the bundle's Predictor as it serves: Rust tokenizer, texts of like length together,
padded to the longest of a batch. `usual` is what one writes first with PaddleNLP: its Python tokenizer, batches in
the file's order, every text padded to the maximal length.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from .models import Model
from .process import Worker
from .statistics import times_as_fast

PIPELINES = ("usual", "toolkit")
USUAL_LENGTH = 128
_LEAST_BATCHES = {"usual": 1, "toolkit": 4}  # a turn of the toolkit needs some batches to sort texts into
_SEED = 11


@dataclass
class Texts:
    """The rows of a data set; `texts_b` for pairs."""

    texts: list[str]
    texts_b: list[str] | None


def read_texts(file: Path, columns: list[str]) -> Texts:
    """Rows of a table's columns (names, or positions from 0), or without columns a text (or pair) a line.

    Raises InputError for a file that is not there, a column that is not, and empty rows.
    """
    from ..data.readers import TableFormat, read_examples
    from ..deploy.commands import read_rows

    if not columns:
        return Texts(*read_rows(file))
    if len(columns) > 2:
        raise InputError(f"{len(columns)} columns", "--column", "give one, or two for pairs")
    names = [int(name) if name.isdigit() else name for name in columns]
    table = TableFormat(text=names[0], text_b=names[1] if len(names) == 2 else None, label=None)
    examples = read_examples(file, table, None, require_label=False)
    return Texts([e.text for e in examples], [e.text_b for e in examples] if len(names) == 2 else None)


# --- in the worker's process ---------------------------------------------------------------------------------


class TextWorker:
    """A pipeline with its rows, in a process of its own."""

    def __init__(self, answer, texts: Texts, stopwatch: dict[str, float]):
        self.answer, self.texts, self.stopwatch = answer, texts, stopwatch

    @classmethod
    def load(cls, pipeline: str, model: str, device: str, threads: int, batch: int, texts: list, texts_b: list | None):
        from .worker import import_engine, resident_mb

        import_engine("paddle")
        before, start, stopwatch = resident_mb(), time.perf_counter(), {"tokenise": 0.0, "model": 0.0}
        build = {"toolkit": _toolkit, "usual": _usual}[pipeline]
        worker = cls(build(Path(model), device, threads, batch, stopwatch), Texts(texts, texts_b), stopwatch)
        return worker, {"load_seconds": time.perf_counter() - start, "rss_before_load_mb": before}

    def time(self, rows: list[int]) -> dict:
        """Answers the rows once: seconds in all, and of them in the tokenizer and in the model."""
        from .worker import peak_mb, resident_mb

        texts = [self.texts.texts[row] for row in rows]
        texts_b = None if self.texts.texts_b is None else [self.texts.texts_b[row] for row in rows]
        self.stopwatch.update(tokenise=0.0, model=0.0)
        busy, start = time.process_time(), time.perf_counter()
        self.answer(texts, texts_b)
        seconds = time.perf_counter() - start
        return {
            "seconds": seconds,
            "cpu_seconds": time.process_time() - busy,
            **self.stopwatch,
            "rss_mb": resident_mb(),
            "peak_rss_mb": peak_mb(),
        }


def _timed(function, stopwatch: dict[str, float], part: str):
    def timed(*args, **kwargs):
        start = time.perf_counter()
        result = function(*args, **kwargs)
        stopwatch[part] += time.perf_counter() - start
        return result

    return timed


def _toolkit(model: Path, device: str, threads: int, batch: int, stopwatch: dict[str, float]):
    from ..deploy.predictor import Predictor

    predictor = Predictor(model, device, threads)
    for name in ("encode", "encode_words"):
        setattr(predictor.tokenizer, name, _timed(getattr(predictor.tokenizer, name), stopwatch, "tokenise"))
    predictor.run = _timed(predictor.run, stopwatch, "model")
    return lambda texts, texts_b: predictor.predict(texts, texts_b, batch)


def _usual(model: Path, device: str, threads: int, batch: int, stopwatch: dict[str, float]):
    from paddlenlp.transformers import BertTokenizer
    from paddlenlp.utils.log import logger

    from ..deploy.bundle import read_manifest
    from ..deploy.predictor import softmax
    from .engines import open_paddle

    logger.set_level("ERROR")
    tokenizer, engine = (
        BertTokenizer(str(model / "vocab.txt")),
        open_paddle(model, device, threads, read_manifest(model).precision),
    )
    tokenise, run = _timed(tokenizer, stopwatch, "tokenise"), _timed(engine, stopwatch, "model")

    def answer(texts, texts_b):
        labels = []
        for start in range(0, len(texts), batch):
            end = start + batch
            pair = {} if texts_b is None else {"text_pair": texts_b[start:end]}
            rows = tokenise(texts[start:end], **pair, max_length=USUAL_LENGTH, padding="max_length", truncation=True)
            ids, types = (np.asarray(rows[name], dtype=np.int64) for name in ("input_ids", "token_type_ids"))
            labels += softmax(run(ids, types)).argmax(-1).tolist()
        return labels

    return answer


# --- in the parent's process ---------------------------------------------------------------------------------


@dataclass
class Pipeline:
    """A pipeline around a model; what takes turns."""

    kind: str
    model: Model
    threads: int
    worker: Worker
    loaded: dict = field(default_factory=dict)
    rows_a_turn: int = 0
    turns: list[dict] = field(default_factory=list)


def measure_text(pipelines: list[tuple[str, Model]], texts: Texts, request, say) -> list[dict]:
    """A record for every pipeline and number of threads; the first pipeline is the reference.

    `request`: a run.Request. Each pipeline answers rows of the data set, drawn in one fixed order, for about
    `request.seconds`; a fast one answers all rows in every turn.
    """
    order = np.random.default_rng(_SEED).permutation(len(texts.texts))
    records = []
    for threads in request.threads:
        with ExitStack() as stack:
            running = [_start(kind, model, texts, threads, request, stack) for kind, model in pipelines]
            say(f"text to label, {len(order)} rows, {threads} thread(s): {len(running)} pipelines take turns")
            for number in range(request.rounds):
                for index in np.roll(np.arange(len(running)), number):
                    pipeline = running[index]
                    first = number * pipeline.rows_a_turn
                    rows = np.take(order, np.arange(first, first + pipeline.rows_a_turn), mode="wrap")
                    pipeline.turns.append({"rows": len(rows), **pipeline.worker.ask("time", rows=rows.tolist())})
            records += [_record(pipeline, running[0], request) for pipeline in running]
    return records


def _start(kind: str, model: Model, texts: Texts, threads: int, request, stack: ExitStack) -> Pipeline:
    batch = request.text_batch
    worker = Worker(f"{kind} pipeline of {model.label}", threads)
    stack.callback(worker.close)
    pipeline = Pipeline(kind, model, threads, worker)
    pipeline.loaded = worker.ask(
        "load",
        subject="text",
        pipeline=kind,
        model=str(model.folder),
        device=request.device,
        threads=threads,
        batch=batch,
        texts=texts.texts,
        texts_b=texts.texts_b,
    )
    total = len(texts.texts)
    sample = list(range(min(total, batch)))
    worker.ask("time", rows=sample)
    seconds = worker.ask("time", rows=sample)["seconds"]  # the second call: the first sets the engine up
    affordable = request.seconds / request.rounds / seconds * len(sample)
    batches = max(_LEAST_BATCHES[kind], round(affordable / batch))
    pipeline.rows_a_turn = min(total, batches * batch)
    if pipeline.rows_a_turn == total:
        worker.ask("time", rows=list(range(total)))  # warm-up over all lengths
    return pipeline


def _record(pipeline: Pipeline, reference: Pipeline, request) -> dict:
    """Rows a second and where a row's time goes; `rest`: what is neither tokenizer nor model."""
    rows = sum(turn["rows"] for turn in pipeline.turns)
    seconds = sum(turn["seconds"] for turn in pipeline.turns)
    parts = {part: sum(turn[part] for turn in pipeline.turns) for part in ("tokenise", "model")}
    parts["rest"] = seconds - sum(parts.values())
    per_row = [
        [[turn["seconds"] / turn["rows"]] for turn in each.turns] for each in (reference, pipeline)
    ]  # a round's one figure
    return {
        "pipeline": pipeline.kind,
        "model": pipeline.model.name,
        "graph": pipeline.model.graph,
        "precision": pipeline.model.precision,
        "device": request.device,
        "threads": pipeline.threads,
        "batch": request.text_batch,
        "rows": rows,
        "rows_a_turn": pipeline.rows_a_turn,
        "items_per_second": rows / seconds,
        "ms_a_text": {"total": seconds / rows * 1e3, **{part: value / rows * 1e3 for part, value in parts.items()}},
        "share": {part: value / seconds for part, value in parts.items()},
        "times_as_fast": times_as_fast(*per_row),
        "cpu_share": sum(turn["cpu_seconds"] for turn in pipeline.turns) / seconds,
        "rss_mb": pipeline.turns[-1]["rss_mb"],
        "peak_rss_mb": pipeline.turns[-1]["peak_rss_mb"],
        **pipeline.loaded,
        "turns": pipeline.turns,
    }

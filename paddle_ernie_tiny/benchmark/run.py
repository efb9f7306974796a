"""The benchmark's schedule: all candidates take turns in every setting, so that drift hits all alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from . import environment as machine
from .engines import check_engines, convert_to_onnx, reads_onnx
from .models import PRECISIONS, Model, default_cache, resolve
from .process import Worker
from .profile import profile_model
from .shapes import POSITIONS
from .statistics import latency, times_as_fast
from .text import Texts, measure_text, read_texts


@dataclass
class Request:
    """What to measure. The first model is the reference that the others are compared with."""

    models: list[str]
    batches: list[int] = field(default_factory=lambda: [1])
    lengths: list[int] = field(default_factory=lambda: [128])
    threads: list[int] = field(default_factory=lambda: [1])
    precisions: list[str] = field(default_factory=lambda: ["fp32"])
    engines: list[str] = field(default_factory=lambda: ["paddle"])
    device: str = "cpu"
    seconds: float = 10.0  # of measuring for each model in each setting
    rounds: int = 5
    cache: Path = field(default_factory=default_cache)
    text: Path | None = None  # a data set, for text to label
    columns: list[str] = field(default_factory=list)
    texts: Texts | None = None  # in place of a file
    label: str | None = None  # its column of labels: bundles are scored too
    text_batch: int = 32
    bare: bool = True  # the models without text around them
    profile: bool = False  # of paddle, with the first batch and length, on one thread


@dataclass
class Candidate:
    """A model in an engine in a process: what takes turns."""

    model: Model
    engine: str
    threads: int
    worker: Worker
    loaded: dict = field(default_factory=dict)

    def start(self, device: str, folder: Path) -> None:
        self.loaded = self.worker.ask(
            "load",
            subject="model",
            engine=self.engine,
            model=str(folder),
            device=device,
            threads=self.threads,
            precision=self.model.precision,
            vocabulary=self.model.tokens,
        )


def check(request: Request) -> None:
    """Raises InputError for what cannot be measured."""
    check_engines(request.engines)
    for option, values in (
        ("--batch", request.batches),
        ("--length", request.lengths),
        ("--threads", request.threads),
    ):
        if not values or min(values) < 1:
            raise InputError(f"not a list of positive numbers: {values}", option, "such as 1,32")
    if max(request.lengths) > POSITIONS:
        raise InputError(f"{max(request.lengths)} tokens are more than {POSITIONS}", "--length", "give less")
    unknown = [name for name in request.precisions if name not in PRECISIONS]
    if unknown:
        raise InputError(f"unknown precision {unknown[0]!r}", "--precision", f"use {' or '.join(PRECISIONS)}")
    if request.device not in ("cpu", "gpu"):
        raise InputError(f"unknown device {request.device!r}", "--device", "use cpu or gpu")


def resolve_all(request: Request, say: Callable[[str], None]) -> list[Model]:
    """The models of a request in its order, each once."""
    models = [model for name in request.models for model in resolve(name, request.precisions, request.cache, say)]
    return list(dict.fromkeys(models))


def measure_models(request: Request, models: list[Model], say: Callable[[str], None] = print) -> list[dict]:
    """A record for every model, engine, number of threads, batch and length (see `_records`)."""
    records = []
    for threads in request.threads:
        candidates = start_candidates(request, models, threads, say)
        try:
            for batch in request.batches:
                for length in request.lengths:
                    say(f"batch {batch}, {length} tokens, {threads} thread(s): {len(candidates)} candidates take turns")
                    measured = [_warm_up(candidate, batch, length) for candidate in candidates]
                    _take_turns(candidates, measured, batch, length, request)
                    records += _records(request, candidates, measured, batch, length)
        finally:
            stop(candidates)
    return records


def start_candidates(request: Request, models: list[Model], threads: int, say) -> list[Candidate]:
    """Every model loaded in every engine that can read it, each in its own process; `stop` ends them."""
    candidates = []
    try:
        for model in models:
            for engine in request.engines:
                folder = model.folder
                if reads_onnx(engine):
                    if model.precision != "fp32":
                        say(f"{model.label} is left out of {engine}: only fp32 graphs are converted")
                        continue
                    folder = convert_to_onnx(model.folder, _onnx_folder(model, request.cache))
                worker = Worker(f"{model.label} in {engine}", threads)
                candidates.append(Candidate(model, engine, threads, worker))
                candidates[-1].start(request.device, folder)
    except BaseException:
        stop(candidates)
        raise
    return candidates


def stop(candidates: list[Candidate]) -> None:
    """Ends the candidates' processes."""
    for candidate in candidates:
        candidate.worker.close()


def _onnx_folder(model: Model, cache: Path) -> Path:
    from ..deploy.bundle import MANIFEST
    from ..files import sha256

    return cache / "onnx" / f"{model.name}-{sha256(model.folder / MANIFEST)[:12]}"


@dataclass
class Turns:
    """What one candidate did in one setting: durations by round, and its CPU time."""

    rounds_ms: list[list[float]] = field(default_factory=list)
    cpu_ms: float = 0.0
    rss_mb: float | None = None
    peak_rss_mb: float | None = None


def _warm_up(candidate: Candidate, batch: int, length: int) -> Turns:
    """Until caches, memory pools and the engine's choice of kernels have settled; nothing of it is kept."""
    candidate.worker.ask("time", batch=batch, length=length, seconds=0.3, least=1)
    return Turns()


def _take_turns(candidates: list[Candidate], measured: list[Turns], batch: int, length: int, request: Request) -> None:
    for number in range(request.rounds):
        order = np.roll(np.arange(len(candidates)), number)  # nobody always runs behind the same neighbour
        for index in order:
            answer = candidates[index].worker.ask(
                "time", batch=batch, length=length, seconds=request.seconds / request.rounds, least=1
            )
            turns = measured[index]
            turns.rounds_ms.append(answer["samples_ms"])
            turns.cpu_ms += answer["cpu_ms"]
            turns.rss_mb, turns.peak_rss_mb = answer["rss_mb"], answer["peak_rss_mb"]


def _records(request: Request, candidates: list[Candidate], measured: list[Turns], batch: int, length: int):
    """One record a candidate; each is compared with the first model in the same engine."""
    reference = {}
    for candidate, turns in zip(candidates, measured, strict=True):
        if candidate.model == candidates[0].model:
            reference[candidate.engine] = turns
    for candidate, turns in zip(candidates, measured, strict=True):
        model = candidate.model
        samples = [sample for own in turns.rounds_ms for sample in own]
        wall = sum(samples)
        figures = latency(samples)
        gflop = model.gflop(length)
        base = reference.get(candidate.engine)
        yield {
            "model": model.name,
            "graph": model.graph,
            "engine": candidate.engine,
            "device": request.device,
            "precision": model.precision,
            "threads": candidate.threads,
            "batch": batch,
            "length": length,
            "latency_ms": figures,
            "items_per_second": batch * 1e3 / figures["mean"],
            "times_as_fast": None if base is None else times_as_fast(base.rounds_ms, turns.rounds_ms),
            "parameters": model.parameters,
            "file_mb": model.file_mb,
            "gflop": None if gflop is None else gflop * batch,
            "gflop_per_second": None if gflop is None else gflop * batch / figures["p50"] * 1e3,
            "rss_mb": turns.rss_mb,
            "peak_rss_mb": turns.peak_rss_mb,
            **candidate.loaded,
            "cpu_share": turns.cpu_ms / wall,
            "random_weights": model.random,
            "rounds_ms": [[round(sample, 4) for sample in own] for own in turns.rounds_ms],
        }


def run(request: Request, say: Callable[[str], None] = print) -> dict:
    """Measures everything that is asked for: {"environment", "models", "records", "text", "profiles", "warnings"}.

    Raises InputError for what cannot be measured, ErnieTinyError when an engine fails.
    """
    check(request)
    texts = read_texts(request.text, request.columns) if request.text is not None else request.texts
    models = resolve_all(request, say)
    pipelines = _pipelines(request, models, say) if texts is not None else []
    environment = machine.describe()
    records = measure_models(request, models, say) if request.bare else []
    text = measure_text(pipelines, texts, request, say) if texts is not None else []
    profiles = []
    if request.profile:
        say(f"profiles of {len(models)} model(s)")
        shape = request.batches[0], request.lengths[0]
        profiles = [profile_model(model, request.device, *shape) for model in models]
    return {
        "environment": environment,
        "models": [{**describe_model(model), **score_model(model, request)} for model in models],
        "records": records,
        "text": text,
        "profiles": profiles,
        "warnings": machine.warnings(environment, records + text),
    }


def _pipelines(request: Request, models: list[Model], say) -> list[tuple[str, Model]]:
    """The usual pipeline around the reference, as it is written, and the toolkit's around every model."""
    reference = models[0]
    if reference.random:
        reference = resolve(f"{reference.name}@fp32@plain", [], request.cache, say)[0]
    return [("usual", reference), *(("toolkit", model) for model in models)]


def describe_model(model: Model) -> dict:
    """Size and work of a model, and how many times fewer weights it has; counted, not measured."""
    return {
        "model": model.name,
        "precision": model.precision,
        "graph": model.graph,
        "parameters": model.parameters,
        "file_mb": model.file_mb,
        "gflop_128_tokens": model.gflop(128),
        "random_weights": model.random,
    }


def score_model(model: Model, request: Request) -> dict:
    """The task's metric of a bundle on the data set's labels, where both are given."""
    if model.random or request.text is None or request.label is None:
        return {}
    from ..deploy.bundle import read_manifest
    from ..deploy.commands import evaluate_bundle

    columns = [*request.columns, None, None]
    threads = max(request.threads)
    found = evaluate_bundle(model.folder, request.text, columns[0], columns[1], request.label, 32, threads)
    metric = read_manifest(model.folder).metric
    return {"metric": metric, "score": found[metric], "scored_rows": found["rows"]}

"""The benchmark: measures models in every setting, and text to label; scores, profiles, files."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path

import psutil

from ..defaults import AUTO
from ..deploy.bundle import read_manifest
from ..deploy.engine_choice import open_fastest
from ..deploy.row_files import evaluate
from ..engines import CONVERTER, ENGINES
from ..errors import ErnieTinyError, InputError
from ..files import require_folder, require_writable, write_json
from ..machine import cpu_flags, describe_machine, git_commit, versions
from ..processes import in_child
from .request import BenchRequest, Record, Say
from .results import write_folder
from .subjects import POSITIONS, PRECISIONS, Subject, onnx_engines, onnx_folder, resolve
from .texts import measure_texts, read_columns
from .turns import Candidate, Turn, inputs, latency, own_process, take_turns, time_model, times_as_fast

_WARM_UP_SECONDS = 0.3
_WARM_UP_CALLS, _PROFILED_CALLS = 3, 20
_INSTRUCTION_SETS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_BUSY_SHARE = 0.10  # of all cores, by other processes, from which on figures are not to be trusted
Report = dict[str, tuple[int, float]]  # operation: (calls, total ms)
# An event of the profiler's report: name, calls, total (ms), least, most, average, share; children are indented.
_EVENT = re.compile(r"^thread\d+::(\S+)\s+(\d+)\s+([\d.e+-]+)(?:\s+[\d.e+-]+){4}\s*$")


def bench(request: BenchRequest, json_file: Path | None = None, out: Path | None = None, say: Say = print) -> Record:
    """Measures everything that is asked for: {"environment", "models", "records", "text", "profiles", "warnings"}.

    Writes the result to `json_file`, and with tables and plots into the folder `out`. Raises InputError for what
    cannot be measured, ErnieTinyError when an engine fails.
    """
    if json_file is not None:
        require_writable(json_file)
    if out is not None:
        require_folder(out)
    _check(request)
    texts = request.texts if request.text is None else read_columns(request.text, request.columns, request.models[0])
    engines = onnx_engines(request.engines)
    named = [resolve(name, request.precisions, request.cache, say, engines) for name in request.models]
    subjects = list(dict.fromkeys(subject for found in named for subject in found))
    usual = subjects[0]
    if texts is not None and usual.random:  # a shape as it is written, without the toolkit's shortcuts
        (usual,) = resolve(f"{usual.name}@fp32@plain", [], request.cache, say, [])
    environment = describe_environment()
    records = measure_models(request, subjects, say) if request.bare else []
    text = measure_texts(request, usual, subjects, texts, say) if texts is not None else []
    profiles = []
    if request.profile:
        say(f"profiles of {len(subjects)} model(s)")
        shape = request.batches[0], request.lengths[0]
        profiles = [profile_model(subject, request.device, *shape) for subject in subjects]
    result = {
        "environment": environment,
        "models": [{**subject.describe(), **_score(subject, request)} for subject in subjects],
        "records": records,
        "text": text,
        "profiles": profiles,
        "warnings": warnings(environment, records + text),
    }
    if json_file is not None:
        write_json(json_file, result)
    if out is not None:
        write_folder(result, out)
    return result


def _check(request: BenchRequest) -> None:
    words = {"--engine": (request.engines, (*ENGINES, AUTO)), "--precision": (request.precisions, PRECISIONS)}
    for option, (names, known) in words.items():
        if not names:
            raise InputError("nothing is named", option, f"choose from {', '.join(known)}")
    for name in request.engines:
        if name == AUTO:
            continue
        if name not in ENGINES:
            raise InputError(f"unknown engine {name!r}", "--engine", f"choose from {', '.join((*ENGINES, AUTO))}")
        ENGINES[name].require_packages("--engine", "bench")
    lists = {"--batch": request.batches, "--length": request.lengths, "--threads": request.threads}
    for option, values in lists.items():
        if not values or min(values) < 1:
            raise InputError(f"not a list of positive numbers: {values}", option, "such as 1,32")
    if max(request.lengths) > POSITIONS:
        raise InputError(f"{max(request.lengths)} tokens are more than {POSITIONS}", "--length", "give less")
    unknown = [name for name in request.precisions if name not in PRECISIONS]
    if unknown:
        raise InputError(f"unknown precision {unknown[0]!r}", "--precision", f"use {' or '.join(PRECISIONS)}")
    if request.device not in ("cpu", "gpu"):
        raise InputError(f"unknown device {request.device!r}", "--device", "use cpu or gpu")


def describe_environment() -> Record:
    """CPU, instruction sets that decide speed, versions, commit, and the load just before the start."""
    values = describe_machine()
    values.pop("threads")  # each record has its own
    return {
        **values,
        "instruction_sets": [name for name in _INSTRUCTION_SETS if name in cpu_flags()],
        "versions": {
            **values["versions"],
            **versions(sorted({*CONVERTER, *(row.library for row in ENGINES.values())})),
        },
        "git_commit": git_commit(),
        "load_average": list(psutil.getloadavg()),
        "busy_share": round(psutil.cpu_percent(interval=1.0) / 100, 3),  # while this process sleeps
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def warnings(environment: Record, records: list[Record]) -> list[str]:
    """What makes the figures doubtful, in sentences."""
    found = []
    busy = environment["busy_share"]
    if busy is not None and busy > _BUSY_SHARE:
        found.append(f"other processes used {busy:.0%} of the machine at the start; run it again when it is idle")
    shares = [r["cpu_share"] for r in records if r["threads"] == 1 and r["cpu_share"] is not None]
    waited = [share for share in shares if share < 0.9]
    if waited:
        found.append(
            f"{len(waited)} of {len(records)} measurements had to wait for a core (the worst had one for "
            f"{min(waited):.0%} of its time): other processes were active"
        )
    return found


def measure_models(request: BenchRequest, subjects: list[Subject], say: Say) -> list[Record]:
    """A record for each model, engine, number of threads, batch and length (see `_record`)."""
    records = []
    for threads in request.threads:
        with ExitStack() as stack:
            running = load(request, subjects, threads, stack, say)
            for batch, length in product(request.batches, request.lengths):
                say(f"batch {batch}, {length} tokens, {threads} thread(s): {len(running)} candidates take turns")
                setting = {"device": request.device, "threads": threads, "batch": batch, "length": length}
                for each in running:  # until caches, memory pools and the choice of kernels have settled
                    _time(batch, length, _WARM_UP_SECONDS, each)
                measure = partial(_time, batch, length, request.seconds / request.rounds)
                own = list(zip(running, take_turns(request.rounds, running, measure), strict=True))
                first = {each.runs_in: found for each, found in own if each.subject == subjects[0]}
                records += [_record(each, found, first.get(each.runs_in), setting) for each, found in own]
    return records


def _time(batch: int, length: int, seconds: float, candidate: Candidate, _round: int = 0) -> Turn:
    return candidate.ask(time_model, candidate.subject.tokens, batch, length, seconds)


def load(request: BenchRequest, subjects: list[Subject], threads: int, stack: ExitStack, say: Say) -> list[Candidate]:
    """Every model loaded in every engine that can read it, each in its own process, which `stack` ends."""
    running = []
    for subject, name in product(subjects, request.engines):
        folder = subject.folder
        if name != AUTO and ENGINES[name].reads_onnx and name not in read_manifest(folder).runs_in:
            if subject.precision != "fp32":
                say(f"{subject.label} is left out of {name}: its bundle was not compared there")
                continue
            folder = onnx_folder(subject, request.cache)
        library, open_it = ("numpy", open_fastest) if name == AUTO else (ENGINES[name].library, ENGINES[name].open)
        how = (threads, library, open_it, folder, request.device, threads, subject.precision)
        if name == AUTO:
            with own_process(f"the choice of {subject.label}'s engine", *how):
                pass  # measured and kept, if it was not before: the process below opens the fastest alone
        ask, loaded = stack.enter_context(own_process(f"{subject.label} in {name}", *how))
        loaded["first_call_ms"] = ask(time_model, subject.tokens, 1, 16).samples_ms[0]
        running.append(Candidate(subject, name, ask, loaded))
    return running


def _record(candidate: Candidate, turns: list[Turn], reference: list[Turn] | None, setting: Record) -> Record:
    """Speed, work and memory of a model in a setting; `reference`: turns of the first model in the same engine."""
    subject, batch = candidate.subject, setting["batch"]
    rounds = [turn.samples_ms for turn in turns]
    samples = [sample for own in rounds for sample in own]
    figures, gflop = latency(samples), subject.gflop(setting["length"])
    return {
        **subject.describe(),
        "engine": candidate.runs_in,
        **setting,
        "latency_ms": figures,
        "items_per_second": batch * 1e3 / figures["mean"],
        "times_as_fast": reference and times_as_fast([turn.samples_ms for turn in reference], rounds),
        "gflop": None if gflop is None else gflop * batch,
        "gflop_per_second": None if gflop is None else gflop * batch / figures["p50"] * 1e3,
        "rss_mb": turns[-1].rss_mb,
        "peak_rss_mb": turns[-1].peak_rss_mb,
        **candidate.loaded,
        "cpu_share": sum(turn.cpu_ms for turn in turns) / sum(samples),
        "rounds_ms": [[round(sample, 4) for sample in own] for own in rounds],
    }


def _score(subject: Subject, request: BenchRequest) -> Record:
    """The task's metric of a bundle on the data set's labels, if both are given."""
    if subject.random or request.text is None or request.label is None:
        return {}
    text, text_b, *_ = [*request.columns, None, None]
    found = evaluate(subject.folder, request.text, text, text_b, request.label, threads=max(request.threads))
    metric = read_manifest(subject.folder).metric
    return {"metric": metric, "score": found[metric], "scored_rows": found["rows"]}


def profile_model(subject: Subject, device: str, batch: int, length: int) -> Record:
    """The operations of one call on one thread, by time: {"operations": [{"operation", "calls", "ms", "share"}]}.

    Two processes are profiled, of which one makes 20 more calls; the difference is free of loading and of the first
    calls, in which kernels are made. Raises ErnieTinyError when the engine writes no profile.
    """
    how = subject.folder.resolve(), device, subject.precision, subject.tokens, batch, length
    few, many = (
        parse_report(in_child("profile", _profiled_calls, *how, calls, environment={"OMP_NUM_THREADS": "1"}))
        for calls in (_WARM_UP_CALLS, _WARM_UP_CALLS + _PROFILED_CALLS)
    )
    if not few or not many:
        raise ErnieTinyError("the profile failed: no profile was written", subject.label)
    return {**subject.identity, "batch": batch, "length": length, "operations": difference(few, many, _PROFILED_CALLS)}


def parse_report(report: str) -> Report:
    """The operations in the profiler's text."""
    found = (_EVENT.match(line) for line in report.splitlines())
    return {event[1]: (int(event[2]), float(event[3])) for event in found if event}


def difference(few: Report, many: Report, calls: int) -> list[Record]:
    """Operations of one call, the longest first: what `many` has beyond `few`, over `calls`."""
    operations: list[Record] = []
    for name, (count, total) in many.items():
        count_few, total_few = few.get(name, (0, 0.0))
        if count > count_few:  # loading happens once in both
            ms = max(0.0, total - total_few) / calls  # noise may make a tiny one negative
            operations.append({"operation": name, "calls": (count - count_few) / calls, "ms": ms})
    whole = sum(entry["ms"] for entry in operations) or 1.0
    operations.sort(key=lambda entry: -entry["ms"])
    return [{**entry, "share": entry["ms"] / whole} for entry in operations]


def _profiled_calls(folder: Path, device: str, precision: str, tokens: int, batch: int, length: int, calls: int) -> str:
    """In the child process: the profiler's text about some calls."""
    from paddle import inference

    from ..engines import PaddleEngine, paddle_config

    config = paddle_config(folder, device, 1, precision)
    config.enable_profile()
    engine = PaddleEngine(inference.create_predictor(config))
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # the profiler also writes a profile.log where it is
        for _ in range(calls):
            engine(*inputs(tokens, batch, length))
        with open("report.txt", "w", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            del engine  # Paddle prints the profile when the engine goes
            gc.collect()
            ctypes.CDLL(None).fflush(None)  # what C++ prints waits in the C library
        return Path("report.txt").read_text(encoding="utf-8", errors="replace")

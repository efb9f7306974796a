"""Do all ways to serve a bundle give the same answers?

    python benchmarks/serving_agreement.py --bundle BUNDLE --file test.tsv --text text_a --label label \\
        --serving-python PYTHON --json OUT.json

Asks every way that is there, row by row of a labelled file: the Predictor; Paddle Serving (in an environment of its
own, --serving-python: the Python where the requirements.txt of the exported folder is installed); the HTTP server
`ernie-tiny serve`; ONNX Runtime on a model that --onnx names. Writes, for each pair of ways, on how many rows the
labels are the same and the largest difference of a probability.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddle_ernie_tiny.data.tokenization import pad_batch
from paddle_ernie_tiny.deploy.bundle import read_manifest
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.deploy.row_files import read_labelled
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds.metrics import softmax
from paddle_ernie_tiny.machine import tune_process
from paddle_ernie_tiny.paddle_serving.serving_folder import export_paddle_serving

BATCH = 100  # rows per request


@dataclass
class Job:
    """The rows, and where the ways that are not in this process find their parts."""

    bundle: Path
    labels: list[str]
    texts: list[str]
    texts_b: list[str] | None
    serving_python: str | None
    http_url: str | None
    onnx: Path | None


def main() -> None:
    """Parses the arguments, asks, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--file", type=Path, required=True, help="labelled tsv, csv or jsonl file")
    parser.add_argument("--text", help="column of the text; default: as in training")
    parser.add_argument("--text-b", help="column of the second text")
    parser.add_argument("--label", help="column of the label")
    parser.add_argument("--serving-python", help="Python of an environment with Paddle Serving")
    parser.add_argument("--onnx", type=Path, help="the bundle as an ONNX model")
    parser.add_argument("--http-url", help="a server of this bundle that runs; default: one is started")
    parser.add_argument("--no-http", action="store_true", help="leave out `ernie-tiny serve`")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    tune_process()
    result = compare(args)
    print(json.dumps(result, indent=1, ensure_ascii=False))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def compare(args: argparse.Namespace) -> dict:
    """Rows, each way's accuracy and seconds, and how each pair of ways agrees."""
    job, gold = read_job(args)
    ways: dict[str, Callable[[Job], np.ndarray]] = {"predictor": by_predictor}
    if args.serving_python:
        ways["paddle_serving"] = by_paddle_serving
    if not args.no_http:
        ways["http"] = by_http
    if args.onnx:
        ways["onnx"] = by_onnx
    found, about = {}, {}
    for name, ask in ways.items():
        start = time.perf_counter()
        found[name] = ask(job)
        accuracy = float((found[name].argmax(-1) == gold).mean())
        about[name] = {"accuracy": accuracy, "seconds": round(time.perf_counter() - start, 1)}
    pairs = [
        {
            "ways": [a, b],
            "same_label": int((found[a].argmax(-1) == found[b].argmax(-1)).sum()),
            "largest_probability_difference": float(np.abs(found[a] - found[b]).max()),
        }
        for a, b in itertools.combinations(found, 2)
    ]
    return {"rows": len(gold), "file": args.file.name, "ways": about, "pairs": pairs}


def read_job(args: argparse.Namespace) -> tuple[Job, np.ndarray]:
    """The rows of the file as the toolkit reads them, and their labels [rows]."""
    manifest = read_manifest(args.bundle)
    if not manifest.task_type.endswith("classification") or manifest.task_type == "token_classification":
        raise InputError(f"task type {manifest.task_type!r}", str(args.bundle), "give a classifier's bundle")
    rows = read_labelled(manifest, args.file, args.text, args.text_b, args.label)
    job = Job(args.bundle, manifest.labels, rows.texts, rows.texts_b, args.serving_python, args.http_url, args.onnx)
    return job, np.array(rows.gold)


def by_predictor(job: Job) -> np.ndarray:
    """Probabilities [rows, labels] by the Predictor."""
    return softmax(Predictor(job.bundle).logits(job.texts, job.texts_b))


def by_paddle_serving(job: Job) -> np.ndarray:
    """The same from an exported folder, started on free ports, over HTTP."""
    with tempfile.TemporaryDirectory() as temporary:
        http_port, rpc_port = free_port(), free_port()
        folder = export_paddle_serving(job.bundle, Path(temporary).resolve() / "serving", http_port, rpc_port)
        environment = {**os.environ, "PYTHON": str(job.serving_python)}
        subprocess.run([folder / "start.sh"], env=environment, check=True)
        try:
            spec = importlib.util.spec_from_file_location("serving_client", folder / "client.py")
            assert spec is not None and spec.loader is not None, "client.py is a Python file"
            client = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(client)
            url = f"http://127.0.0.1:{http_port}"
            return in_requests(job, lambda texts, texts_b: client.ask_http(url, texts, texts_b))
        finally:
            subprocess.run([folder / "stop.sh"], check=True)


def by_http(job: Job) -> np.ndarray:
    """The same from `ernie-tiny serve`."""
    with nullcontext(job.http_url) if job.http_url else http_server(job.bundle) as url:

        def ask(texts, texts_b):
            inputs = (
                texts if texts_b is None else [{"text": a, "text_b": b} for a, b in zip(texts, texts_b, strict=True)]
            )
            body = json.dumps({"texts": inputs}).encode()
            request = urllib.request.Request(f"{url}/v1/predict", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["results"]

        return in_requests(job, ask)


@contextmanager
def http_server(bundle: Path) -> Iterator[str]:
    """A running `ernie-tiny serve`, by its URL."""
    port = free_port()
    command = [sys.executable, "-m", "paddle_ernie_tiny", "serve", str(bundle), "--port", str(port)]
    server = subprocess.Popen(command)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
                break
            except OSError:
                if server.poll() is not None:
                    raise RuntimeError(f"`ernie-tiny serve` ended with exit code {server.returncode}") from None
                time.sleep(0.1)
        yield url
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def by_onnx(job: Job) -> np.ndarray:
    """The same from ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(job.onnx), providers=["CPUExecutionProvider"])
    predictor = Predictor(job.bundle)
    tokenizer, length = predictor.tokenizer, predictor.manifest.max_length_tokens
    encoded = tokenizer.encode(job.texts, job.texts_b, max_length=length)
    order = np.argsort([len(ids) for ids in encoded.input_ids], kind="stable")
    logits = np.empty((len(order), len(job.labels)), dtype=np.float32)
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        feeds = {
            "input_ids": pad_batch([encoded.input_ids[i] for i in rows], tokenizer.pad_id),
            "token_type_ids": pad_batch([encoded.token_type_ids[i] for i in rows], 0),
        }
        (logits[rows],) = session.run(None, feeds)
    return softmax(logits)


def in_requests(job: Job, ask: Callable[[list[str], list[str] | None], list[dict]]) -> np.ndarray:
    """Probabilities [rows, labels] out of JSON answers to BATCH rows per request."""
    answers = []
    for start in range(0, len(job.texts), BATCH):
        part = slice(start, start + BATCH)
        answers += ask(job.texts[part], None if job.texts_b is None else job.texts_b[part])
    return np.array([[answer["probabilities"][label] for label in job.labels] for answer in answers])


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("", 0))
        return any_port.getsockname()[1]


if __name__ == "__main__":
    main()

"""What does HTTP cost over the predictor itself, and what happens when more comes than the server can do?

    python benchmarks/http_server.py --texts FILE.tsv --vocab FOLDER --json OUT.json

A student of 4 layers and width 312 (random weights: speed does not depend on them) is exported and served on one core;
the client has the other one. Every request holds one real text. The measurements, one after another:

own         the predictor by itself on that core: the same rows, batch size, one thread; before and after the rest.
saturation  `--connections` clients that ask again as soon as they are answered.
half        requests at half of that rate, at random times (a Poisson process) and, apart, at even intervals.
triple      three times that rate, whether answered or not; the server's memory before, during, after; then
            saturation again.
shapes      the engine's memory: a predictor that runs every pair of batch size and length that the server can come
            to, in three passes; what is added for a shape is added once.

Latencies are seen by the client, from the moment a request is due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from paddle_ernie_tiny.machine import import_paddle, tune_process

SERVER_CORE, CLIENT_CORE = 0, 1


def main() -> None:
    """Parses the arguments, measures, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="tsv file with a header")
    parser.add_argument("--text", default="text_a", help="its column of texts (default: %(default)s)")
    parser.add_argument("--vocab", type=Path, required=True, help="folder with vocab.txt")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    header, *lines = args.texts.read_text(encoding="utf-8").splitlines()
    column = header.split("\t").index(args.text)
    texts = [line.split("\t")[column] for line in lines[: args.rows]]
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, texts, Path(folder))
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(args: argparse.Namespace, texts: list[str], folder: Path) -> dict:
    """All measurements, and what they were made with."""
    bundle = folder / "student"
    run_python(
        f"from http_server import export_student; export_student({str(args.vocab.resolve())!r}, {str(bundle)!r})"
    )
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    own = f"from http_server import own_rate; own_rate({str(bundle)!r}, {args.batch_size})"
    before = told("own", json.loads(run_python(own, SERVER_CORE)))
    with open(folder / "server.log", "w+", encoding="utf-8") as log:
        command = [sys.executable, "-m", "paddle_ernie_tiny", "serve", str(bundle), "--port", "0"]
        command += ["--batch-size", str(args.batch_size)]
        start = time.perf_counter()
        server = subprocess.Popen(command, stdout=log, preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}))
        try:
            port = wait_for_port(folder / "server.log")
            os.sched_setaffinity(0, {CLIENT_CORE})
            asyncio.run(answers_once(port, texts[0]))
            first_answer = time.perf_counter() - start
            served = asyncio.run(load(args, texts, port, server.pid))
        finally:
            server.send_signal(signal.SIGTERM)
            exit_code = server.wait()
    after = told("own", json.loads(run_python(own, SERVER_CORE)))
    shapes = f"from http_server import memory_of_shapes; memory_of_shapes({str(bundle)!r}, {args.batch_size})"
    own_rows = (before["rows_per_second"] + after["rows_per_second"]) / 2
    return {
        "own": {"before": before, "after": after},
        **served,
        "share_of_own_rate": round(served["saturation"]["rows_per_second"] / own_rows, 3),
        "seconds_to_first_answer": round(first_answer, 2),
        "exit_code": exit_code,
        "shapes": told("shapes", json.loads(run_python(shapes, SERVER_CORE))),
        "settings": {key: value for key, value in vars(args).items() if isinstance(value, int | float)},
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()},
    }


async def load(args: argparse.Namespace, texts: list[str], port: int, pid: int) -> dict:
    """Saturation, half, triple, saturation again."""
    client = Client(port, [request_bytes(text) for text in texts])
    await client.closed(args.connections, args.seconds)  # warm: the engine prepares itself for every shape once
    saturation = await client.closed(args.connections, args.seconds)
    rate = saturation["rows_per_second"]
    half = {
        "poisson": await client.open(rate / 2, args.seconds, even=False),
        "even": await client.open(rate / 2, args.seconds, even=True),
    }
    memory = [memory_mb(pid)]
    triple = []
    for _ in range(3):
        triple.append(await client.open(3 * rate, args.seconds, even=False))
        memory.append(memory_mb(pid))
    again = await client.closed(args.connections, args.seconds)
    memory.append(memory_mb(pid))
    await client.close()
    return {
        "saturation": saturation,
        "half": half,
        "triple": triple,
        "resident_mb": {"before_triple": memory[0], "after_each_triple": memory[1:4], "after_saturation": memory[4]},
        "saturation_after_triple": again,
    }


class Connection(asyncio.Protocol):
    """One keep-alive connection that asks one thing at a time."""

    def connection_made(self, transport) -> None:
        self.transport, self.buffer, self.lost = transport, b"", False
        self.waiting: asyncio.Future[int] | None = None

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """The status of the answer, read to its end."""
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.waiting

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, blank, body = self.buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self.buffer = b""
            assert self.waiting is not None, "the server answers only what it was asked"
            self.waiting.set_result(int(head[9:12]))

    def connection_lost(self, error) -> None:
        self.lost = True
        if self.waiting and not self.waiting.done():
            self.waiting.set_exception(error or ConnectionError("closed by the server"))


class Client:
    """Sends the requests in turn, closed loop or open loop."""

    def __init__(self, port: int, requests: list[bytes]):
        self.port, self.requests, self.sent = port, requests, 0
        self.idle: list[Connection] = []

    async def closed(self, connections: int, seconds: float) -> dict:
        """Every connection asks again as soon as it is answered."""
        found, end = [], time.perf_counter() + seconds

        async def ask_again_and_again():
            while time.perf_counter() < end:
                found.append(await self._ask(time.perf_counter()))

        start = time.perf_counter()
        await asyncio.gather(*[ask_again_and_again() for _ in range(connections)])
        return told("closed", summary(found, time.perf_counter() - start))

    async def open(self, rate: float, seconds: float, even: bool) -> dict:
        """Requests at a rate, whether the earlier ones are answered or not."""
        chance, tasks = random.Random(0), set()
        found: list[tuple[int, float]] = []

        async def ask(due):
            found.append(await self._ask(due))

        start = due = time.perf_counter()
        while due < start + seconds:
            await asyncio.sleep(max(0, due - time.perf_counter()))
            task = asyncio.create_task(ask(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += 1 / rate if even else chance.expovariate(rate)
        await asyncio.gather(*tasks)
        seconds = time.perf_counter() - start
        offered = {"offered_per_second": round(rate, 1)}
        return told("even" if even else "poisson", {**offered, **summary(found, seconds)})

    async def _ask(self, due: float) -> tuple[int, float]:
        connection = None
        while self.idle and (connection is None or connection.lost):  # the server closes what is idle for long
            connection = self.idle.pop()
        if connection is None or connection.lost:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.port)
        request = self.requests[self.sent % len(self.requests)]
        self.sent += 1
        status = await connection.ask(request)
        self.idle.append(connection)
        return status, time.perf_counter() - due

    async def close(self) -> None:
        for connection in self.idle:
            connection.transport.close()
        await asyncio.sleep(0.1)


def summary(found: list[tuple[int, float]], seconds: float) -> dict:
    """Statuses, rows per second, and percentiles in ms of those that were answered with 200."""
    good = sorted(latency * 1000 for status, latency in found if status == 200)
    refused = sorted(latency * 1000 for status, latency in found if status != 200)
    result: dict[str, Any] = {
        "statuses": dict(sorted(Counter(status for status, _ in found).items())),
        "rows_per_second": round(len(good) / seconds, 1),
        "latency_ms": {f"p{p}": round(good[int((len(good) - 1) * p / 100)], 1) for p in (50, 90, 99)},
    }
    result["p99_over_median"] = round(result["latency_ms"]["p99"] / result["latency_ms"]["p50"], 2)
    if refused:
        result["refusal_ms"] = {f"p{p}": round(refused[int((len(refused) - 1) * p / 100)], 1) for p in (50, 99)}
    return result


def told(kind: str, result: dict) -> dict:
    """The result, which is also shown as it comes."""
    print(kind, json.dumps(result), file=sys.stderr, flush=True)
    return result


def request_bytes(text: str) -> bytes:
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def answers_once(port: int, text: str) -> None:
    """One request, answered with 200."""
    client = Client(port, [request_bytes(text)])
    status, _ = await client._ask(0)
    await client.close()
    if status != 200:
        raise RuntimeError(f"the first answer has status {status}")


def wait_for_port(log: Path) -> int:
    """The port, as the server's log names it."""
    while True:
        for line in log.read_text(encoding="utf-8").splitlines():
            if '"listening"' in line:
                return int(json.loads(line)["url"].rsplit(":", 1)[1])
        time.sleep(0.02)


def memory_mb(pid: int) -> int:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1024


def run_python(code: str, core: int | None = None) -> str:
    """The last line that a child process prints, on one core if asked."""
    pin = None if core is None else (lambda: os.sched_setaffinity(0, {core}))
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, preexec_fn=pin, cwd=Path(__file__).parent
    )
    if done.returncode:
        raise RuntimeError("the child process failed; its error is above")
    return (done.stdout.splitlines() or [""])[-1]


def own_rate(bundle: str, batch_size: int) -> None:
    """Child process: rows per second of the predictor by itself, over all texts, as JSON."""
    tune_process()
    import_paddle()
    from paddle_ernie_tiny.deploy.predictor import Predictor

    texts = json.loads(Path(bundle).with_name("texts.json").read_text(encoding="utf-8"))
    predictor = Predictor(bundle)
    predictor.predict(texts, batch_size=batch_size)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        predictor.predict(texts, batch_size=batch_size)
        seconds.append(round(time.perf_counter() - start, 3))
    print(json.dumps({"rows_per_second": round(len(texts) / sorted(seconds)[1], 1), "seconds": seconds}))


def memory_of_shapes(bundle: str, batch_size: int) -> None:
    """Child process: resident memory before any shape and after each of three passes over all of them, as JSON."""
    tune_process()
    import_paddle()
    import numpy as np

    from paddle_ernie_tiny.deploy.bundle import read_manifest
    from paddle_ernie_tiny.deploy.server.bundle_queue import LENGTH_MULTIPLE
    from paddle_ernie_tiny.engines import open_paddle

    manifest, chance = read_manifest(bundle), np.random.default_rng(0)
    engine = open_paddle(Path(bundle), "cpu", 1, manifest.precision)
    longest = manifest.max_length_tokens
    shapes = [(b, n) for b in range(1, batch_size + 1) for n in range(LENGTH_MULTIPLE, longest + 1, LENGTH_MULTIPLE)]
    memory = [memory_mb(os.getpid())]
    for _ in range(3):
        chance.shuffle(shapes)
        for shape in shapes:
            ids = chance.integers(1000, 2000, shape)
            engine(ids, np.zeros_like(ids))
        memory.append(memory_mb(os.getpid()))
    print(json.dumps({"shapes": len(shapes), "resident_mb": {"before": memory[0], "after_each_pass": memory[1:]}}))


def export_student(vocab: str, out: str) -> None:
    """Child process: a 4-layer, 312-wide classifier with random weights, exported to `out`."""
    tune_process()
    from paddle_ernie_tiny.config.schema import ModelShape
    from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
    from paddle_ernie_tiny.deploy.export import ExportRequest, export_bundle
    from paddle_ernie_tiny.models.build import build_masked_lm, build_student
    from paddle_ernie_tiny.models.weights import save_model

    base, student = (Path(out).with_name(name) for name in ("base", "checkpoint"))
    tokenizer, labels = WordPieceTokenizer.from_folder(vocab), ["negative", "positive"]
    save_model(build_masked_lm(tokenizer.vocab_size, ModelShape(num_hidden_layers=1)), tokenizer, base)
    save_model(build_student(base, ModelShape(num_hidden_layers=4, hidden_size=312), labels), tokenizer, student)
    export_bundle(
        ExportRequest(
            checkpoint=str(student),
            out=out,
            task="speed",
            labels=labels,
            metric="accuracy",
            kind="classification",
            unit=None,
            max_length_tokens=128,
            texts=["房间很宽敞", "服务不好"],
            texts_b=None,
            tolerance=1e-4,
            table={},
        )
    )


if __name__ == "__main__":
    main()

"""Hostile HTTP requests to a real server: schemathesis on its OpenAPI document, and bytes on raw sockets."""

from __future__ import annotations

import json
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from hypothesis import strategies as st

from tests.bundles import bundles_in
from tests.serving import serving

from .generated import HOSTILE, draw, edited
from .harness import Outcome, Part

_WITHIN_SECONDS, _QUIET_SECONDS = 5.0, 0.4
_LEAK = re.compile(rb"/tmp/|/root|/home/|site-packages|Traceback|File \"|paddle_ernie_tiny|\.py\b|0x7f", re.IGNORECASE)
_HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
_GOOD = json.dumps({"model": "classification", "text": "房间很宽敞"}, ensure_ascii=False).encode()
# Answers to what is no request of the document: broken HTTP, other paths and methods.
_ALWAYS = {400, 404, 405, 408, 413, 414, 415, 431, 501, 505, 503}


def _posted(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    size = b"Content-Length: %d\r\n" % (len(body) if length is None else length)
    return _HEAD + b"".join(line + b"\r\n" for line in headers) + size + b"\r\n" + body


def _got(path: bytes, method: bytes = b"GET", version: bytes = b"1.1", *headers: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in (b"Host: x", *headers))
    return b"%s %s HTTP/%s\r\n%s\r\n" % (method, path, version, lines)


def _chunked(*chunks: bytes) -> bytes:
    return _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


_CHUNK = b"%x\r\n%b\r\n" % (len(_GOOD), _GOOD)
# name: (bytes, statuses that are right; empty: any documented one)
BY_HAND: dict[str, tuple[bytes, set[int]]] = {
    "good": (_posted(_GOOD), {200}),
    "HTTP/1.0": (_got(b"/healthz", version=b"1.0"), {200}),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", {400}),
    "HTTP/9.9": (_got(b"/healthz", version=b"9.9"), set()),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", set()),
    "chunked": (_chunked(_CHUNK, b"0\r\n\r\n"), {200}),
    "chunks of one byte": (_chunked(*(b"1\r\n%c\r\n" % byte for byte in _GOOD), b"0\r\n\r\n"), {200}),
    "bad chunk": (_chunked(b"zz\r\nabc\r\n0\r\n\r\n"), {400}),
    "huge chunk": (_chunked(b"ffffffffffffffff\r\nabc"), {400, 408, 413}),
    "3 MB in chunks": (_chunked(*[b"10000\r\n" + b"a" * 65536 + b"\r\n"] * 46, b"0\r\n\r\n"), {413}),
    "cut chunk": (_chunked(b"fff\r\nabc"), {400, 408}),
    "chunked and a length": (_posted(_GOOD, b"Transfer-Encoding: chunked"), set()),
    "two lengths": (_posted(_GOOD, b"Content-Length: 5"), {400}),
    "cut body": (_posted(_GOOD, length=1000), {400, 408}),
    "short length": (_posted(_GOOD, length=10), {400}),
    "no body": (_HEAD + b"\r\n", {400, 422}),
    "expect": (_posted(_GOOD, b"Expect: 100-continue"), {100, 200}),
    "header of 200 kB": (_got(b"/healthz", b"GET", b"1.1", b"X: " + b"a" * 200_000), set()),
    "5,000 headers": (_got(b"/healthz", b"GET", b"1.1", *(b"X%d: a" % n for n in range(5000))), set()),
    "URL of 100 kB": (_got(b"/" + b"a" * 100_000), {400, 404, 414}),
    "NUL in a header": (_got(b"/healthz", b"GET", b"1.1", b"X: a\0b"), {400}),
    "folded header": (_got(b"/healthz", b"GET", b"1.1", b"X: a", b" b"), set()),
    "binary": (bytes(range(256)) + b"\r\n\r\n", {400}),
    "TLS": (bytes.fromhex("16030100a5010000a10303") + bytes(160) + b"\r\n\r\n", {400}),
    "websocket": (_got(b"/v1/predict", b"GET", b"1.1", b"Upgrade: websocket", b"Connection: Upgrade"), set()),
    "50 in one go": (_got(b"/healthz") * 50, {200}),
    "good, then rubbish": (_posted(_GOOD) + b"\0\1rubbish\r\n\r\n", {200, 400}),
    "redirect by slash": (
        b"POST /v1/predict/ HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n",
        {404, 405, 400, 415},
    ),
    "TRACE": (_got(b"/healthz", b"TRACE"), {405}),
    "CONNECT": (_got(b"a:1", b"CONNECT"), set()),
    "OPTIONS *": (_got(b"*", b"OPTIONS"), set()),
    "HEAD": (_got(b"/healthz", b"HEAD"), {200, 405}),
    "method of 10 kB": (_got(b"/", b"A" * 10_000), set()),
    "upwards": (_got(b"/../../etc/passwd"), {400, 404}),
    "upwards, escaped": (_got(b"/%2e%2e/%2e%2e/etc/passwd"), {400, 404}),
    "line ends in a path": (_got(b"/%0d%0aSet-Cookie:a=b"), {400, 404}),
}
_LENGTHS = (b"-1", b"abc", b"+5", b"1e3", b"0x10", b"9" * 26, b"5, 5", b"", b"1_0", b"9" * 5000)
BY_HAND |= {
    f"length {value[:30].decode()!r}": (_HEAD + b"Content-Length: " + value + b"\r\n\r\n12345", {400, 413, 422, 408})
    for value in _LENGTHS
}
_BODIES: dict[str, tuple[bytes, set[int]]] = {
    "2 MB": (b'{"text": "' + b"a" * 2_000_000 + b'"}', {413}),
    "100,000 open lists": (b"[" * 100_000, {400, 413, 422}),
    "100,000 lists": (b"[" * 100_000 + b"]" * 100_000, {400, 422}),
    "50,000 objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, {400, 422}),
    "not UTF-8": (b'{"text": "\xff\xfe"}', {400}),
    "lone surrogate": (b'{"text": "\\ud800"}', {400, 422}),
    "NUL": (b'{"text": "a\\u0000b"}', {422}),
    "huge number": (b'{"text": ' + b"9" * 100_000 + b"}", {400, 422}),
    "NaN": (b"NaN", {400, 422}),
    "empty": (b"", {400, 422}),
    "mark alone": (b"\xef\xbb\xbf", {400, 422}),
    "UTF-16": (_GOOD.decode().encode("utf-16"), {400}),
    "two objects": (_GOOD + _GOOD, {400}),
    "comment": (b'{"text": "a" /* c */}', {400}),
    "60,000 keys": (json.dumps({f"k{n}": 1 for n in range(60_000)}).encode(), {400, 413, 422}),
    "blank text": (b'{"text": " \\t\\n\\u3000"}', {422}),
}
BY_HAND |= {f"body: {name}": (_posted(body), statuses) for name, (body, statuses) in _BODIES.items()}


class Requests(Part):
    """A case is a raw request by hand or generated, or the share that schemathesis sends; the last looks at the log."""

    name, unit, whole, workers = "http", "requests", 5000, 1
    bar = "5,000 requests: no answer outside of the documented ones, none over 5 s, no leak, no traceback in the log"

    def cases(self, count: int) -> list[dict[str, Any]]:
        """A third by schemathesis, a third JSON bodies, the rest bytes."""
        rng = random.Random(f"http {self.seed}")
        names = list(BY_HAND)
        rng.shuffle(names)
        tested = count // 3
        raw = count - tested - 1
        made: list[dict[str, Any]] = [{"by hand": name} for name in names[: raw // 2]]
        made += [{"generated": number} for number in range(raw - len(made))]
        return [*made, {"schemathesis": tested}, {"the end": True}]

    @contextmanager
    def opened(self) -> Iterator[None]:
        """A server of one bundle of each kind, with short limits of time."""
        named = [f"{name}={folder}" for name, folder in bundles_in(self.work / "bundles").items()]
        limits = ["--body-seconds", "1", "--max-texts", "64", "--max-characters", "1000", "--queue-rows", "200"]
        (self.work / "server").mkdir(exist_ok=True)
        self.blocks: dict[int, list[bytes]] = {}
        with serving(self.work / "server", *named, *limits) as self.server:
            document = self.server.ask("/openapi.json").json()
            self.documented = {
                (path, method.upper()): {int(status) for status in operation["responses"]}
                for path, operations in document["paths"].items()
                for method, operation in operations.items()
            }
            self.read = self.server.log_file.stat().st_size
            self.rss = psutil.Process(self.server.process.pid).memory_info().rss
            yield

    def attack(self, case: dict[str, Any]) -> Outcome:
        """Sends one request, or those of schemathesis."""
        if "schemathesis" in case:
            return self._schemathesis(case["schemathesis"])
        if "the end" in case:
            return self._end()
        if "by hand" in case:
            name = case["by hand"]
            content, expected = BY_HAND[name]
        else:
            name, expected = "generated", set()
            block, place = divmod(case["generated"], 100)
            if block not in self.blocks:
                self.blocks[block] = draw(raw_requests(), 100, f"http {self.seed} {block}")
            content = self.blocks[block][place]
        outcome = self._judge(content, expected, half_close=case["id"] % 20 == 0)
        logged = self._new_errors()
        if logged and outcome.good:
            outcome = Outcome("bare", f"in the server's log: {logged[-400:]}")
        outcome.detail = f"{name}: {outcome.detail}"[:600]
        outcome.keep = {"request.bin": content}
        return outcome

    def _judge(self, content: bytes, expected: set[int], half_close: bool) -> Outcome:
        answer, seconds, closed = exchange(self.server.port, content, half_close)
        statuses = [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]
        shown = f"{statuses[:5]} after {seconds:.1f} s: {answer[-160:]!r}"
        if self.server.process.poll() is not None:
            return Outcome("crash", f"the server ended; {shown}")
        if not statuses:
            if half_close or not head_is_whole(content):  # who says no more has left; half a request has no answer
                return Outcome("answered")
            return Outcome("undocumented", f"no answer after {seconds:.1f} s, closed: {closed}, {answer[:80]!r}")
        if seconds > _WITHIN_SECONDS:
            return Outcome("slow", shown)
        if _LEAK.search(re.sub(rb"/openapi\.json|page\.\w+", b"", answer)) and b"text/html" not in answer:
            return Outcome("undocumented", f"a leak: {_LEAK.search(answer)}")
        allowed = expected or self._allowed(content)
        if not set(statuses) <= allowed:
            return Outcome("undocumented", f"{shown}; documented: {sorted(allowed)}")
        head, _, body = answer.partition(b"\r\n\r\n")
        if (
            len(statuses) == 1
            and statuses[0] >= 400
            and b"application/json" in head.lower()
            and b"HEAD " not in content[:5]
        ):
            with suppress(ValueError):
                if "error" in json.loads(body):
                    return Outcome("answered")
            return Outcome("undocumented", f"not the shape of an error: {shown}")
        return Outcome("answered")

    def _new_errors(self) -> str:
        """Errors in the server's log since this was asked last."""
        with self.server.log_file.open("rb") as file:
            file.seek(self.read)
            new = file.read()
        self.read += len(new)
        return "\n".join(line for line in new.decode("utf-8", "replace").splitlines() if '"level": "error"' in line)

    def _allowed(self, content: bytes) -> set[int]:
        line = content.split(b"\r\n", 1)[0].split(b" ")
        path = line[1].split(b"?")[0].decode("latin-1") if len(line) > 1 else ""
        method = line[0].decode("latin-1")
        return _ALWAYS | {200} | self.documented.get((path, method), set()) - {500}

    def _schemathesis(self, wanted: int) -> Outcome:
        """Runs it, each time with another seed, until it has sent that many requests."""
        tool = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
        if tool is None:
            return Outcome("harness", "schemathesis is not installed; the dev extra brings it")
        before = self._requests()
        for number in range(100):
            sent = self._requests() - before
            if sent >= wanted:
                break
            command = [
                tool,
                "run",
                f"http://127.0.0.1:{self.server.port}/openapi.json",
                "--checks",
                "all",
                "--no-color",
            ]
            command += [
                "--max-examples",
                str(max(2, min(60, (wanted - sent) // 12))),
                "--seed",
                str(self.seed + number),
            ]
            done = subprocess.run(command, capture_output=True, text=True, cwd=self.work)
            if done.returncode != 0:
                return Outcome("undocumented", done.stdout[-1500:], max(1, self._requests() - before))
        return Outcome("answered", weight=max(1, self._requests() - before))

    def _requests(self) -> int:
        return sum(entry["event"] == "request" for entry in self.server.logs())

    def _end(self) -> Outcome:
        """The server is well, and its log holds no error."""
        good = self.server.ask(body={"model": "classification", "text": "房间很宽敞"})
        errors = self._new_errors()
        printed = (self.work / "server" / "server.err").read_text(encoding="utf-8", errors="replace")
        rss = psutil.Process(self.server.process.pid).memory_info().rss
        facts = {"rss_mb_before": self.rss >> 20, "rss_mb_after": rss >> 20}
        if errors or "Traceback" in printed:
            return Outcome("bare", f"in the server's log: {errors[-400:]} {printed[-300:]}", facts=facts)
        if good.status != 200:
            return Outcome("undocumented", f"a good request gets {good.status} at the end", facts=facts)
        return Outcome("answered", facts=facts)


def head_is_whole(content: bytes) -> bool:
    """Does a request's head end? Servers also take lines that end with LF alone."""
    return b"\n\n" in content.replace(b"\r\n", b"\n").lstrip(b"\n")


def exchange(port: int, content: bytes, half_close: bool = False) -> tuple[bytes, float, bool]:
    """Sends bytes and reads until the server closes, or is quiet after an answer: (answer, seconds, closed).

    half_close: says after the bytes that there are no more.
    """
    began, answer, closed, last = time.monotonic(), b"", False, 0.0
    wait = _WITHIN_SECONDS + 1 if head_is_whole(content) else 0.3
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with suppress(OSError):
            connection.sendall(content)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.05)
        while time.monotonic() - began < wait and (not answer or time.monotonic() - last < _QUIET_SECONDS):
            try:
                block = connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                closed = True
                break
            if not block:
                closed = True
                break
            answer, last = answer + block, time.monotonic()
            if _is_one_whole_answer(answer) and content.count(b" HTTP/") == 1:
                break
    return answer, (last or time.monotonic()) - began, closed


def _is_one_whole_answer(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(end) and length is not None and len(body) >= int(length.group(1))


def raw_requests() -> st.SearchStrategy[bytes]:
    """Good requests with bytes changed, and JSON bodies that are near to good ones."""
    good = [_posted(_GOOD), _chunked(_CHUNK, b"0\r\n\r\n"), _got(b"/healthz"), _got(b"/v1/models"), _got(b"/")]
    texts = st.one_of(st.text(max_size=40), st.sampled_from(HOSTILE))
    bodies = st.fixed_dictionaries(
        {},
        optional={
            "model": st.one_of(st.sampled_from(["classification", "pairs", "regression", "tags", "x"]), texts),
            "text": texts,
            "text_b": texts,
            "texts": st.one_of(st.lists(texts, max_size=70), texts),
            "x": texts,
        },
    )
    posted = bodies.map(_as_json).map(_posted)
    paths = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30)
    gets = paths.map(lambda path: _got(b"/" + path.replace(" ", "%20").encode()))
    return st.one_of([edited(request) for request in good] + [posted, posted, edited(_GOOD).map(_posted), gets])


def _as_json(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError):
        return repr(value).encode("utf-8", "surrogatepass")

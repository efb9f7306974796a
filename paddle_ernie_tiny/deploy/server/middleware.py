"""Around every request: a log line, counters, security headers, and an answer in JSON even when code fails."""

from __future__ import annotations

import logging
import secrets
import time
from itertools import count

from .metrics import Metrics
from .problems import Problem

log = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}


class Observed:
    """The ASGI application, observed. Paths and methods that are not the server's own are neither logged nor counted
    by name: a client can put anything there."""

    def __init__(self, app, metrics: Metrics, paths: set[str]):
        self.app, self.metrics, self.paths = app, metrics, paths
        self._process, self._number = secrets.token_hex(4), count(1)

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, request_id = time.perf_counter(), 0, f"{self._process}-{next(self._number)}"
        scope["state"]["noted"] = noted = {}  # what the application adds to the log line

        async def observed_send(message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, observed_send)
        except Exception:
            log.exception("request_failed", extra={"request_id": request_id})
            if status:  # too late to say so: close the connection
                raise
            problem = Problem("internal", "the server failed; its log says why")
            await answer_problem(problem, observed_send)
        seconds = time.perf_counter() - start
        method = scope["method"] if scope["method"] in _METHODS else "other"
        path = scope["path"] if scope["path"] in self.paths else "other"
        self.metrics.requests.labels(method, path, status).inc()
        self.metrics.request_seconds.labels(path).observe(seconds)
        client = scope["client"][0] if scope["client"] else None
        more = {"request_id": request_id, "client": client, "method": method, "path": path, "status": status}
        log.info("request", extra={**more, "milliseconds": round(seconds * 1000, 2), **noted})


async def answer_problem(problem: Problem, send) -> None:
    """Sends a Problem as a whole ASGI response."""
    body = problem.body()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

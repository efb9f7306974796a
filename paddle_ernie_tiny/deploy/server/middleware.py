"""Around every request: a log line, counters, security headers, and an answer in JSON even when code fails."""

from __future__ import annotations

import logging
import secrets
import time
from itertools import count
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .messages import Problem

log = logging.getLogger(__name__)

_PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _PAGE_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}


class Metrics:
    """What /metrics tells of one server, in a registry of its own; nothing of what users sent."""

    def __init__(self):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        ours: Any = {"namespace": "ernie_tiny", "registry": self.registry}
        in_seconds = {**ours, "buckets": (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)}
        in_rows = {**ours, "buckets": (1, 2, 4, 8, 16, 32, 64)}
        self.requests = Counter("requests", "Answered requests", ["method", "path", "status"], **ours)
        self.request_seconds = Histogram("request_seconds", "From the headers to the answer", ["path"], **in_seconds)
        self.rows = Counter("rows", "Rows answered", ["model"], **ours)
        self.tokens = Counter("tokens", "Tokens computed", ["model", "kind"], **ours)
        self.batch_rows = Histogram("batch_rows", "Rows of a batch", ["model"], **in_rows)
        self.batch_seconds = Histogram("batch_seconds", "One forward pass", ["model"], **in_seconds)
        self.failures = Counter("batch_failures", "Batches that failed", ["model"], **ours)
        self.connections = Gauge("connections", "Open connections", **ours)
        self.dropped = Counter("connections_dropped", "Connections closed unread: too many were open", **ours)
        self.queue_rows = Gauge("queue_rows", "Rows that wait", ["model"], **ours)

    def observe_batch(self, model: str, lengths: list[int], padded: int, seconds: float) -> None:
        """Counts a batch that was answered: rows of so many tokens, each padded to `padded`."""
        self.rows.labels(model).inc(len(lengths))
        self.batch_rows.labels(model).observe(len(lengths))
        self.batch_seconds.labels(model).observe(seconds)
        self.tokens.labels(model, "real").inc(sum(lengths))
        self.tokens.labels(model, "padding").inc(padded * len(lengths) - sum(lengths))


class Observed:
    """The ASGI application, observed; a connection above the limit is refused, and HEAD is answered as GET is.

    Paths and methods that are not the server's own are neither logged nor counted by name: a client can put anything
    there.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: set[str]):
        self.app, self.metrics, self.paths = app, metrics, paths
        self._process, self._number = secrets.token_hex(4), count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request (uvicorn is told to pass on nothing else)."""
        start, status, request_id = time.perf_counter(), 0, f"{self._process}-{next(self._number)}"
        noted: dict[str, Any] = {}  # what the application adds to the log line
        scope["state"]["noted"], connection = noted, scope["state"]["connection"]

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS, (b"x-request-id", request_id.encode())]
            if connection.closing:  # uvicorn takes no answer then, until it knows that the connection is lost
                await connection.lost
            await send(message)

        app = self.app
        if connection.refused:
            noted["code"], what = "too_many_connections", "as many connections are open as the server takes"
            app = Problem(noted["code"], what, None, "try again later", {"Connection": "close"}).response()
        connection.request_begins()
        try:  # uvicorn keeps the scope with HEAD, and sends no body
            await app({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive, observed_send)
        except Exception:
            log.exception("request_failed", extra={"request_id": request_id})
            if status:  # too late to say so: close the connection
                raise
            await Problem("internal", "the server failed; its log says why").response()(scope, receive, observed_send)
        finally:
            connection.request_ends()
        seconds = time.perf_counter() - start
        method = scope["method"] if scope["method"] in _METHODS else "other"
        path = scope["path"] if scope["path"] in self.paths else "other"
        self.metrics.requests.labels(method, path, status).inc()
        self.metrics.request_seconds.labels(path).observe(seconds)
        client = scope["client"][0] if scope["client"] else None
        more = {"request_id": request_id, "client": client, "method": method, "path": path, "status": status}
        log.info("request", extra={**more, "milliseconds": round(seconds * 1000, 2), **noted})

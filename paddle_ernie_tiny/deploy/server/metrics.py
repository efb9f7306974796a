"""What /metrics tells, in Prometheus' text format; nothing of what users sent."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "ernie_tiny_requests", "Answered requests", ["method", "path", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "ernie_tiny_request_seconds",
            "From the headers to the answer",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.rows = Counter("ernie_tiny_rows", "Rows answered", ["model"], registry=registry)
        self.tokens = Counter("ernie_tiny_tokens", "Tokens computed", ["model", "kind"], registry=registry)
        self.batch_rows = Histogram(
            "ernie_tiny_batch_rows", "Rows of a batch", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self.batch_seconds = Histogram(
            "ernie_tiny_batch_seconds", "One forward pass", ["model"], buckets=_SECONDS, registry=registry
        )
        self.failures = Counter("ernie_tiny_batch_failures", "Batches that failed", ["model"], registry=registry)
        self.queue_rows = Gauge("ernie_tiny_queue_rows", "Rows that wait", ["model"], registry=registry)

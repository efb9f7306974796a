"""What /metrics tells, in Prometheus' text format; nothing of what users sent."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector


class Metrics:
    """The counters of one server, in a registry of their own."""

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
        self.queue_rows = Gauge("queue_rows", "Rows that wait", ["model"], **ours)

    def observe_batch(self, model: str, lengths: list[int], padded: int, seconds: float) -> None:
        """Counts a batch that was answered: rows of so many tokens, each padded to `padded`."""
        self.rows.labels(model).inc(len(lengths))
        self.batch_rows.labels(model).observe(len(lengths))
        self.batch_seconds.labels(model).observe(seconds)
        self.tokens.labels(model, "real").inc(sum(lengths))
        self.tokens.labels(model, "padding").inc(padded * len(lengths) - sum(lengths))

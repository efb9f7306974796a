"""One bundle behind a bounded queue: rows of many clients come in, batches go through one thread."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from ..predictor import Answer, Predictor, Row
from .batching import pick_batch, rounded_length
from .metrics import Metrics
from .options import ServeOptions
from .problems import Problem

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Work:
    """The rows of one request, and the future of their answers."""

    texts: list[str]
    texts_b: list[str] | None
    future: asyncio.Future
    arrived: float
    answers: list[Answer | None]
    open: int  # rows without an answer


@dataclass(eq=False)
class Waiting:
    """One tokenised row of a request."""

    work: Work
    place: int
    row: Row
    length: int


class Engine:
    """A loaded bundle and the thread that owns it.

    `submit` belongs to the event loop's thread. Everything that costs time (tokenising, the forward pass) happens in
    the engine's own, outside Python's global lock for the most part. Raises InputError when the bundle is no good.
    """

    def __init__(self, name: str, bundle: Path, options: ServeOptions, metrics: Metrics):
        self.name, self.options = name, options
        self.predictor = Predictor(bundle, threads=options.threads)
        self.pair = self.predictor.manifest.task_type.startswith("pair_")
        self._warm_up()
        self._rows, self._tokens = metrics.rows.labels(name), metrics.tokens
        self._batch_rows, self._batch_seconds = metrics.batch_rows.labels(name), metrics.batch_seconds.labels(name)
        self._failures = metrics.failures.labels(name)
        metrics.queue_rows.labels(name).set_function(lambda: self._queued)
        self._rate = 50.0  # rows a second, a moving average; the first guess only shapes the first Retry-After
        self._queued = 0  # rows that no batch has taken yet
        self._incoming: deque[Work] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name=f"engine-{name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, texts: list[str], texts_b: list[str] | None) -> asyncio.Future:
        """The future of the answers, in order. Raises Problem (429) when the queue has no room for all of them."""
        future = asyncio.get_running_loop().create_future()
        work = Work(texts, texts_b, future, time.monotonic(), [None] * len(texts), len(texts))
        with self._changed:
            if self._queued + len(texts) > self.options.queue_rows:
                seconds = max(1, math.ceil(self._queued / self._rate))
                raise Problem(
                    "busy",
                    f"{self._queued} rows are waiting, at most {self.options.queue_rows} may",
                    remedy=f"try again in {seconds} s",
                    headers={"Retry-After": str(seconds)},
                )
            self._queued += len(texts)
            self._incoming.append(work)
            self._changed.notify()
        return future

    def stop(self) -> None:
        """Ends the thread after the batch in hand."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _warm_up(self) -> None:
        text = "预热 warm-up"
        self.predictor.predict([text], [text] if self.pair else None)

    def _serve(self) -> None:
        waiting: list[Waiting] = []
        while True:
            with self._changed:
                while not (self._incoming or waiting or self._stopping):
                    self._changed.wait()
                if self._stopping:
                    return
                arrived = list(self._incoming)
                self._incoming.clear()
            for work in arrived:
                waiting += self._encode(work)
            waiting = self._without_abandoned(waiting)
            if not waiting:
                continue
            patience = waiting[0].work.arrived + self.options.max_wait_ms / 1000 - time.monotonic()
            if len(waiting) < self.options.max_batch_rows and patience > 0:
                with self._changed:
                    if not self._incoming and not self._stopping:
                        self._changed.wait(patience)
                    if self._incoming:
                        continue
            picked = pick_batch([row.length for row in waiting], self.options.max_batch_rows)
            batch = [waiting[place] for place in picked]
            taken = set(picked)
            waiting = [row for place, row in enumerate(waiting) if place not in taken]
            with self._changed:
                self._queued -= len(batch)
            self._answer(batch)

    def _encode(self, work: Work) -> list[Waiting]:
        try:
            rows = self.predictor.encode(work.texts, work.texts_b)
        except Exception as error:
            with self._changed:
                self._queued -= len(work.texts)
            self._fail([work], error)
            return []
        longest = self.predictor.manifest.max_length_tokens
        return [
            Waiting(work, place, row, rounded_length(len(row.input_ids), longest)) for place, row in enumerate(rows)
        ]

    def _without_abandoned(self, waiting: list[Waiting]) -> list[Waiting]:
        """Drops rows whose client got its timeout already."""
        kept = [row for row in waiting if not row.work.future.done()]
        if len(kept) < len(waiting):
            with self._changed:
                self._queued -= len(waiting) - len(kept)
        return kept

    def _answer(self, batch: list[Waiting]) -> None:
        start, length = time.perf_counter(), max(row.length for row in batch)
        try:
            answers = self.predictor.answer([row.row for row in batch], multiple_of=length)
        except Exception as error:
            self._fail({row.work: None for row in batch}, error)
            return
        seconds = time.perf_counter() - start
        self._rate += 0.1 * (len(batch) / seconds - self._rate)
        self._batch_rows.observe(len(batch))
        self._batch_seconds.observe(seconds)
        self._rows.inc(len(batch))
        real = sum(len(row.row.input_ids) for row in batch)
        self._tokens.labels(self.name, "real").inc(real)
        self._tokens.labels(self.name, "padding").inc(length * len(batch) - real)
        finished = []
        for row, answer in zip(batch, answers, strict=True):
            row.work.answers[row.place] = answer
            row.work.open -= 1
            if row.work.open == 0:
                finished.append(row.work)
        if finished:
            _in_loop(finished, lambda work: work.future.set_result(work.answers))

    def _fail(self, works, error: Exception) -> None:
        log.error("batch_failed", exc_info=error, extra={"model": self.name})
        self._failures.inc()
        problem = Problem("internal", "the model could not answer; the server's log says why")
        _in_loop(list(works), lambda work: work.future.set_exception(problem))


def _in_loop(works: list[Work], settle) -> None:
    """Settles the futures in their event loop's thread, but for those that were given up meanwhile."""

    def settle_all():
        for work in works:
            if not work.future.done():
                settle(work)

    loop = works[0].future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle_all)

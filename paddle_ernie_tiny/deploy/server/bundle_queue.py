"""One bundle and its bounded queue: rows of many clients come in, batches go through one thread."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...data.tokenization import rounded_length
from ...errors import ErnieTinyError
from ...kinds import Row, Window
from ..predictor import Predictor
from .messages import Problem
from .middleware import Metrics
from .options import ServeOptions

log = logging.getLogger(__name__)
MAX_PADDING = 0.15  # share of a batch that may be padding: a forward pass costs about as much as its tokens
LENGTH_MULTIPLE = 8  # lengths are rounded up to it: an engine prepares itself again for every shape


@dataclass(eq=False)
class AskedRow:
    """One row of a request, the logits of its windows as they come, and the future of its answer."""

    row: Row
    future: asyncio.Future[Any]
    logits: dict[int, np.ndarray] = field(default_factory=dict)  # by the window's place


@dataclass(eq=False)
class Waiting:
    """A window of a row; most rows are one."""

    asked: AskedRow
    place: int  # in the row
    length: int  # that it is padded to
    arrived: float

    @property
    def window(self) -> Window:
        """Its token ids."""
        return self.asked.row.windows[self.place]


class BundleQueue:
    """A loaded bundle, the rows (of long ones, the windows) that wait for it, and the thread that owns it.

    Everything that costs time (tokenising, the forward pass) happens in that thread, outside Python's global lock for
    the most part; all the rest belongs to the event loop. Raises InputError when the bundle cannot be served.
    """

    def __init__(self, name: str, bundle: Path, options: ServeOptions, metrics: Metrics):
        self._name, self._options, self._metrics = name, options, metrics
        self.predictor = Predictor(bundle, threads=options.threads, engine=options.engine)
        text = ["预热 warm-up"]
        self.predictor.predict(text, text if self.predictor.manifest.pair else None)
        self._rate = 50.0  # windows per second, a moving average; the first guess only shapes the first Retry-After
        self._encoding, self._waiting = 0, list[Waiting]()  # rows that no batch has taken yet
        metrics.queue_rows.labels(name).set_function(self._queued)
        self._arrived = asyncio.Event()  # or some that were expected will not come
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"bundle-{name}")

    async def answers(self, texts: list[str], texts_b: list[str] | None) -> list[Any]:
        """The answers, in order.

        Raises Problem: 422 for more windows than the queue can hold, 429 when it has no room for all of them now, 500
        when it fails.
        """
        self._require_room(len(texts))
        arrived = time.monotonic()
        self._encoding += len(texts)
        try:
            rows = await self._in_thread(self.predictor.encode, texts, texts_b)
        finally:
            self._encoding -= len(texts)
            self._arrived.set()
        count, most = sum(len(row.windows) for row in rows), self._options.queue_rows
        if count > most:
            what = f"the texts take {count} windows of the model's length, and at most {most} may wait"
            raise Problem("invalid_request", what, "body", "send fewer or shorter texts per request")
        self._require_room(count)
        loop, longest = asyncio.get_running_loop(), self.predictor.manifest.max_length_tokens
        asked = [AskedRow(row, loop.create_future()) for row in rows]
        for of_row in asked:
            for place, window in enumerate(of_row.row.windows):
                length = rounded_length(len(window.input_ids), LENGTH_MULTIPLE, longest)
                self._waiting.append(Waiting(of_row, place, length, arrived))
        return await asyncio.gather(*(of_row.future for of_row in asked))

    def _require_room(self, count: int) -> None:
        if self._queued() + count > self._options.queue_rows:
            seconds = max(1, math.ceil(self._queued() / self._rate))
            what = f"{self._queued()} rows are waiting, at most {self._options.queue_rows} may"
            raise Problem("busy", what, None, f"try again in {seconds} s", {"Retry-After": str(seconds)})

    def start(self) -> None:
        """Begins to answer, in the event loop that runs."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def alive(self) -> bool:
        """Does it answer what arrives?"""
        return not self._task.done()

    def stop(self) -> None:
        """Ends the thread after the present batch."""
        self._thread.shutdown(cancel_futures=True)

    async def _run(self) -> None:
        while True:
            await self._until_due()
            self._waiting = [one for one in self._waiting if not one.asked.future.done()]  # without those that gave up
            if self._waiting:
                picked = set(pick_batch([row.length for row in self._waiting], self._options.batch_size))
                batch = [row for place, row in enumerate(self._waiting) if place in picked]
                self._waiting = [row for place, row in enumerate(self._waiting) if place not in picked]
                await self._answer(batch)

    def _queued(self) -> int:
        return self._encoding + len(self._waiting)

    async def _until_due(self) -> None:
        """Waits until a batch is full, or its oldest row has waited long enough for company."""
        while self._encoding or len(self._waiting) < self._options.batch_size:
            patience = None
            if self._waiting and not self._encoding:
                patience = self._waiting[0].arrived + self._options.max_wait_ms / 1000 - time.monotonic()
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), patience)
            except asyncio.TimeoutError:  # the builtin one only from Python 3.11 on
                return

    async def _answer(self, batch: list[Waiting]) -> None:
        start, padded = time.perf_counter(), max(row.length for row in batch)
        try:
            answered = await self._in_thread(self._compute, batch, padded)
        except Problem as problem:
            for row in batch:
                if not row.asked.future.done():
                    row.asked.future.set_exception(problem)
            return
        seconds = time.perf_counter() - start
        self._rate += 0.1 * (len(batch) / seconds - self._rate)
        self._metrics.observe_batch(self._name, [len(row.window.input_ids) for row in batch], padded, seconds)
        for asked, answer in answered:
            if not asked.future.done():
                asked.future.set_result(answer)

    def _compute(self, batch: list[Waiting], padded: int) -> list[tuple[AskedRow, Any]]:
        """In the thread: the logits of a batch, and the answers to the rows whose last window is among them."""
        for waiting, logits in zip(batch, self.predictor.answer([one.window for one in batch], padded), strict=True):
            waiting.asked.logits[waiting.place] = logits
        touched = {id(waiting.asked): waiting.asked for waiting in batch}.values()
        whole = [asked for asked in touched if len(asked.logits) == len(asked.row.windows)]
        return [
            (asked, self.predictor.decode(asked.row, [asked.logits[place] for place in range(len(asked.logits))]))
            for asked in whole
        ]

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except Exception as error:
            own = isinstance(error, ErnieTinyError)  # which says all there is to know
            log.error("batch_failed", exc_info=not own and error, extra={"model": self._name, "reason": str(error)})
            self._metrics.failures.labels(self._name).inc()
            raise Problem("internal", "the model could not answer; the server's log says why") from None


def pick_batch(lengths: Sequence[int], max_rows: int) -> list[int]:
    """Places of the rows of the next batch, shortest first; `lengths` are in order of arrival.

    The first row, which has waited longest, is always among them, so that none waits for ever. Its neighbours in
    length join while there is room and at most MAX_PADDING of the batch is padding.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    low = high = order.index(0)
    tokens, rows = lengths[0], 1
    while rows < max_rows:
        neighbours = []
        for place in (low - 1, high + 1):
            if 0 <= place < len(order):
                longest = lengths[order[max(high, place)]]
                padding = 1 - (tokens + lengths[order[place]]) / (longest * (rows + 1))
                neighbours.append((padding, place))
        padding, place = min(neighbours, default=(1.0, -1))
        if padding > MAX_PADDING:
            break
        low, high = min(low, place), max(high, place)
        tokens, rows = tokens + lengths[order[place]], rows + 1
    return order[low : high + 1]

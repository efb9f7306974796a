"""The queue of a bundle: batches, failures and rows that were given up, with a predictor that does as it is told."""

import asyncio
import threading
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from paddle_ernie_tiny.deploy.server import bundle_queue
from paddle_ernie_tiny.deploy.server.bundle_queue import BundleQueue
from paddle_ernie_tiny.deploy.server.messages import Problem
from paddle_ernie_tiny.deploy.server.middleware import Metrics
from paddle_ernie_tiny.deploy.server.options import ServeOptions
from paddle_ernie_tiny.errors import InputError


class ToldPredictor:
    """Answers a text with itself in upper case, its windows by commas; waits in a text "wait", fails at a text "fail"
    or "bad row"."""

    def __init__(self, bundle, threads, engine):
        self.manifest = SimpleNamespace(pair=False, max_length_tokens=16)
        self.batches, self.go_on = [], threading.Event()

    def predict(self, texts, texts_b):
        pass

    def encode(self, texts, texts_b):
        if "bad row" in texts:
            raise ValueError("bad row")
        words = [[SimpleNamespace(text=word, input_ids=[0] * 5) for word in text.split(",")] for text in texts]
        return [SimpleNamespace(windows=windows) for windows in words]

    def answer(self, windows, multiple_of):
        texts = [window.text for window in windows]
        self.batches.append(texts)
        if "wait" in texts:
            self.go_on.wait(20)
        if "fail" in texts:
            raise ValueError("fail")
        return [text.upper() for text in texts]

    def decode(self, row, answers):
        return ",".join(answers)


def in_queue(monkeypatch, check, **options):
    """Runs `check(queue, metrics)` in an event loop with a queue that has been started."""
    monkeypatch.setattr(bundle_queue, "Predictor", ToldPredictor)

    async def run():
        metrics = Metrics()
        queue = BundleQueue("told", "no folder", ServeOptions(**options), metrics)
        queue.start()
        await check(queue, metrics)
        assert queue.alive
        queue.predictor.go_on.set()
        queue.stop()

    asyncio.run(asyncio.wait_for(run(), 30))


async def busy(queue):
    """A request whose batch is in the thread."""
    first = asyncio.create_task(queue.answers(["wait"], None))
    while not queue.predictor.batches:
        await asyncio.sleep(0.01)
    return first


def test_rows_that_arrive_while_the_thread_is_busy_share_a_batch(monkeypatch):
    async def check(queue, metrics):
        first = await busy(queue)
        others = [asyncio.create_task(queue.answers([letter, letter * 2], None)) for letter in "abc"]
        await asyncio.sleep(0.1)
        queue.predictor.go_on.set()
        assert await first == ["WAIT"]
        assert await asyncio.gather(*others) == [["A", "AA"], ["B", "BB"], ["C", "CC"]]
        assert [sorted(batch) for batch in queue.predictor.batches[1:]] == [["a", "aa", "b", "bb", "c", "cc"]]

    in_queue(monkeypatch, check)


def test_an_error_of_the_toolkits_own_is_logged_without_a_traceback(monkeypatch, caplog):
    monkeypatch.setattr(ToldPredictor, "answer", Mock(side_effect=InputError("output is not a finite number", "x")))

    async def check(queue, metrics):
        with pytest.raises(Problem) as problem:
            await queue.answers(["a"], None)
        assert problem.value.code == "internal"

    in_queue(monkeypatch, check)
    (record,) = [record for record in caplog.records if record.message == "batch_failed"]
    assert not record.exc_info and "not a finite number" in record.reason


@pytest.mark.parametrize("text", ["fail", "bad row"])
def test_a_failure_is_one_requests_own_and_is_counted(monkeypatch, text):
    async def check(queue, metrics):
        with pytest.raises(Problem) as problem:
            await queue.answers([text], None)
        assert problem.value.code == "internal"
        assert await queue.answers(["a"], None) == ["A"]
        assert metrics.registry.get_sample_value("ernie_tiny_batch_failures_total", {"model": "told"}) == 1
        assert metrics.registry.get_sample_value("ernie_tiny_queue_rows", {"model": "told"}) == 0

    in_queue(monkeypatch, check)


def test_rows_that_were_given_up_are_not_computed_and_make_room(monkeypatch):
    async def check(queue, metrics):
        first = await busy(queue)
        given_up = asyncio.create_task(queue.answers(["a", "b"], None))
        await asyncio.sleep(0.05)
        with pytest.raises(Problem) as problem:
            await queue.answers(["c"], None)
        assert problem.value.code == "busy" and int(problem.value.headers["Retry-After"]) >= 1
        given_up.cancel()
        queue.predictor.go_on.set()
        await first
        assert await queue.answers(["c", "d"], None) == ["C", "D"]
        assert [sorted(batch) for batch in queue.predictor.batches] == [["wait"], ["c", "d"]]

    in_queue(monkeypatch, check, queue_rows=2, max_texts=2)


def test_the_windows_of_a_long_row_share_batches_and_come_together_in_order(monkeypatch):
    async def check(queue, metrics):
        first = await busy(queue)
        asked = [asyncio.create_task(queue.answers(texts, None)) for texts in (["a,b,c,d,e", "f"], ["g"])]
        await asyncio.sleep(0.1)
        queue.predictor.go_on.set()
        assert await first == ["WAIT"]
        assert await asyncio.gather(*asked) == [["A,B,C,D,E", "F"], ["G"]]
        assert [len(batch) for batch in queue.predictor.batches] == [1, 3, 3, 1]

    in_queue(monkeypatch, check, batch_size=3)


def test_the_queue_is_bounded_by_windows(monkeypatch):
    """What it can never hold is refused for good, what it cannot hold now is to be sent again."""

    async def check(queue, metrics):
        with pytest.raises(Problem) as problem:
            await queue.answers(["a,b,c,d,e"], None)
        assert problem.value.code == "invalid_request" and "5 windows" in problem.value.message
        assert await queue.answers(["a,b,c,d"], None) == ["A,B,C,D"]
        first = await busy_again(queue)
        waiting = asyncio.create_task(queue.answers(["a,b"], None))
        third = asyncio.create_task(queue.answers(["c,d,e"], None))
        await asyncio.sleep(0.05)
        queue.predictor.go_on.set()
        assert await first == ["WAIT"] and await waiting == ["A,B"]
        with pytest.raises(Problem) as problem:
            await third
        assert problem.value.code == "busy"

    async def busy_again(queue):
        queue.predictor.batches.clear()
        return await busy(queue)

    in_queue(monkeypatch, check, queue_rows=4, max_texts=4)


def test_a_failure_in_one_window_fails_its_row_and_drops_the_others(monkeypatch):
    async def check(queue, metrics):
        with pytest.raises(Problem) as problem:
            await queue.answers(["a,fail,b,c"], None)
        assert problem.value.code == "internal"
        assert await queue.answers(["d"], None) == ["D"]
        assert queue.predictor.batches == [["a", "fail"], ["d"]]

    in_queue(monkeypatch, check, batch_size=2)

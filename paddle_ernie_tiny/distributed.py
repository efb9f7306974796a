"""Several processes, each with the whole model and a part of every batch, as `paddle.distributed.launch` starts them.

Only rank 0, the main process, writes, measures and speaks; the others train along and wait. All of them must see
the same files, so several machines need a shared file system.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import InputError
from .machine import number_from

if TYPE_CHECKING:
    from paddle import Tensor

_POLL_SECONDS = 0.05
_meetings = itertools.count()


def processes() -> int:
    """How many processes train together; 1 without a launcher. Raises InputError for a variable that is no number."""
    return number_from("PADDLE_TRAINERS_NUM", 1)


def is_main() -> bool:
    """Is this the process that writes, measures and speaks: rank 0?"""
    return processes() == 1 or number_from("PADDLE_TRAINER_ID", 0, least=0) == 0


def check_launcher() -> None:
    """Raises InputError if the variables of `paddle.distributed.launch` are not numbers, or do not fit together."""
    count, rank = processes(), number_from("PADDLE_TRAINER_ID", 0, least=0)
    addresses = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "")
    if count > 1 and (rank >= count or len(addresses.split(",")) != count):
        what = f"this should be process {rank} of {count}, but PADDLE_TRAINER_ENDPOINTS is {addresses[:200]!r}"
        remedy = "unset the PADDLE_ variables and give --devices, or start it by paddle.distributed.launch"
        raise InputError(what, "environment variable PADDLE_TRAINERS_NUM", remedy)


def connect() -> None:
    """Meets the other processes, where there are some. Call once, after the device is set."""
    if processes() > 1:
        import paddle

        paddle.distributed.init_parallel_env()


def wait_for_all() -> None:
    """Returns when every process has come here, however long the main one measures or writes alone.

    By a counter in the store over which the processes met: a barrier of gloo's gives up after half a minute.
    """
    if processes() == 1:
        return
    from paddle.base import core

    store = core.create_or_get_global_tcp_store()
    key = f"paddle_ernie_tiny/meeting/{next(_meetings)}"
    _count_up_to(processes(), store, f"{key}/arrived")
    if is_main():  # it holds the store: nobody may still be asking when it ends
        _count_up_to(processes(), store, f"{key}/left")
    else:
        store.add(f"{key}/left", 1)


def _count_up_to(total: int, store, key: str) -> None:
    count = store.add(key, 1)
    while count < total:
        time.sleep(_POLL_SECONDS)
        count = store.add(key, 0)


@contextmanager
def main_first(what: str | os.PathLike) -> Iterator[None]:
    """The block runs in the main process, then in the others: what the first writes, the others find.

    what: a name for what is made, such as its folder; once per run. The main process waits for nobody, and may have
    come here long before the others: it makes some things when it measures alone.
    """
    if processes() == 1:
        yield
        return
    from paddle.base import core

    store, key = core.create_or_get_global_tcp_store(), f"paddle_ernie_tiny/made/{what}"
    while not is_main() and store.add(key, 0) == 0:
        time.sleep(_POLL_SECONDS)
    yield
    if is_main():
        store.add(key, 1)


def let_main_fail_first(seconds: float = 20.0) -> None:
    """Called by a process that is about to end with an error: most often all of them met the same one.

    The launcher ends the others with the first that fails. Where this is the main one, one message and its exit
    code come out; where it has no trouble of its own, the others speak after `seconds`.
    """
    if os.environ.get("PADDLE_TRAINER_ID", "") not in ("", "0") and "PADDLE_TRAINER_ENDPOINTS" in os.environ:
        time.sleep(seconds)


def sum_over_all(values: Tensor) -> Tensor:
    """The sum of a float tensor over all processes, element by element; in place and returned."""
    if processes() > 1:
        import paddle

        paddle.distributed.all_reduce(values)
    return values

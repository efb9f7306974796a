"""Several processes, each with the whole model and a part of every batch, as `paddle.distributed.launch` starts them.

Only rank 0, the main process, writes, measures and speaks; the others train along and wait. All of them must see
the same files, so several machines need a shared file system.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager


def processes() -> int:
    """How many processes train together; 1 without a launcher."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM") or 1)


def rank() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("PADDLE_TRAINER_ID") or 0) if processes() > 1 else 0


def is_main() -> bool:
    """Is this the process that writes, measures and speaks?"""
    return rank() == 0


def connect() -> None:
    """Meets the other processes, where there are some. Call once, after the device is set."""
    if processes() > 1:
        import paddle

        paddle.distributed.init_parallel_env()


def wait_for_all() -> None:
    """Returns when every process has come here."""
    if processes() > 1:
        import paddle

        paddle.distributed.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """The block runs in the main process, then in the others: what the first writes, the others find."""
    if not is_main():
        wait_for_all()
    yield
    if is_main():
        wait_for_all()


def let_main_fail_first(seconds: float = 20.0) -> None:
    """Called by a process that is about to end with an error: most often all of them met the same one.

    The launcher ends the others with the first that fails. Where this is the main one, one message and its exit
    code come out; where it has no trouble of its own, the others speak after `seconds`.
    """
    if not is_main():
        time.sleep(seconds)


def sum_over_all(values):
    """The sum of a float tensor over all processes, element by element; in place and returned."""
    if processes() > 1:
        import paddle

        paddle.distributed.all_reduce(values)
    return values

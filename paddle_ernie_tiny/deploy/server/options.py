"""What `ernie-tiny serve` can be told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...defaults import AUTO, AUTO_THREADS, option
from ...engines import ON_CPU
from ...errors import InputError
from ...machine import thread_count


@dataclass(frozen=True)
class ServeOptions:
    """Address, batching and limits of a server. Rows are texts, or pairs of texts.

    Every field is an option of the command line. Raises InputError for values that contradict each other.
    """

    host: str = option("address to listen on; 0.0.0.0 for all", "127.0.0.1")
    port: int = option("0: any free one; the log says which", 8000, min=0, max=65535)
    threads: int | str = option(
        f"CPU threads per forward pass; {AUTO_THREADS}, divided among the bundles", 1, metavar="NUMBER|auto"
    )
    engine: str = option(f"{', '.join(ON_CPU)}; auto: the fastest here, measured once", AUTO)
    batch_size: int = option("maximum rows per forward pass", 16, min=1)
    max_wait_ms: float = option("how long a row waits for others, when idle", 2.0, min=0)
    queue_rows: int = option("rows, of long ones their windows, that may wait for a bundle; then 429", 512, min=1)
    max_body_bytes: int = option("larger bodies are refused", 1_000_000, min=1)
    max_texts: int = option("maximum rows per request", 256, min=1)
    max_characters: int = option("maximum characters per text", 10_000, min=1)
    body_seconds: float = option("time for a client to send its body; then 408", 10.0, min=0.1)
    request_seconds: float = option("time for the answer; then 503", 30.0, min=0.1)
    drain_seconds: float = option("time to stay open after SIGTERM", 1.0, min=0)
    idle_seconds: float = option("time to send headers, or to take an answer; then closed", 30.0, min=0.1)
    max_connections: int = option("open connections; more get 503", 2048, min=1)
    api_key: str | None = option("clients send it as 'Authorization: Bearer KEY'", None, envvar="ERNIE_TINY_API_KEY")

    def __post_init__(self):
        thread_count(self.threads)
        if self.max_texts > self.queue_rows:
            what = f"a request may hold {self.max_texts} texts but the queue only {self.queue_rows}"
            raise InputError(what, "--max-texts", "raise --queue-rows or lower --max-texts")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.strip()):
            raise InputError("the API key is empty or not ASCII", "--api-key", "give letters, digits and signs")


def named_bundles(given: Sequence[str]) -> dict[str, Path]:
    """`name=path`, or a path whose folder (above one called `bundle`) gives the name.

    Raises InputError when two bundles have one name.
    """
    found: dict[str, Path] = {}
    for item in given:
        name, equals, path = item.partition("=")
        if not equals or "/" in name or Path(item).exists():
            name, path = "", item
        folder = Path(os.path.expanduser(path))
        parts = folder.resolve()
        name = name or (parts.parent.name if parts.name == "bundle" else parts.name)
        if name in found:
            remedy = f"name them: one={found[name]} other={folder}"
            raise InputError(f"two bundles are called {name!r}", str(folder), remedy)
        found[name] = folder
    return found

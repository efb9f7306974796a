"""What `ernie-tiny serve` can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError


@dataclass(frozen=True)
class ServeOptions:
    """Address, batching and limits of a server. Rows are texts, or pairs of texts."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one; the log says which
    threads: int = 1  # CPU threads of one forward pass
    max_batch_rows: int = 16
    max_wait_ms: float = 2.0  # how long a row waits for others while the engine is idle
    queue_rows: int = 512  # rows that wait for one bundle; more are refused with 429
    max_body_bytes: int = 1_000_000
    max_texts: int = 256  # rows of one request
    max_characters: int = 10_000  # of one text
    body_seconds: float = 10.0  # for a client to send its request
    request_seconds: float = 30.0  # for the answer, from the request's last byte on
    drain_seconds: float = 1.0  # between /readyz turning 503 and the last connection being taken
    max_connections: int = 2048
    api_key: str | None = None

    def __post_init__(self):
        if self.max_texts > self.queue_rows:
            raise InputError(
                f"a request may hold {self.max_texts} texts but the queue only {self.queue_rows}",
                "--max-texts",
                "raise --queue-rows or lower --max-texts",
            )
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.strip()):
            raise InputError("the API key is empty or not ASCII", "--api-key", "give letters, digits and signs")


def named_bundles(given: Sequence[str]) -> dict[str, Path]:
    """`name=path`, or a path whose folder (above one called `bundle`) gives the name.

    Raises InputError when two bundles have one name.
    """
    found: dict[str, Path] = {}
    for item in given:
        name, equals, path = item.partition("=")
        if not equals or "/" in name:
            name, path = "", item
        folder = Path(path)
        parts = folder.resolve()
        name = name or (parts.parent.name if parts.name == "bundle" else parts.name)
        if name in found:
            raise InputError(
                f"two bundles are called {name!r}", str(folder), f"name them: one={found[name]} other={folder}"
            )
        found[name] = folder
    return found

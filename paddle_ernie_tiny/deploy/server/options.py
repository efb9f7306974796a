"""What `ernie-tiny serve` can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError


def _option(default: Any, help: str, **more: Any) -> Any:
    """A field with what the command line shows and checks: `help`, and where it has them `min`, `max`, `envvar`."""
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class ServeOptions:
    """Address, batching and limits of a server. Rows are texts, or pairs of texts.

    Every field is an option of the command line. Raises InputError for values that contradict each other.
    """

    host: str = _option("127.0.0.1", "address to listen on; 0.0.0.0 for all")
    port: int = _option(8000, "0: any free one; the log says which", min=0, max=65535)
    threads: int = _option(1, "CPU threads of one forward pass", min=1)
    batch_size: int = _option(16, "most rows of a forward pass", min=1)
    max_wait_ms: float = _option(2.0, "how long a row waits for others, when idle", min=0)
    queue_rows: int = _option(512, "rows that may wait for a bundle; then 429", min=1)
    max_body_bytes: int = _option(1_000_000, "larger bodies are refused", min=1)
    max_texts: int = _option(256, "most rows of a request", min=1)
    max_characters: int = _option(10_000, "most characters of a text", min=1)
    body_seconds: float = _option(10.0, "time for a client to send its body; then 408", min=0.1)
    request_seconds: float = _option(30.0, "time for the answer; then 503", min=0.1)
    drain_seconds: float = _option(1.0, "time to stay open after SIGTERM", min=0)
    max_connections: int = _option(2048, "connections with a request under way; then 503", min=1)
    api_key: str | None = _option(None, "asked of clients as 'Authorization: Bearer KEY'", envvar="ERNIE_TINY_API_KEY")

    def __post_init__(self):
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
        folder = Path(path)
        parts = folder.resolve()
        name = name or (parts.parent.name if parts.name == "bundle" else parts.name)
        if name in found:
            remedy = f"name them: one={found[name]} other={folder}"
            raise InputError(f"two bundles are called {name!r}", str(folder), remedy)
        found[name] = folder
    return found

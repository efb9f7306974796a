"""What a benchmark measures, for Python and for the command line. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..defaults import BENCH_ENGINES, BENCH_LENGTHS, BENCH_ROUNDS, BENCH_SECONDS, BENCH_THREADS
from ..errors import InputError

T = TypeVar("T")
Say = Callable[[str], None]
Texts = tuple[list[str], list[str] | None]  # the rows of a data set; second texts for pairs
Record = dict[str, Any]  # JSON values


def default_cache() -> Path:
    """Where exported shapes are kept: the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "paddle_ernie_tiny" / "bench"


def _option(help: str, default: Any = MISSING, option: str | None = None, **more: Any) -> Any:
    metadata = {"help": help, "option": option, **more}
    if isinstance(default, tuple):
        return field(default_factory=lambda: [*default], metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class BenchRequest:
    """What to measure. The first model is the reference that the others are compared with.

    A field whose metadata has "help" is an option of `ernie-tiny bench`: called "option" if that is given, at least
    "min", and with "commas" a list that is typed as one text (see `listed`).
    """

    models: list[str] = _option(
        "bundle folder, or a shape with random weights: bert-base, 4l-312h, 6l-768h, 3l-192h-12heads-768ffn; "
        "@fp32, @int8 and @plain (the graph without the toolkit's shortcuts) may follow; the first is the reference",
        option="--model",
    )
    batches: list[int] = _option("batch sizes, comma-separated", (1,), "--batch", commas=True)
    lengths: list[int] = _option("tokens per text, comma-separated", BENCH_LENGTHS, "--length", commas=True)
    threads: list[int] = _option("CPU threads, comma-separated", BENCH_THREADS, commas=True)
    precisions: list[str] = _option("of shapes, comma-separated: fp32, int8", ("fp32",), "--precision", commas=True)
    engines: list[str] = _option(
        "comma-separated: paddle, onnxruntime, openvino, paddle-tensorrt", BENCH_ENGINES, "--engine", commas=True
    )
    device: str = _option("cpu or gpu", "cpu")
    seconds: float = _option("of measuring for each model in each setting", BENCH_SECONDS, min=0.05)
    rounds: int = _option("turns of each model in each setting", BENCH_ROUNDS, min=1)
    text: Path | None = _option("data set, or file with one text per line: also measure text to label", None)
    columns: list[str] = _option("its column of text; twice for pairs", (), "--column")
    label: str | None = _option("its column of labels: also score the bundles", None)
    bare: bool = _option("measure the models alone: token ids to logits", True)
    profile: bool = _option("also show which operations take the time", False)
    cache: Path = field(
        default_factory=default_cache, metadata={"help": "keeps exported shapes (default: in the user's cache folder)"}
    )
    texts: Texts | None = None  # in place of the file `text`


def listed(text: str, option: str, of: Callable[[str], T]) -> list[T]:
    """ "1,32" as [1, 32] with `of=int`. Raises InputError that names the option."""
    try:
        return [of(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"not a list of numbers: {text!r}", option, "such as 1,32") from None

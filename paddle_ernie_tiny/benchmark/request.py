"""What a benchmark measures, for Python and for the command line. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..defaults import BENCH_ENGINES, BENCH_LENGTHS, BENCH_ROUNDS, BENCH_SECONDS, BENCH_THREADS, option
from ..engines import NAMES
from ..files import cache_folder

Say = Callable[[str], None]
Texts = tuple[list[str], list[str] | None]  # the rows of a data set; second texts for pairs
Record = dict[str, Any]  # JSON values


def _list(help: str, default: tuple[Any, ...], option: str, commas: bool = True) -> Any:
    return field(default_factory=lambda: [*default], metadata={"help": help, "option": option, "commas": commas})


@dataclass
class BenchRequest:
    """What to measure. The first model is the reference that the others are compared with.

    A field whose metadata has "help" is an option of `ernie-tiny bench` (see cli_options.py).
    """

    models: list[str] = option(
        "bundle folder, or a shape with random weights: bert-base, 4l-312h, 6l-768h, 3l-192h-12heads-768ffn; "
        "@fp32, @int8, @bf16 and @plain (the graph without the toolkit's shortcuts) may follow; the first is the "
        "reference",
        option="--model",
    )
    batches: list[int] = _list("batch sizes, comma-separated", (1,), "--batch")
    lengths: list[int] = _list("tokens per text, comma-separated", BENCH_LENGTHS, "--length")
    threads: list[int] = _list("CPU threads, comma-separated", BENCH_THREADS, "--threads")
    precisions: list[str] = _list(
        "precisions of the shapes, comma-separated: fp32, int8, bf16", ("fp32",), "--precision"
    )
    engines: list[str] = _list(f"engines, comma-separated: {NAMES}, auto", BENCH_ENGINES, "--engine")
    device: str = option("cpu or gpu", "cpu")
    seconds: float = option("seconds to measure each model in each setting", BENCH_SECONDS, min=0.05)
    rounds: int = option("turns of each model in each setting", BENCH_ROUNDS, min=1)
    text: Path | None = option("data set, or file with one text per line: also measure text to label", None)
    columns: list[str] = _list("its column of text; twice for pairs", (), "--column", commas=False)
    label: str | None = option("its column of labels: also score the bundles", None)
    bare: bool = option("measure the models alone: token ids to logits", True)
    profile: bool = option("also show which operations take the time", False)
    cache: Path = field(
        default_factory=lambda: cache_folder() / "bench",
        metadata={"help": "keeps exported shapes (default: in the user's cache folder)"},
    )
    texts: Texts | None = None  # instead of the file `text`

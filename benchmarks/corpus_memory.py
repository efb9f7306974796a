"""How much memory does preparing a large general corpus take?

    python benchmarks/corpus_memory.py --gigabytes 2 --json OUT.json

Writes a synthetic Chinese corpus of that size (lines of random length, from a fixed seed) into a temporary folder,
tokenises it into memory-mapped arrays with a BERT vocabulary (or one that is built from a part of it), reads rows at
random, and reports the process's peak resident memory, and the speed.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from paddle_ernie_tiny.data.corpus import prepare_corpus
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer, train_vocabulary
from paddle_ernie_tiny.runtime import cpu_cores


def main() -> None:
    """Parses the arguments, measures, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--vocab", type=Path, help="a vocab.txt; default: built from 20,000 of the lines")
    parser.add_argument("--rows", type=int, default=100_000, help="rows that are read at random (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the corpus is written (default: the system's)")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        result = measure(args, folder)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(args: argparse.Namespace, folder: Path) -> dict:
    """Peak memory in MB after each part of the work, and seconds."""
    size = write_corpus(folder / "corpus.txt", args.gigabytes)
    if args.vocab:
        tokenizer = WordPieceTokenizer.from_vocab_file(args.vocab)
    else:
        with open(folder / "corpus.txt", encoding="utf-8") as file:
            tokenizer = train_vocabulary((line for line, _ in zip(file, range(20_000), strict=False)), 8000)
    before, start = peak_mb(), time.perf_counter()
    corpus = prepare_corpus(folder / "corpus.txt", tokenizer, 128, folder / "prepared")
    seconds = time.perf_counter() - start
    prepared = peak_mb()
    for index in np.random.default_rng(0).integers(0, len(corpus.train), args.rows):
        corpus.train[int(index)]
    return {
        "corpus_bytes": size,
        "tokens": corpus.meta["tokens"],
        "rows": corpus.sequences,
        "peak_resident_mb": {
            "before": before,
            "after preparing": prepared,
            f"after reading {args.rows} rows": peak_mb(),
        },
        "seconds": round(seconds, 1),
        "megabytes_per_second": round(size / 1e6 / seconds, 2),
        "machine": {"cores": cpu_cores(), "python": platform.python_version(), "system": platform.platform()},
    }


def write_corpus(path: Path, gigabytes: float) -> int:
    """Lines of 20 to 300 characters, drawn from 3,000 Chinese characters with a falling frequency."""
    rng = np.random.default_rng(7)
    characters = np.array([chr(0x4E00 + i) for i in rng.permutation(20_000)[:3000]] + ["，", "。"])
    weights = 1 / np.arange(1, len(characters) + 1)
    weights /= weights.sum()
    written = 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        while written < gigabytes * 1e9:
            text = "".join(rng.choice(characters, 2_000_000, p=weights))
            cuts = np.cumsum(rng.integers(20, 300, 20_000))
            cuts = cuts[cuts < len(text)]
            lines = [text[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
            block = "\n".join(lines) + "\n"
            file.write(block)
            written += len(block.encode())
    return written


def peak_mb() -> float:
    """This process's peak resident memory in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if platform.system() == "Darwin" else 1e3), 1)


if __name__ == "__main__":
    main()

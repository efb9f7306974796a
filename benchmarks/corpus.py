"""How fast is a general corpus prepared, and how much memory does it take?

    python benchmarks/corpus.py memory --gigabytes 0.2 2 --json OUT.json
    python benchmarks/corpus.py speed --corpus FOLDER --vocab vocab.txt --json OUT.json

memory: synthetic Chinese corpora of these sizes (lines of random length, fixed seed) are tokenised into files, and
100,000 rows are then read at random; peak resident memory of the process and of its largest child, each size in a
process of its own.
speed: the whole preparation of a real corpus by several processes (reading, tokenising, writing) against PaddleNLP's
Python tokenizer in one process on a sample of its lines; in turns, bytes of text per second are compared.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from paddle_ernie_tiny.data.corpus import prepare_corpus, read_lines
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer, train_vocabulary
from paddle_ernie_tiny.machine import cpu_cores


def main() -> None:
    """Parses the arguments, measures, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "speed"))
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.2, 2.0], help="memory: sizes of the corpora")
    parser.add_argument("--rows", type=int, default=100_000, help="memory: rows read at random (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, help="speed: a folder of text files")
    parser.add_argument("--vocab", type=Path, help="speed: a vocab.txt")
    parser.add_argument("--lines", type=int, default=4000, help="speed: sample for PaddleNLP (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="speed: turns of each (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="that prepare (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where temporary files are written (default: the system's)")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    if args.what == "speed" and not (args.corpus and args.vocab):
        parser.error("speed needs --corpus and --vocab")
    result = {"memory": measure_memory, "speed": measure_speed}[args.what](args)
    result["machine"] = {"cores": cpu_cores(), "python": platform.python_version(), "system": platform.platform()}
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure_memory(args: argparse.Namespace) -> dict:
    """Peak memory in MB after each part of the work, and seconds, of every size."""
    context = multiprocessing.get_context("spawn")
    sizes = []
    for gigabytes in args.gigabytes:
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        try:
            with context.Pool(1) as pool:
                write = pool.apply(write_corpus, (folder / "corpus.txt", gigabytes))
            # not in a pool: its processes may have no children
            queue = context.SimpleQueue()
            process = context.Process(target=_prepare_and_read, args=(queue, folder, args.processes, args.rows))
            process.start()
            sizes.append({"corpus_bytes": write, **queue.get()})
            process.join()
        finally:
            shutil.rmtree(folder)
    return {"processes": args.processes, "sizes": sizes}


def _prepare_and_read(queue, folder: Path, processes: int, rows: int) -> None:
    with open(folder / "corpus.txt", encoding="utf-8") as file:
        tokenizer = train_vocabulary((line for line, _ in zip(file, range(20_000), strict=False)), 8000)
    before, start = peak_mb(), time.perf_counter()
    corpus = prepare_corpus(folder / "corpus.txt", tokenizer, 128, folder / "prepared", num_proc=processes)
    seconds = time.perf_counter() - start
    prepared = peak_mb()
    for index in np.random.default_rng(0).integers(0, len(corpus.train), rows):
        corpus.train[int(index)]
    size = (folder / "corpus.txt").stat().st_size
    queue.put(
        {
            "tokens": corpus.meta["tokens"],
            "rows": corpus.sequences,
            "peak_resident_mb": {
                "before": before,
                "after preparing": prepared,
                "largest child": peak_mb(resource.RUSAGE_CHILDREN),
                f"after reading {rows} rows": peak_mb(),
            },
            "seconds": round(seconds, 1),
            "megabytes_per_second": round(size / 1e6 / seconds, 2),
        }
    )


def measure_speed(args: argparse.Namespace) -> dict:
    """Bytes of text per second of both ways, by turn, and the ratio of the medians."""
    from paddlenlp.transformers import BertTokenizer

    ours = WordPieceTokenizer.from_vocab_file(args.vocab)
    theirs = BertTokenizer(str(args.vocab))
    lines = list(read_lines(args.corpus))
    sample = [lines[i] for i in np.random.default_rng(0).permutation(len(lines))[: args.lines]]
    size, sample_size = (sum(len(line.encode()) + 1 for line in part) for part in (lines, sample))
    speeds: dict[str, list[float]] = {"prepared": [], "paddlenlp": []}
    for _ in range(args.rounds):
        start = time.perf_counter()
        for line in sample:
            theirs(line)
        speeds["paddlenlp"].append(sample_size / (time.perf_counter() - start))
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        try:
            start = time.perf_counter()
            prepare_corpus(args.corpus, ours, 128, folder / "prepared", num_proc=args.processes)
            speeds["prepared"].append(size / (time.perf_counter() - start))
        finally:
            shutil.rmtree(folder)
    medians = {name: float(np.median(values)) for name, values in speeds.items()}
    return {
        "corpus": {"bytes": size, "lines": len(lines), "sample_lines": len(sample)},
        "processes": args.processes,
        "megabytes_per_second": {name: [round(v / 1e6, 3) for v in values] for name, values in speeds.items()},
        "times_as_fast": round(medians["prepared"] / medians["paddlenlp"], 2),
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


def peak_mb(who: int = resource.RUSAGE_SELF) -> float:
    """Peak resident memory in MB of this process, or of its largest child."""
    peak = resource.getrusage(who).ru_maxrss
    return round(peak / (1e6 if platform.system() == "Darwin" else 1e3), 1)


if __name__ == "__main__":
    main()

"""Peak memory of `ernie-tiny predict` over a small and a large text file: it must not grow with the file.

    python benchmarks/prediction_memory.py BUNDLE [--small-mb 10] [--large-mb 2048] [--json FILE]

Each prediction is a process of its own; its peak is the kernel's (VmHWM). The texts differ in length, as real ones do.
Exit code 1 if the larger file needs 100 MB more than the smaller one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ALLOWED_MB = 100
SENTENCES = ("房间很宽敞，不过隔音太差。", "早餐一般，服务很好，下次还来，", "the room is clean, the staff are kind; ")


def write_texts(path: Path, megabytes: float) -> int:
    """Writes lines of 40 to 4,500 bytes until the file has that size; returns how many."""
    block, rows, size = "", 0, 0
    with path.open("w", encoding="utf-8") as file:
        for number in range(4000):
            block += SENTENCES[number % 3] * (1 + (number * 7919) % 100) + f"{number}\n"
        wanted = megabytes * 2**20
        while size < wanted:
            file.write(block)
            size, rows = size + len(block.encode()), rows + 4000
    return rows


def measure(bundle: str, megabytes: float, folder: Path) -> dict[str, float]:
    """Rows, seconds and peak resident memory of a prediction over a file of that size."""
    path, out = folder / "rows.txt", folder / "answers.jsonl"
    rows, start = write_texts(path, megabytes), time.perf_counter()
    command = [sys.executable, "-m", "paddle_ernie_tiny", "predict", bundle, "--input", str(path)]
    process = subprocess.Popen([*command, "--output", str(out), "--top", "1"])
    peak = 0.0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        peak = max([peak, *(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.2)
    if process.wait():
        sys.exit(f"predict ended with {process.returncode}")
    with out.open("rb") as file:
        answered = sum(1 for _ in file)
    if answered != rows:
        sys.exit(f"{answered} answers to {rows} rows")
    os.unlink(path), os.unlink(out)
    return {"megabytes": megabytes, "rows": rows, "seconds": time.perf_counter() - start, "peak_rss_mb": peak}


def main() -> None:
    """Measures both files and prints the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--small-mb", type=float, default=10)
    parser.add_argument("--large-mb", type=float, default=2048)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [measure(args.bundle, size, Path(folder)) for size in (args.small_mb, args.large_mb)]
    result = {"files": found, "more_mb": found[1]["peak_rss_mb"] - found[0]["peak_rss_mb"], "allowed_mb": ALLOWED_MB}
    text = json.dumps(result, indent=1)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n", encoding="utf-8")
    sys.exit(result["more_mb"] > ALLOWED_MB)


if __name__ == "__main__":
    main()

"""`python -m tests.faults PART`: one part, or `all` of them."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .harness import Summary, run_part
from .parts import PARTS
from .results import write_results


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line asks for; the exit code is 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--count", type=int, help="attacks; default: the bar's")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the bar's counts, such as 0.1, where --count is not"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="of the server's load (memory), and of nothing else; default: 10")
    parser.add_argument("--workers", type=int, default=2, help="cases at the same time, where a part allows it")
    parser.add_argument("--output", type=Path, help="journals and figures; a second call with the same goes on there")
    parser.add_argument(
        "--results", type=Path, help="write command.txt, result.json and README.md there, of all parts in --output"
    )
    given = parser.parse_args(arguments)
    output = given.output or Path(tempfile.mkdtemp(prefix="ernie-tiny-faults-"))
    output.mkdir(parents=True, exist_ok=True)
    print(f"journals and figures: {output}", flush=True)
    summaries: list[Summary] = []
    for name in PARTS if given.part == "all" else [given.part]:
        part = PARTS[name](given.seed, (output / "work").absolute(), given.minutes)
        count = given.count or max(1, round(part.whole * given.share))
        summaries.append(run_part(part, count, output, given.workers, say=_say))
    if given.results is not None:
        write_results(given.results, output, sys.argv[1:] if arguments is None else arguments)
    attacks, faults = sum(summary.attacks for summary in summaries), sum(len(summary.faults) for summary in summaries)
    seconds = sum(summary.seconds for summary in summaries)
    if len(summaries) > 1:
        for summary in summaries:
            _say(summary.line)
    _say(f"faults: {attacks} attacks in {seconds / 60:.1f} minutes, {faults} faults")
    return 1 if faults else 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Splits for the ablation: public data sets whose training file is not at hand, or whose dev file is to be scored.

Writes train.tsv, dev.tsv (which chooses checkpoints) and test.tsv (which is scored) of each task into OUT/TASK. Rows
are shuffled with a fixed seed. A training file that is missing is replaced by the published test file: the scores
cannot be compared with published ones.

    python benchmarks/ablation_data.py DATA OUT

DATA has the published files: lcqmc/{dev,test}.txt, xnli_zh/{dev,test}.tsv, tnews/{train,dev}.tsv,
msra_ner_baidu/{dev,test}.tsv, glue_en/{SST-2,CoLA,STS-B}/{train,dev}.tsv.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

SEED = 0


@dataclass(frozen=True)
class Split:
    """Where a task's rows come from: files below DATA, whether they have a header, and how many rows of each go where.

    train: most rows of the first file; dev: rows of the second (or of the first, after those of train, if
    `dev_from_train`); the rest of the second is the scored split.
    """

    train: str
    scored: str
    header: bool
    rows: int
    dev: int
    dev_from_train: bool = False


SPLITS = {
    "lcqmc": Split("lcqmc/test.txt", "lcqmc/dev.txt", False, 12_500, 2000),
    "xnli": Split("xnli_zh/test.tsv", "xnli_zh/dev.tsv", True, 5010, 490),
    "tnews": Split("tnews/train.tsv", "tnews/dev.tsv", False, 16_000, 2000),
    "msra_ner": Split("msra_ner_baidu/test.tsv", "msra_ner_baidu/dev.tsv", True, 4636, 500),
    "sst2": Split("glue_en/SST-2/train.tsv", "glue_en/SST-2/dev.tsv", True, 24_000, 1000, True),
    "cola": Split("glue_en/CoLA/train.tsv", "glue_en/CoLA/dev.tsv", False, 7551, 1000, True),
    "stsb": Split("glue_en/STS-B/train.tsv", "glue_en/STS-B/dev.tsv", True, 5000, 749, True),
}


def main() -> None:
    """Parses the arguments, writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    for task, split in SPLITS.items():
        head, train = _read(given.data / split.train, split.header)
        _, scored = _read(given.data / split.scored, split.header)
        chosen = train[split.rows :] if split.dev_from_train else scored
        parts = {
            "train": train[: split.rows],
            "dev": chosen[: split.dev],
            "test": scored if split.dev_from_train else scored[split.dev :],
        }
        for name, rows in parts.items():
            file = given.out / task / f"{name}.tsv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")
        print(task, {name: len(rows) for name, rows in parts.items()})


def _read(file: Path, header: bool) -> tuple[list[str], list[str]]:
    """The line of the header, if there is one, and the shuffled rows."""
    lines = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    head, rows = (lines[:1], lines[1:]) if header else ([], lines)
    random.Random(SEED).shuffle(rows)
    return head, rows


if __name__ == "__main__":
    main()

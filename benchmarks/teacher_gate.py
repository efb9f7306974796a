"""The teacher's gate on simulated splits: is a perfect teacher ever stopped, is a constant or a random one let through?

    python benchmarks/teacher_gate.py --splits 1000 --seed 0 --out docs/results/teacher-gate

Of every kind, splits of 4 to 4,000 rows (evenly in the logarithm) with 1 to 50 % positives. A random teacher answers by
coin with a share of its own. One constant answer is drawn for each split.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np

from paddle_ernie_tiny.files import read_json, write_json
from paddle_ernie_tiny.kinds.metrics import METRICS
from paddle_ernie_tiny.kinds.scored import Scored, right_answers
from paddle_ernie_tiny.kinds.uncertainty import Interval, against_chance, could_tell
from paddle_ernie_tiny.machine import describe_machine

LABELS, TAGS = ["no", "yes"], ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
THREE = ["bad", "fair", "good"]
MEASURED = ("accuracy", "f1", "matthews", "macro_f1", "entity_f1", "pearson_spearman")


def teachers(metric: str, rng: np.random.Generator) -> dict[str, Scored]:
    """A split by chance, and three teachers' answers on it: "perfect", "constant", "random"."""
    rows = int(round(np.exp(rng.uniform(np.log(4), np.log(4000)))))
    share = np.exp(rng.uniform(np.log(0.01), np.log(0.5)))
    if metric == "entity_f1":
        return _taggers(rows, share, rng)
    if metric == "pearson_spearman":
        gold = np.round(rng.uniform(0, 5, rows), 1)
        answers = {"constant": np.full(rows, rng.uniform(0, 5)), "random": rng.uniform(0, 5, rows)}
        return {
            "perfect": right_answers(gold, ["score"]),
            **{n: Scored.of(a, gold, ["score"]) for n, a in answers.items()},
        }
    labels = THREE if metric == "macro_f1" else LABELS
    rest = np.full(len(labels) - 1, share)
    gold = rng.choice(len(labels), rows, p=[1 - rest.sum() if len(rest) == 1 else 1 - share, *rest / len(rest)])
    own = rng.uniform(0.01, 0.99)
    random = rng.choice(len(labels), rows, p=[1 - own, *np.full(len(rest), own / len(rest))])
    answers = {"constant": np.full(rows, rng.integers(len(labels))), "random": random}
    made = {name: Scored.of(np.eye(len(labels))[ids], gold, labels) for name, ids in answers.items()}
    return {"perfect": right_answers(gold, labels), **made}


def _taggers(rows: int, share: float, rng: np.random.Generator) -> dict[str, Scored]:
    """Sentences of 5 to 30 words; `share` of the words begin an entity of one to three words, or go on with it."""

    def tagged(begins: float, lengths: np.ndarray) -> list[list[int]]:
        found = []
        for length in lengths:
            row = [0] * int(length)
            place = 0
            while place < length:
                if rng.random() < begins:
                    kind, size = 1 + 2 * int(rng.integers(2)), int(rng.integers(1, 4))
                    row[place : place + size] = [kind, kind + 1, kind + 1][: min(size, int(length) - place)]
                    place += size
                place += 1
            found.append(row)
        return found

    lengths = rng.integers(5, 31, rows)
    gold, other = tagged(share / 2, lengths), tagged(rng.uniform(0.005, 0.3), lengths)
    eye, tag = np.eye(len(TAGS)), int(rng.integers(len(TAGS)))
    # half of the random taggers give entities, half of them single tags
    words = rng.random() < 0.5
    random = [eye[rng.integers(len(TAGS), size=len(row)) if words else row] for row in other]
    return {
        "perfect": right_answers(gold, TAGS),
        "constant": Scored([eye[np.full(len(row), tag)] for row in gold], gold, TAGS),
        "random": Scored(random, gold, TAGS),
    }


def simulate(metric: str, splits: int, seed: int) -> dict[str, object]:
    """How many splits could tell, and of these, and of the others, how many teachers of each sort got each verdict."""
    rng, able, verdicts = np.random.default_rng([seed, *metric.encode()]), 0, Counter()
    for _ in range(splits):
        answers = teachers(metric, rng)
        able_to = could_tell(metric, answers["perfect"])  # by the gold labels alone, so the same for all three
        for name, own in answers.items():
            score = METRICS[metric](own)
            # who is stopped does not depend on the interval, which takes the most time
            verdicts[name, able_to, against_chance(metric, own, Interval(score, score, score)).verdict] += 1
        able += able_to
    counted: dict[str, dict[str, int]] = {}
    for (name, able_to, verdict), count in sorted(verdicts.items()):
        counted.setdefault(f"{name}, {'could tell' if able_to else 'could not tell'}", {})[verdict] = count
    stopped = {name: verdicts[name, True, "chance"] for name in ("perfect", "constant", "random")}
    return {"splits": splits, "could_tell": able, "stopped": stopped, "verdicts": counted}


def main() -> None:
    """Simulates every metric and writes result.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--metric", nargs="*", default=list(MEASURED), help="those of result.json are kept otherwise")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "result.json"
    result = {**(read_json(file) or {"metrics": {}}), "environment": describe_machine(), "seed": arguments.seed}
    for metric in arguments.metric:
        start = time.monotonic()
        values = simulate(metric, arguments.splits, arguments.seed)
        values["seconds"] = round(time.monotonic() - start, 1)
        result["metrics"][metric] = values
        write_json(file, result)
        print(metric, json.dumps({key: values[key] for key in ("could_tell", "stopped", "seconds")}), flush=True)
    command = (
        f"python benchmarks/teacher_gate.py --splits {arguments.splits} --seed {arguments.seed} --out {arguments.out}"
    )
    (arguments.out / "command.txt").write_text(command + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The floor on public data sets: what a linear model on n-grams scores, how long it trains, how fast it answers.

    python benchmarks/floor.py --data FOLDER --out docs/results/floor

FOLDER holds the data sets as their publishers name the files (chnsenticorp/train.tsv, glue_en/SST-2/train.tsv, ...);
those that are not there are left out. The demo's data is in the repository. Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.files import write_json
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.kinds.scored import Scored, right_answers
from paddle_ernie_tiny.kinds.uncertainty import interval
from paddle_ernie_tiny.machine import describe_machine

DEMO = Path(__file__).resolve().parents[1] / "examples" / "data"
PAIR = TableFormat(header=False, text=0, text_b=1, label=2)
STS = TableFormat(header=True, text="sentence1", text_b="sentence2", label="score")
# name, kind, metric, the rows trained on (at most; None: all), files to train on and to score, columns
TASKS = (
    ("demo", "classification", "accuracy", None, "demo/train.tsv", "demo/test.tsv",
     TableFormat(text="text", label="label")),
    ("ChnSentiCorp", "classification", "accuracy", None, "chnsenticorp/train.tsv", "chnsenticorp/test.tsv",
     TableFormat(text="text_a", label="label")),
    ("LCQMC, trained on its test file", "classification", "accuracy", None, "lcqmc/test.txt", "lcqmc/dev.txt", PAIR),
    ("SST-2, the first 12,000 rows", "classification", "accuracy", 12_000, "glue_en/SST-2/train.tsv",
     "glue_en/SST-2/dev.tsv", TableFormat(text="sentence", label="label")),
    ("SST-2", "classification", "accuracy", None, "glue_en/SST-2/train.tsv", "glue_en/SST-2/dev.tsv",
     TableFormat(text="sentence", label="label")),
    ("CoLA", "classification", "matthews", None, "glue_en/CoLA/train.tsv", "glue_en/CoLA/dev.tsv",
     TableFormat(header=False, text=3, label=1)),
    ("STS-B", "regression", "pearson_spearman", None, "glue_en/STS-B/train.tsv", "glue_en/STS-B/dev.tsv", STS),
    ("TNEWS", "classification", "accuracy", None, "tnews/train.tsv", "tnews/dev.tsv",
     TableFormat(header=False, text=0, label=1)),
    ("Weibo NER", "token_classification", "entity_f1", None, "weibo_ner/train.all.bmes", "weibo_ner/test.all.bmes",
     TableFormat(format="conll")),
)  # fmt: skip


def measured(data: Path, kind_name: str, metric: str, most: int | None, train: str, test: str, table: TableFormat):
    """Score with its interval, rows, seconds, texts per second, size. Raises InputError for files that do not fit."""
    kind = KINDS[kind_name]
    labels = kind.infer_labels(data / train, table)
    rows, scored = kind.read(data / train, table, labels)[:most], kind.read(data / test, table, labels)
    model = kind.floor(rows, labels)
    assert model is not None
    with threadpool_limits(1):
        part, start = model.part(rows, seed=42), time.process_time()
        model.fit(part)
        fitted = time.process_time()
        outputs = model.outputs(scored)
        answered = time.process_time() - fitted
    gold = right_answers([example.label for example in scored], labels).gold
    answers, seen = Scored(outputs, gold, labels), {example.content for example in rows}
    unseen = np.array([example.content not in seen for example in scored])
    return {
        "metric": metric,
        **asdict(interval(metric, answers)),
        "score_unseen": interval(metric, answers.take(unseen)).score,
        "rows": len(scored),
        "rows_unseen": int(unseen.sum()),
        "train_rows": len(rows),
        "trained_rows": len(part),
        "seconds": round(fitted - start, 2),
        "texts_per_second": round(len(scored) / answered),
        "params": model.weights,
        "mb": round(4e-6 * model.weights, 2),
    }


def main() -> None:
    """Measures every data set that is there and writes result.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    measured(DEMO, *TASKS[0][1:])  # loads scikit-learn
    result: dict[str, object] = {"environment": describe_machine(), "seed": 42}
    for name, *task in TASKS:
        folder = DEMO if name == "demo" else arguments.data
        if (folder / task[3]).is_file():
            result[name] = measured(folder, *task)
            print(name, result[name], flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "result.json", result)
    command = f"python benchmarks/floor.py --data FOLDER --out {arguments.out}"
    (arguments.out / "command.txt").write_text(command + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

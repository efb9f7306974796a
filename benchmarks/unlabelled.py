"""What does a pool of unlabelled text bring a student when few rows have labels?

    python benchmarks/unlabelled.py --json OUT.json

For every seed two runs of one configuration, with the labels of `data.train_limit` training rows alone: `without`, and
`with`, which has all other training rows as `data.unlabelled`. The second run starts from a copy of the first, so both
have the same teacher, the same baseline and the same general stages, if there are any; the stages on task data have as
many steps in both.

The default is the embedded demo with 200 of its 2,000 labels (benchmarks/unlabelled_demo.yaml). `--config` names
another configuration, whose `data.train_limit` says how many labels there are, and arguments such as `data.train=FILE`
override it. A teacher that is pretrained is pretrained once, and fine-tuned for every seed. Runs that are finished in
`--work` are not repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from common import machine

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.stages import STAGES


def main() -> None:
    """Parses the arguments, runs what is missing, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="key.sub=value, for both runs")
    parser.add_argument("--config", default="benchmarks/unlabelled_demo.yaml", help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--pool", help="file of unlabelled text (default: the training file, without its labels)")
    parser.add_argument("--work", type=Path, default=Path("runs/unlabelled"), help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    config, overrides = load_config(args.config, args.overrides), args.overrides
    pool = args.pool or str(config.data.train)
    if config.teacher is not None and config.teacher.pretrain is not None:
        pretrained = args.work / "pretrained"
        run(args.config, [*overrides, "--until", "pretrain"], pretrained)
        overrides = [*overrides, "teacher.pretrain=null", f"teacher.model={pretrained / 'teacher/pretrained/final'}"]
    seeds = {seed: compare(args.config, overrides, seed, pool, args.work / f"seed-{seed}") for seed in args.seeds}
    gains = [values["gain_points"] for values in seeds.values()]
    result = {
        "labelled": config.data.train_limit,
        "gain_points": {"mean": round(statistics.mean(gains), 2), "least": min(gains), "most": max(gains)},
        "mean": {name: mean_of(seeds, name) for name in ("teacher", "baseline", "without", "with")},
        "seeds": seeds,
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def mean_of(seeds: dict[int, dict], name: str) -> float | None:
    """The mean score of a model over the seeds; None without one."""
    scores = [values[name] for values in seeds.values()]
    return None if None in scores else round(statistics.mean(scores), 4)


def compare(config: str, overrides: list[str], seed: int, pool: str, folder: Path) -> dict:
    """Scores on the test split of one seed: of the teacher, the baseline, and both students."""
    without = run(config, [*overrides, f"seed={seed}"], folder / "without")
    if not (folder / "with").exists():
        shutil.copytree(folder / "without", folder / "with")
    pooled = run(config, [*overrides, f"seed={seed}", f"data.unlabelled={pool}"], folder / "with")
    steps = [{s["name"]: s["steps"] for s in report["stages"]} for report in (without, pooled)]
    assert steps[0] == steps[1], f"the students had different numbers of steps: {steps}"
    assert without["teacher"]["score"] == pooled["teacher"]["score"], "the runs have different teachers"
    one, other = without["student"], pooled["student"]
    return {
        "teacher": without["teacher"]["score"],
        "baseline": without["baseline"]["score"],
        "without": one["score"],
        "with": other["score"],
        "gain_points": round(100 * (other["score"] - one["score"]), 2),
        "intervals": {"without": one["interval"], "with": other["interval"]},
        "agreement_with_teacher": {
            "without": without["fidelity"]["student"]["agreement"],
            "with": pooled["fidelity"]["student"]["agreement"],
        },
        "steps": {name: count for name, count in steps[0].items() if not STAGES[name].is_general},
        "pool": {key: pooled["unlabelled"][key] for key in ("rows", "removed", "teacher", "student")},
        "test_rows": without["student"]["rows"],
    }


def run(config: str, arguments: list[str], folder: Path) -> dict:
    """The report of a run, which continues where it stopped; empty where `--until` ends it."""
    command = [sys.executable, "-m", "paddle_ernie_tiny", "run", config, f"output_dir={folder}", *arguments]
    subprocess.run(command, check=True)
    report = folder / "report.json"
    return json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}


if __name__ == "__main__":
    main()

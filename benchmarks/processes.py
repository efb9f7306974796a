"""Do several processes learn what one does? Same global batch, loss curves compared step by step.

    python benchmarks/processes.py --steps 50 --json OUT.json

Runs the demo twice in temporary folders, up to the third stage, with short trainings that log every step: in one
process, and by `--devices 0,1` in two with half the batch each; on a CPU these are two gloo processes. Dropout is
off in both, as random numbers differ between processes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

STEPS = ("teacher/finetuned", "stages/1-general", "stages/2-general_enhanced", "stages/3-task_adaptive")
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def main() -> None:
    """Parses the arguments, runs both, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/demo.yaml"))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=32, help="rows per step of all processes (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        curves = {}
        for name, processes in (("one", 1), ("two", 2)):
            file = folder / f"{name}.yaml"
            file.write_text(yaml.safe_dump(configuration(args, folder / name, processes)), encoding="utf-8")
            if processes == 1:
                command = ["run", file, "--until", "task_adaptive"]
            else:  # the same pretrained teacher, which half the batch would make another one
                shutil.copytree(folder / "one" / "teacher" / "pretrained", folder / name / "teacher" / "pretrained")
                shutil.copy(folder / "one" / "config.resolved.yaml", folder / name)
                command = ["run", file, "--until", "task_adaptive", "--devices", "0,1"]
            threads = {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [sys.executable, "-m", "paddle_ernie_tiny", *map(str, command)], env={**os.environ, **threads}
            )
            if done.returncode:
                sys.exit(f"the run in {processes} process(es) failed with exit code {done.returncode}")
            curves[name] = {step: losses(folder / name / step) for step in STEPS}
    finally:
        shutil.rmtree(folder)
    result = {
        "steps": args.steps,
        "global_batch": args.batch,
        "largest_relative_difference": {
            step: max(abs(b - a) / a for a, b in zip(curves["one"][step], curves["two"][step], strict=True))
            for step in STEPS
        },
        "losses": curves,
    }
    print(json.dumps(result["largest_relative_difference"], indent=1))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def configuration(args: argparse.Namespace, out: Path, processes: int) -> dict:
    """The demo with trainings of `steps` steps, all of which are logged."""
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    settings = {
        "max_steps": args.steps,
        "per_device_train_batch_size": args.batch // processes,
        "logging_steps": 1,
        "save_steps": args.steps,
        "learning_rate": 5e-4,
    }
    config.update(output_dir=str(out), baseline=None)
    config["student"].update(NO_DROPOUT)
    config["teacher"].update(finetune=settings, check_above_chance=False, **NO_DROPOUT)
    config["teacher"]["pretrain"]["training"] = {**settings, "per_device_train_batch_size": args.batch}
    config["stages"] = [{"stage": stage["stage"], "training": settings} for stage in config["stages"]]
    return config


def losses(step: Path) -> list[float]:
    """The loss of every step, as it was logged."""
    history = json.loads((step / "done.json").read_text(encoding="utf-8"))["result"]["history"]
    return [entry["loss"] for entry in history if "loss" in entry]


if __name__ == "__main__":
    main()

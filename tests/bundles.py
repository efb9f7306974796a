"""Tiny bundles with random weights, for tests of what serves them."""

import io
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

KINDS = {
    "classification": {"labels": ["negative", "positive"], "task_type": "classification"},
    "pairs": {"labels": ["different", "same"], "task_type": "pair_classification"},
    "regression": {"labels": ["score"], "task_type": "pair_regression"},
    "tags": {"labels": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "task_type": "token_classification"},
}


def make_bundles(folder: Path) -> dict[str, Path]:
    """One bundle of each of KINDS below `folder`, all by one child process: the toolkit's export starts one for each,
    and importing PaddleNLP takes seconds."""
    code = "import sys; from tests.bundles import _make; _make(sys.argv[1])"
    environment = {**os.environ, "FLAGS_enable_pir_api": "0"}
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return {name: folder / name for name in KINDS}


def _make(folder: str) -> None:
    from paddle_ernie_tiny.config.schema import ModelShape
    from paddle_ernie_tiny.data.tokenization import train_vocabulary
    from paddle_ernie_tiny.deploy import export_worker
    from paddle_ernie_tiny.deploy.export import ExportRequest
    from paddle_ernie_tiny.models.build import build_masked_lm, build_student
    from paddle_ernie_tiny.models.weights import save_model

    size = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    root, shape = Path(folder), ModelShape(**size)
    tokenizer = train_vocabulary(["房间很宽敞 服务不好 王小明在北京 the room is clean and the staff are kind"] * 3, 200)
    save_model(build_masked_lm(tokenizer.vocab_size, shape), tokenizer, root / "base")
    for name, kind in KINDS.items():
        bare = kind["task_type"].removeprefix("pair_")
        pair, tagged = bare != kind["task_type"], bare == "token_classification"
        student = root / f"{name}-student"
        save_model(build_student(root / "base", shape, kind["labels"], bare), tokenizer, student)
        request = ExportRequest(
            checkpoint=str(student),
            out=str(root / name),
            task=name,
            labels=kind["labels"],
            metric="accuracy",
            kind=bare,
            unit="character" if tagged else None,
            max_length_tokens=60,
            texts=[list("王小明在北京")] if tagged else ["房间很宽敞"],
            texts_b=["服务不好"] if pair else None,
            tolerance=1e-4,
            table={},
        )
        (root / name).mkdir()
        sys.stdin, sys.argv[1] = io.StringIO(json.dumps(asdict(request))), request.out
        export_worker.main()

"""Tiny bundles with random weights, for tests of what serves them."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KINDS = {
    "classification": {"labels": ["negative", "positive"], "task_type": "classification"},
    "pairs": {"labels": ["different", "same"], "task_type": "pair_classification"},
    "regression": {"labels": ["score"], "task_type": "pair_regression"},
    "tags": {"labels": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "task_type": "token_classification"},
    "reading": {"labels": ["start", "end"], "task_type": "pair_reading"},
}

# made only where a test asks for them
MORE_KINDS = {
    "topics": {"labels": ["art", "law", "sea"], "task_type": "multi_label", "settings": {"thresholds": 0.45}},
    "topics_of_pairs": {"labels": ["art", "law"], "task_type": "pair_multi_label"},
}

CHARACTERS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜"
TOKENS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *dict.fromkeys(CHARACTERS),
    *(f"[unused{i}]" for i in range(400)),
]


def make_bundles(folder: Path, names=tuple(KINDS)) -> dict[str, Path]:
    """One bundle of each of these kinds below `folder`, all by one child process: the toolkit's export starts one for
    each, and importing PaddleNLP takes seconds."""
    code = "import sys; from tests.bundles import _make; _make(*sys.argv[1:])"
    environment = {**os.environ, "FLAGS_enable_pir_api": "0"}
    line = [sys.executable, "-c", code, str(folder), *names]
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return {name: folder / name for name in names}


def _make(folder: str, *names: str) -> None:
    from paddle_ernie_tiny.config.schema import ModelShape
    from paddle_ernie_tiny.data.tokenization import train_vocabulary
    from paddle_ernie_tiny.deploy.export import ExportRequest, _write_bundle
    from paddle_ernie_tiny.kinds import KINDS as KINDS_OF_TASK
    from paddle_ernie_tiny.kinds.metrics import metrics_of
    from paddle_ernie_tiny.models.build import build_masked_lm, build_student
    from paddle_ernie_tiny.models.weights import save_model

    size = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    root, shape = Path(folder), ModelShape(**size)
    tokenizer = train_vocabulary(["房间很宽敞 服务不好 王小明在北京 the room is clean and the staff are kind"] * 3, 200)
    save_model(build_masked_lm(tokenizer.vocab_size, shape), tokenizer, root / "base")
    for name in names:
        kind = {**KINDS, **MORE_KINDS}[name]
        bare = kind["task_type"].removeprefix("pair_")
        pair, tagged = bare != kind["task_type"], bare == "token_classification"
        student = root / f"{name}-student"
        save_model(build_student(root / "base", shape, kind["labels"], KINDS_OF_TASK[bare]), tokenizer, student)
        request = ExportRequest(
            checkpoint=str(student),
            out=str(root / name),
            task=name,
            labels=kind["labels"],
            metric=metrics_of(bare)[0],
            kind=bare,
            unit="character" if tagged else None,
            max_length_tokens=60,
            texts=[list("王小明在北京")] if tagged else ["房间很宽敞"],
            texts_b=["服务不好"] if pair else None,
            tolerance=1e-4,
            table={},
            settings=kind.get("settings", {}),
        )
        (root / name).mkdir()
        _write_bundle(request, root / name)


@dataclass
class SmallBundle:
    """A bundle, rows in its shape, and gold labels: what the fp32 bundle itself answers."""

    folder: Path
    texts: list
    texts_b: list | None
    gold: list

    def rows(self, count=None):
        from paddle_ernie_tiny.deploy.row_files import LabelledRows

        pairs = self.texts_b[:count] if self.texts_b is not None else None
        return LabelledRows(self.texts[:count], pairs, self.gold[:count])


def make_bundle(root: Path, kind: str, pairs: bool = False, largest: float | None = None) -> SmallBundle:
    """largest: random weights beyond it are cut to it."""
    import paddle

    from paddle_ernie_tiny.config import ModelShape
    from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
    from paddle_ernie_tiny.deploy.export import ExportRequest, export_bundle
    from paddle_ernie_tiny.deploy.predictor import Predictor
    from paddle_ernie_tiny.kinds import KINDS as KINDS_OF_TASK
    from paddle_ernie_tiny.models.build import build_masked_lm, load_classifier
    from paddle_ernie_tiny.models.weights import save_model

    paddle.seed(3)
    shape = ModelShape(num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=64)
    save_model(build_masked_lm(len(TOKENS), shape, 32), WordPieceTokenizer(TOKENS), root / "pretrained")
    labels = {"regression": ["score"], "token_classification": ["O", "B-X", "I-X"]}.get(kind, ["a", "b", "c"])
    model = load_classifier(root / "pretrained", labels, KINDS_OF_TASK[kind], new_head=True)
    for weight in model.parameters():  # the usual start, 0.02, leaves all answers alike
        if len(weight.shape) == 2:
            values = paddle.randn(weight.shape) * 0.2
            weight.set_value(values if largest is None else values.clip(-largest, largest))
    save_model(model, WordPieceTokenizer(TOKENS), root / "final")
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(CHARACTERS), rng.integers(3, 12))) for _ in range(48)]
    texts_b = texts[::-1] if pairs else None
    if kind == "token_classification":
        texts = [list(text) for text in texts]
    metric = {"regression": "pearson", "token_classification": "entity_f1"}.get(kind, "accuracy")
    request = ExportRequest(
        checkpoint=str(root / "final"),
        out=str(root / "bundle"),
        task="small",
        labels=labels,
        metric=metric,
        kind=kind,
        unit="character" if kind == "token_classification" else None,
        max_length_tokens=32,
        texts=texts[:4],
        texts_b=texts_b[:4] if pairs else None,
        tolerance=1e-4,
        table={"format": "auto", "header": False, "text": 0, "text_b": 1 if pairs else None, "label": 1 + pairs},
    )
    export_bundle(request)
    logits = Predictor(root / "bundle").logits(texts, texts_b)
    if kind == "token_classification":
        gold = [row.argmax(-1).tolist() for row in logits]
    else:
        gold = [float(row[0]) for row in logits] if kind == "regression" else logits.argmax(-1).tolist()
    return SmallBundle(root / "bundle", texts, texts_b, gold)


def bundles_in(folder: Path) -> dict[str, Path]:
    """One bundle of each kind of task, with random weights, by name; those of an earlier call are taken."""
    if not (folder / "made").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make_bundles(folder)
        (folder / "made").touch()
    return {name: folder / name for name in KINDS}

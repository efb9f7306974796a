"""Small bundles with random weights, one for each kind of task."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

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


@dataclass
class SmallBundle:
    """A bundle, rows in its shape, and gold labels: what the fp32 bundle itself answers."""

    folder: Path
    texts: list
    texts_b: list | None
    gold: list

    def rows(self, count=None):
        from paddle_ernie_tiny.deploy.scoring import LabelledRows

        pairs = self.texts_b[:count] if self.texts_b is not None else None
        return LabelledRows(self.texts[:count], pairs, self.gold[:count])


def make_bundle(root: Path, kind: str, pairs: bool = False) -> SmallBundle:
    import paddle

    from paddle_ernie_tiny.config import ModelShape
    from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
    from paddle_ernie_tiny.deploy.export import ExportRequest, export_bundle
    from paddle_ernie_tiny.deploy.predictor import Predictor
    from paddle_ernie_tiny.models.build import build_masked_lm, load_classifier
    from paddle_ernie_tiny.models.weights import save_model

    paddle.seed(3)
    shape = ModelShape(num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=64)
    save_model(build_masked_lm(len(TOKENS), shape, 32), WordPieceTokenizer(TOKENS), root / "pretrained")
    labels = {"regression": ["score"], "token_classification": ["O", "B-X", "I-X"]}.get(kind, ["a", "b", "c"])
    model = load_classifier(root / "pretrained", labels, kind)
    for weight in model.parameters():  # the usual start, 0.02, leaves all answers alike
        if len(weight.shape) == 2:
            weight.set_value(paddle.randn(weight.shape) * 0.2)
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


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> SmallBundle:
    """Three labels, one text a row."""
    return make_bundle(tmp_path_factory.mktemp("classifier"), "classification")


@pytest.fixture(scope="session")
def pair_regressor(tmp_path_factory) -> SmallBundle:
    """A score for two texts."""
    return make_bundle(tmp_path_factory.mktemp("regressor"), "regression", pairs=True)


@pytest.fixture(scope="session")
def tagger(tmp_path_factory) -> SmallBundle:
    """A tag for each character."""
    return make_bundle(tmp_path_factory.mktemp("tagger"), "token_classification")

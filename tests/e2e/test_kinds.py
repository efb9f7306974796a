"""Token classification and regression go the whole way: four stages, export, prediction, evaluation."""

import json

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from paddle_ernie_tiny.deploy.predictor import Predictor

from .conftest import ernie_tiny


def gold_rows(file):
    blocks = file.read_text(encoding="utf-8").strip().split("\n\n")
    return [[line.split(" ") for line in block.splitlines()] for block in blocks]


def test_the_tagger_s_report(tagger):
    report = tagger.report
    assert report["kind"] == "token_classification" and report["metric"] == "entity_f1"
    assert report["labels"] == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert report["student"]["rows"] == 40 and 0 <= report["student"]["score"] <= 1
    with np.load(tagger.root / "teacher" / "finetuned" / "predictions.npz") as arrays:
        assert report["fidelity"]["student"]["rows"] == arrays["unseen"].sum(), "fidelity is over words"
    assert "over words" in report["stages"][-1]["equation"]
    assert [stage["score_kind"] for stage in report["stages"]] == ["linear probe"] * 3 + ["classifier"]
    assert "linear model on the frozen state of each word" in (tagger.root / "report.md").read_text(encoding="utf-8")


def test_the_tagger_s_score_is_seqeval_s(tagger):
    from seqeval.metrics import f1_score

    report, rows = tagger.report, gold_rows(tagger.folder / "test.bio")
    with np.load(tagger.root / "teacher" / "finetuned" / "predictions.npz") as arrays:
        flat = iter(arrays["logits"].argmax(-1))
        assert len(arrays["labels"]) == sum(map(len, rows))
    predicted = [[report["labels"][next(flat)] for _ in row] for row in rows]
    expected = f1_score([[tag for _, tag in row] for row in rows], predicted, zero_division=0)
    assert report["teacher"]["score"] == pytest.approx(expected)


def test_the_tagger_s_bundle_finds_entities_in_raw_text(tagger, tmp_path):
    text = "王小明 昨天去了北京"
    done = ernie_tiny("predict", tagger.root / "bundle", text, blocked=("paddlenlp", "datasets"))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    for entity in answer["entities"]:
        assert entity["text"] == text[entity["start"] : entity["end"]]
        assert entity["label"] in ("PER", "LOC") and 0 < entity["probability"] <= 1
    done = ernie_tiny("evaluate", tagger.root / "bundle", tagger.folder / "test.bio", blocked=("paddlenlp",))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["entity_f1"] == pytest.approx(tagger.report["student"]["score"])


def test_the_tagger_reads_long_texts_in_windows(tagger):
    """In training, in the bundle, and as preflight says: no word is lost, and each has the answer of its window."""
    predictor = Predictor(tagger.root / "bundle")
    assert predictor.manifest.long_text == "windows" and predictor.manifest.max_length_tokens == 9
    text = "王小明昨天去了哈尔滨，李华在上海见到张伟"
    (row,) = predictor.encode([text])
    assert sum(len(window.places) for window in row.windows) == len(text) and len(row.windows) == 4
    logits = np.concatenate([predictor.answer([window])[0] for window in row.windows])
    np.testing.assert_allclose(predictor.logits([list(text)])[0], logits, atol=1e-5)
    (lengths,) = [f for f in tagger.report["preflight"] if f["check"] == "lengths" and f["where"] == "data.train"]
    assert "they are read in overlapping windows" in lengths["what"] and lengths["level"] == "note"


def test_a_given_tagger_s_labels_must_be_the_task_s(tagger, tmp_path):
    final = tagger.root / "teacher" / "finetuned" / "final"
    done = ernie_tiny(
        "validate",
        tagger.file,
        f"teacher={{model: {final}, finetune: null}}",
        "task.labels=[B-PER, I-PER, O, B-LOC, I-LOC]",
        f"output_dir={tmp_path / 'run'}",
    )
    assert done.returncode == 2 and "list task.labels in the teacher's order" in done.stderr


def test_the_regressor_s_report(regressor):
    report = regressor.report
    assert report["metric"] == "pearson_spearman" and report["labels"] == ["score"]
    assert report["fidelity"]["student"]["agreement"] is None
    assert -1 <= report["fidelity"]["student"]["pearson"] <= 1
    assert "MSE(teacher, student)" in report["stages"][-1]["equation"]
    with np.load(regressor.root / "stages" / "4-task_specific" / "predictions.npz") as arrays:
        scores, gold = arrays["logits"][:, 0], arrays["labels"]
    lines = (regressor.folder / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    np.testing.assert_allclose(gold, [float(line.split("\t")[2]) for line in lines], rtol=1e-6)
    expected = (pearsonr(scores, gold)[0] + spearmanr(scores, gold)[0]) / 2
    assert report["student"]["score"] == pytest.approx(expected, abs=1e-6)


def test_the_regressor_s_bundle(regressor):
    """Its first texts are read in windows."""
    predictor = Predictor(regressor.root / "bundle")
    rows = predictor.encode(["北京的冬天很冷" * 3, "今天"], ["今天没有人来", "今天"])
    assert [len(row.windows) for row in rows] == [4, 1] and predictor.manifest.long_text == "windows"
    (score,) = predictor.logits(["北京的冬天很冷" * 3], ["今天没有人来"])
    assert score == pytest.approx(np.mean([predictor.answer([window])[0] for window in rows[0].windows]), abs=1e-5)
    done = ernie_tiny("predict", regressor.root / "bundle", "今天没有人来", "北京的冬天很冷")
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout)["score"], float)
    done = ernie_tiny("evaluate", regressor.root / "bundle", regressor.folder / "test.tsv")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pearson_spearman"] == pytest.approx(
        regressor.report["student"]["score"],
        abs=1e-3,  # ranks of close scores may swap
    )

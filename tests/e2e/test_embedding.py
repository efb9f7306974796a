"""Sentence vectors go the whole way: four stages, export, int8 gate, ONNX, HTTP and its document, Paddle Serving."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import paddle_ernie_tiny as et
from paddle_ernie_tiny.config import RunConfig
from paddle_ernie_tiny.data.splits import load_task_data
from paddle_ernie_tiny.errors import InputError
from tests.serving import serving

from .conftest import TinyRun, ernie_tiny, training
from .test_bundle import NO_TRAINING

TEXTS = ["手机打不开怎么办", "相机脏了怎么擦", "我的手机启动不了"]


@pytest.fixture(scope="module")
def help_centre(project_root) -> Path:
    return project_root / "examples" / "own_task" / "data" / "help_centre"


@pytest.fixture(scope="module")
def searcher(unstarted, help_centre, tmp_path_factory) -> TinyRun:
    """A finished run on questions and the documents that answer them; its vectors are narrower than the teacher's
    states, so both models have a projection."""
    run = unstarted.copy(tmp_path_factory.mktemp("searcher"))
    settings = {"width": 12}
    run.config["task"] = {"name": "search", "kind": "embedding", "metric": "mrr_at_10", "settings": settings}
    run.config["task"]["max_length_tokens"] = 24
    files = {split: str(help_centre / f"search_{split}.tsv") for split in ("train", "dev", "test")}
    run.config["data"] = {**files, "columns": {"text": "question", "text_b": "document"}}
    run.config["general_corpus"]["path"] = str(help_centre / "general")
    run.config["teacher"]["finetune"] = training(30)
    run.config["objective"] = {"similarity": {"weight": 0.5}}
    run.config["stages"][-1]["teacher_signals"] = "cached"
    run.config["export"] = {"rows": 8, "int8": {"max_drop_points": 50}}
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


def test_the_report(searcher):
    report = searcher.report
    assert (report["kind"], report["metric"], len(report["labels"])) == ("embedding", "mrr_at_10", 12)
    assert [stage["score_kind"] for stage in report["stages"]] == ["linear probe"] * 3 + ["classifier"]
    assert all("compared as they are" in stage["reason"] for stage in report["stages"][:3])
    assert "similarity [KL(cos_T || cos_S; T=0.05) in the batch]" in report["stages"][-1]["equation"]
    fidelity = report["fidelity"]["student"]
    assert -1 <= fidelity["cosine"] <= 1 and fidelity["agreement"] is None and fidelity["rows"] == 2 * 48
    assert report["int8"]["metric_int8"] >= report["int8"]["metric_fp32"] - 0.5
    assert report["teacher"]["chance"]["constant"] == pytest.approx(sum(1 / r for r in range(1, 11)) / 48)
    page = (searcher.root / "report.md").read_text(encoding="utf-8")
    assert "The student's vectors have a mean cosine of" in page and "There is none here: vectors" in page
    found = {f["what"] for f in report["preflight"] if f["check"] == "rows"}
    assert "384 queries with a document" in found and "48 documents" in found


def test_the_score_by_the_kept_vectors(searcher):
    with np.load(searcher.root / "stages" / "4-task_specific" / "predictions.npz") as arrays:
        vectors = arrays["logits"].reshape([48, 2, 12])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
    similar = vectors[:, 0] @ vectors[:, 1].T
    ranks = 1 + (similar > similar.diagonal()[:, None]).sum(1)
    expected = np.where(ranks <= 10, 1 / ranks, 0).mean()
    assert searcher.report["student"]["score"] == pytest.approx(expected, abs=1e-3)


def test_bundle_onnx_and_int8_give_vectors(searcher, help_centre, tmp_path):
    bundle = searcher.root / "bundle"
    predictor = et.Predictor(bundle)
    assert predictor.manifest.task_type == "embedding" and predictor.manifest.outputs[0]["shape"] == [-1, 12]
    answers = predictor.predict(TEXTS)
    np.testing.assert_allclose([answer.embedding for answer in answers], predictor.logits(TEXTS), atol=1e-6)
    rows = help_centre / "search_test.tsv"
    done = ernie_tiny("onnx", bundle, tmp_path / "onnx", "--input", rows)
    assert done.returncode == 0, done.stderr
    for folder in (bundle, searcher.root / "bundle-int8"):
        done = ernie_tiny("evaluate", folder, rows, blocked=("paddlenlp",))
        assert done.returncode == 0, done.stderr
        values = json.loads(done.stdout)
        assert {"recall_at_1", "recall_at_10", "mrr_at_10"} <= values.keys() and values["rows"] == 48
    assert json.loads(done.stdout)["recall_at_10"] >= json.loads(done.stdout)["recall_at_1"]
    done = ernie_tiny("predict", bundle, "--input", rows, blocked=("paddlenlp", "datasets"))
    assert done.returncode == 0, done.stderr
    assert [*map(json.loads, done.stdout.splitlines())][47].keys() == {"text", "embedding"}
    done = ernie_tiny("predict", bundle, "一", "二")
    assert done.returncode == 2 and "this bundle takes one text per row" in done.stderr
    assert ernie_tiny("export-serving", bundle, tmp_path / "serving").returncode == 0
    settings = json.loads((tmp_path / "serving" / "service.json").read_text(encoding="utf-8"))
    assert (settings["kind"], settings["settings"], settings["pair"]) == ("embedding", {"width": 12}, False)


def test_the_example_searches_documents(searcher, help_centre, project_root):
    script, question = project_root / "examples" / "search_documents.py", "手机开不了机"
    command = [
        sys.executable,
        str(script),
        str(searcher.root / "bundle"),
        str(help_centre / "search_test.tsv"),
        question,
    ]
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    head, *documents, asked, _ = done.stdout.split("\n")[:6]
    assert head.startswith("根据") and len(documents) == 3 and asked == f"问题：{question}"
    similarities = [float(line.rpartition("(")[2].rstrip(")")) for line in documents]
    assert similarities == sorted(similarities, reverse=True)


@pytest.fixture(scope="module")
def server(searcher, tmp_path_factory):
    limits = ["--body-seconds", "1", "--max-texts", "64", "--max-characters", "1000"]
    with serving(tmp_path_factory.mktemp("server"), searcher.root / "bundle", *limits, blocked=NO_TRAINING) as running:
        yield running
        assert running.stop() == 0


def test_vectors_over_http(server, searcher):
    expected = et.Predictor(searcher.root / "bundle").logits(TEXTS)
    reply = server.ask("/v1/embed", {"texts": TEXTS})
    values = reply.json()
    assert reply.status == 200 and set(values) == {"model", "embeddings", "dimensions", "latency_ms"}
    assert values["dimensions"] == 12
    np.testing.assert_allclose(values["embeddings"], expected, atol=1e-5)
    np.testing.assert_allclose(
        server.ask("/v1/embed", {"text": TEXTS[0]}).json()["embeddings"], expected[:1], atol=1e-5
    )
    assert server.ask("/v1/embed", {"texts": ["短", "长" * 100]}).json()["truncated"] == [1]
    rows = server.ask("/v1/predict", {"texts": TEXTS[:2]}).json()["results"]
    assert [row["text"] for row in rows] == TEXTS[:2] and len(rows[0]["embedding"]) == 12
    refused = server.ask("/v1/embed", {"texts": [TEXTS[0], ""]})
    assert refused.status == 422 and refused.json()["error"]["where"] == "texts[1]"
    assert server.ask("/v1/embed", {"texts": TEXTS, "model": "other"}).status == 404
    assert "/v1/embed" in server.ask("/openapi.json").json()["paths"]


def test_schemathesis_finds_no_fault(server, tmp_path):
    assert ("/v1/embed", 200) in server.answer_schemathesis(tmp_path)


def test_an_encoder_is_a_teacher_as_it_is_and_pairs_have_scores(searcher, help_centre, tmp_path):
    """From the teacher of the run before its fine-tuning: its vectors are the pooled states, and nothing is projected
    but by the student."""
    run = TinyRun(tmp_path, json.loads(json.dumps(searcher.config)))
    run.config["output_dir"] = str(tmp_path / "run")
    run.config["task"] = {"name": "pairs", "kind": "embedding", "max_length_tokens": 24}
    run.config["task"]["settings"] = {"highest_score": 5, "pooling": "first"}
    files = {split: str(help_centre / f"pairs_{split}.tsv") for split in ("train", "dev", "test")}
    run.config["data"] = {**files, "columns": {"text": "one", "text_b": "other", "label": "score"}}
    given = searcher.root / "teacher" / "pretrained" / "final"
    run.config["teacher"] = {"model": str(given), "check_above_chance": False}
    run.write()
    done = ernie_tiny("run", run.file, "--until", "teacher")
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(run.root / "teacher" / "given" / "predictions.npz") as arrays:
        vectors, gold = arrays["logits"].reshape([-1, 2, 16]).astype(np.float64), arrays["labels"][::2]
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    expected = spearmanr((vectors[:, 0] * vectors[:, 1]).sum(-1), gold)[0]
    metrics = json.loads((run.root / "teacher" / "given" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["score"] == pytest.approx(expected, abs=1e-6) and gold.max() == 5
    done = ernie_tiny("validate", run.file, "task.settings.width=8", f"output_dir={tmp_path / 'other'}")
    assert done.returncode == 2 and "vectors that are 16 wide" in done.stderr


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": "question", "text_b": "document", "text_c": "other"}, "384 triples"),
        ({"text": "question", "text_b": "document", "text_c": "other", "label": "margin"}, "384 triples with a margin"),
    ],
)
def test_triples_and_single_texts_to_train_on(searcher, help_centre, columns, said):
    """The dev split has no third text, and no margins."""
    data = {**searcher.config["data"], "train": str(help_centre / "triples.tsv"), "columns": columns}
    config = RunConfig(**{**searcher.config, "data": data})
    read = load_task_data(config)
    assert read.kind.findings({"train": read.train}, [])[0].what == said
    assert len(read.train) == 384 and {row.text_c for row in read.dev} == {None}


def test_texts_alone_need_a_teacher_that_is_given(searcher, help_centre):
    columns = {"text": "one", "text_b": "other", "label": "score"}
    task = {"name": "pairs", "kind": "embedding", "settings": {"highest_score": 5}}
    lone = searcher.folder / "texts.tsv"
    lone.write_text("one\n" + "\n".join(TEXTS) + "\n", encoding="utf-8")
    files = {"train": str(lone), **{split: str(help_centre / f"pairs_{split}.tsv") for split in ("dev", "test")}}
    config = {**searcher.config, "task": task, "data": {**files, "columns": columns}, "baseline": None}
    with pytest.raises(InputError, match="no training row has a label"):
        load_task_data(RunConfig(**config))
    read = load_task_data(RunConfig(**{**config, "teacher": {"model": "a-model"}}))
    assert [row.label for row in read.train] == [None] * 3

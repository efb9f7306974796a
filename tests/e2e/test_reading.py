"""Extractive reading goes the whole way: four stages, export, int8, ONNX, prediction, evaluation, HTTP, folders."""

import importlib.util
import json

import numpy as np
import pytest

from paddle_ernie_tiny.deploy.predictor import Predictor
from tests.serving import serving

from .conftest import TinyRun, ernie_tiny, training

QUESTION = "李华出生在哪里？"
CONTEXT = "周末的时候，王小明最喜欢打篮球🏀。\r\n李华出生在大理。她学的是ＡＩ与数据，后来他们常常见面（每月一次）。" * 3


@pytest.fixture(scope="module")
def data(project_root):
    """The example's generator."""
    spec = importlib.util.spec_from_file_location("reading_data", project_root / "examples" / "reading_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reader(unstarted, tmp_path_factory, data) -> TinyRun:
    """A finished run on questions about passages that are longer than a window; with int8."""
    run = unstarted.copy(tmp_path_factory.mktemp("reader"))
    for seed, (split, passages) in enumerate((("train", 40), ("dev", 12), ("test", 12))):
        data.write(run.folder / f"{split}.json", seed=seed, passages=passages)
    contexts = [part["context"] for part in data.document(9, 200)["data"][0]["paragraphs"]]
    (run.folder / "general" / "part.txt").write_text("\n".join(contexts) + "\n", encoding="utf-8")
    settings = {"stride": 16, "max_answer_tokens": 12}
    run.config["task"] = {"name": "people", "kind": "reading", "max_length_tokens": 64, "settings": settings}
    run.config["data"] = {split: str(run.folder / f"{split}.json") for split in ("train", "dev", "test")}
    run.config["teacher"]["finetune"] = training(40)
    run.config["stages"][-1]["teacher_signals"] = "cached"  # of windows
    run.config["export"]["int8"] = {"calibration_rows": 16, "max_drop_points": 100}
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


def test_the_example_s_file_is_what_its_generator_writes(data, project_root, tmp_path):
    data.write(tmp_path / "again.json", seed=data.SEED, passages=data.PASSAGES)
    assert (tmp_path / "again.json").read_bytes() == data.DEFAULT_FILE.read_bytes()
    answers = [
        (part["context"], answer)
        for part in data.document(3, 40)["data"][0]["paragraphs"]
        for asked in part["qas"]
        for answer in asked["answers"]
    ]
    assert all(context.startswith(answer["text"], answer["answer_start"]) for context, answer in answers)


def test_the_report(reader):
    report = reader.report
    assert (report["kind"], report["metric"], report["labels"]) == ("reading", "answer_f1", ["start", "end"])
    assert report["student"]["rows"] == 36 and 0 <= report["student"]["score"] <= 1
    assert report["fidelity"]["student"]["rows"] == 36 and report["fidelity"]["student"]["kl"] >= 0
    assert "over context tokens" in report["stages"][-1]["equation"]
    assert [stage["score_kind"] for stage in report["stages"]] == ["linear probe"] * 3 + ["classifier"]
    assert report["stages"][0]["score"] is None and "cannot read" in report["stages"][0]["reason"]
    names = [row["name"] for row in report["student"]["breakdown"]["scores"]]
    assert names == ["answer_f1", "exact_match", "answerable, answer_f1", "answerable, exact_match"]
    assert report["student"]["breakdown"]["scores"][0]["score"] == report["student"]["score"]
    said = {finding["what"] for finding in report["preflight"]}
    assert any("questions have no answer" in what for what in said)
    assert any("read in overlapping windows" in what for what in said)
    page = (reader.root / "report.md").read_text(encoding="utf-8")
    assert "There is none here: a linear model" in page and "| answerable, exact_match | 29 |" in page
    worst = report["student"]["worst"][0]
    assert len(worst["texts"]) == 2 and worst["gold"] in worst["texts"][1]


def test_predictions_are_of_every_window(reader):
    with np.load(reader.root / "stages" / "4-task_specific" / "predictions.npz", allow_pickle=False) as arrays:
        gold, heads = json.loads(arrays["gold"].tobytes()), arrays["logits"][:, 2] < 0
        assert arrays["rows"].max() == 35 and heads.sum() > 2 * 36
    document = json.loads((reader.folder / "test.json").read_text(encoding="utf-8"))
    asked = [(part["context"], one) for part in document["data"][0]["paragraphs"] for one in part["qas"]]
    assert [[context, [[a["text"], a["answer_start"]] for a in one["answers"]]] for context, one in asked] == gold


def test_the_bundle_evaluates_as_the_run_did(reader):
    report, manifest = reader.report, Predictor(reader.root / "bundle").manifest
    measured = json.loads((reader.root / "stages" / "4-task_specific" / "metrics.json").read_text())
    assert manifest.settings == measured["settings"] and manifest.settings["stride"] == 16
    assert isinstance(manifest.settings["null_threshold"], float), "learnt from dev"
    done = ernie_tiny("evaluate", reader.root / "bundle", reader.folder / "test.json", blocked=("paddlenlp",))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answer_f1"] == pytest.approx(report["student"]["score"], abs=0.03)
    assert set(found) >= {"rows", "answer_f1", "exact_match", "interval", "breakdown"}


def test_answers_are_parts_of_the_context(reader, tmp_path):
    predictor = Predictor(reader.root / "bundle")
    (row,) = predictor.encode([QUESTION], [CONTEXT])
    assert len(row.windows) > 2
    (answer,) = predictor.predict([QUESTION], [CONTEXT])
    assert all(one.text == CONTEXT[one.start : one.end] for one in answer.n_best) and len(answer.n_best) == 3
    done = ernie_tiny("predict", reader.root / "bundle", QUESTION, CONTEXT, blocked=("paddlenlp", "datasets"))
    assert json.loads(done.stdout) == {
        **{"text": QUESTION, "text_b": CONTEXT},
        **predictor.kind.as_json(answer),
    }
    (tmp_path / "rows.tsv").write_text(f"question\tcontext\n{QUESTION}\t王小明出生在拉萨。\n", encoding="utf-8")
    for file, count in ((reader.folder / "test.json", 36), (tmp_path / "rows.tsv", 1)):
        done = ernie_tiny("predict", reader.root / "bundle", "--input", file)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0 and len(answers) == count
        assert all(one["answer"] == one["text_b"][one["start"] : one["end"]] for one in answers)
    assert "id" not in answers[0]


def test_int8_onnx_and_folders(reader, tmp_path):
    int8 = Predictor(reader.root / "bundle-int8")
    assert int8.manifest.precision == "int8" and int8.manifest.settings["max_answer_tokens"] == 12
    assert int8.predict([QUESTION], [CONTEXT])[0].n_best
    done = ernie_tiny("onnx", reader.root / "bundle", tmp_path / "onnx", "--input", reader.folder / "test.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "onnx" / "manifest.json").read_text())["parity"]["label_agreement"] > 0.9
    done = ernie_tiny("export-serving", reader.root / "bundle", tmp_path / "folder")
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "folder" / "service.json").read_text(encoding="utf-8"))
    assert settings["kind"] == "reading" and settings["pair"]


def test_it_answers_over_http(reader, tmp_path):
    with serving(tmp_path, reader.root / "bundle") as server:
        (result,) = server.ask(body={"text": QUESTION, "text_b": CONTEXT}).json()["results"]
        assert result == {
            **{"text": QUESTION, "text_b": CONTEXT},
            **Predictor(reader.root / "bundle").kind.as_json(
                Predictor(reader.root / "bundle").predict([QUESTION], [CONTEXT])[0]
            ),
        }
        assert server.ask(body={"text": QUESTION}).status == 422


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("augmentation={copies_per_row: 1}", "there is no augmentation of reading rows"),
        ("task.settings.stride=-1", "stride is -1"),
        ("task.long_text=truncate", "a reading task reads all of a text"),
        ("data.label_aliases={a: b}", "answers are texts, not labels"),
    ],
)
def test_what_makes_no_sense_is_refused(reader, override, what, tmp_path):
    done = ernie_tiny("validate", reader.file, override, f"output_dir={tmp_path / 'run'}")
    assert done.returncode == 2 and what in done.stderr, done.stderr


def test_a_fine_tuned_reader_is_a_teacher(reader, tmp_path):
    """Under the name of its class with the same weights, as PaddleNLP and transformers call it."""
    import shutil

    final = tmp_path / "model"
    shutil.copytree(reader.root / "teacher" / "finetuned" / "final", final)
    config = json.loads((final / "config.json").read_text())
    config |= {"architectures": ["BertForQuestionAnswering"]}
    for key in ("id2label", "label2id", "num_labels"):
        config.pop(key, None)
    (final / "config.json").write_text(json.dumps(config))
    how = (f"teacher={{model: {final}, finetune: null}}", f"output_dir={tmp_path / 'run'}")
    done = ernie_tiny("validate", reader.file, *how)
    assert done.returncode == 0, done.stderr
    assert "answers are in no window as a whole" not in done.stdout
    rows = reader.folder / "test.json"
    done = ernie_tiny("validate", reader.file, *how, "task.settings.stride=0", "task.settings.max_answer_tokens=2")
    assert "have more than 2 tokens" in done.stdout and "are in no window as a whole" in done.stdout, done.stdout
    exported = ernie_tiny("export", final, tmp_path / "bundle", "--input", _pairs(tmp_path, rows))
    assert exported.returncode == 0, exported.stderr
    assert Predictor(tmp_path / "bundle").manifest.task_type == "pair_reading"


def _pairs(folder, rows):
    document = json.loads(rows.read_text(encoding="utf-8"))
    lines = [
        f"{one['question']}\t{part['context']}" for part in document["data"][0]["paragraphs"] for one in part["qas"]
    ]
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "pairs.txt"

"""Any number of labels per row goes the whole way: four stages, export, int8, ONNX, HTTP, Paddle Serving."""

import csv
import io
import json
import sys

import numpy as np
import pytest
import yaml
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from paddle_ernie_tiny.deploy.bundle import read_manifest
from paddle_ernie_tiny.deploy.onnx_graph import onnx
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.kinds import Labels
from paddle_ernie_tiny.paddle_serving.serving_folder import export_paddle_serving
from tests.serving import serving

from .conftest import ernie_tiny, training

TASK = {"name": "topics", "kind": "multi_label", "max_length_tokens": 32}


@pytest.fixture(scope="module")
def rows(project_root):
    sys.path.insert(0, str(project_root / "examples"))
    from topic_data import TOPICS, topic_rows, topic_table

    made = topic_rows(420)
    return {"train": made[:300], "dev": made[300:360], "test": made[360:]}, list(TOPICS), topic_table


@pytest.fixture(scope="module")
def topics(unstarted, rows, tmp_path_factory):
    """A finished run: a split in each of three forms, cached signals, augmentation, an int8 bundle."""
    splits, _, table = rows
    run = unstarted.copy(tmp_path_factory.mktemp("topics"))
    files = {"train": "train.tsv", "dev": "dev.jsonl", "test": "test.csv"}
    (run.folder / files["train"]).write_text(table(splits["train"]), encoding="utf-8")
    lines = [json.dumps({"文本": text, "主题": named}, ensure_ascii=False) for text, named in splits["dev"]]
    (run.folder / files["dev"]).write_text("\n".join(lines), encoding="utf-8")
    with (run.folder / files["test"]).open("w", encoding="utf-8", newline="") as file:
        written = [("文本", "主题"), *((text, json.dumps(named, ensure_ascii=False)) for text, named in splits["test"])]
        csv.writer(file).writerows(written)
    run.config["task"] = {**TASK, "settings": {"positive_weights": "balanced", "thresholds": "each"}}
    run.config["data"] = {split: str(run.folder / name) for split, name in files.items()}
    run.config["data"]["columns"] = {"text": "文本", "label": "主题"}
    run.config["teacher"]["finetune"] = training(120, learning_rate=1e-2)
    run.config["stages"][-1] |= {"training": training(60, learning_rate=1e-2), "teacher_signals": "cached"}
    run.config["objective"] = {"soft_label": {"temperature": 2.0}}
    run.config["augmentation"] = {"copies_per_row": 1, "candidates": 3}
    run.config["export"] = {
        "rows": 8,
        "engines": ["paddle", "onnxruntime"],
        "int8": {"calibration_rows": 20, "max_drop_points": 20},
    }
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


@pytest.fixture(scope="module")
def report(topics) -> dict:
    return topics.report


def gold_of(rows, labels):
    return np.array([[int(label in named) for label in labels] for _, named in rows])


def test_the_report(topics, report, rows):
    splits, names, _ = rows
    assert report["kind"] == "multi_label" and report["metric"] == "micro_f1" and report["labels"] == sorted(names)
    assert "T^2 BCE(teacher, student; T=2)" in report["stages"][-1]["equation"]
    assert "BCE(labels, student), positives weighted" in report["stages"][-1]["equation"]
    assert [stage["score_kind"] for stage in report["stages"]] == ["linear probe"] * 3 + ["classifier"]
    assert 0 < report["fidelity"]["student"]["agreement"] <= 1 and report["fidelity"]["student"]["kl"] > 0
    assert report["teacher"]["chance"]["constant"] < report["floor"]["score"] <= 1
    table = report["student"]["breakdown"]["labels"]
    counts = gold_of(splits["test"], report["labels"]).sum(0)
    assert [row["rows"] for row in table] == counts.tolist()
    assert len({row["threshold"] for row in table}) > 1, "each label has its own"
    assert all(set(row["gold"].split(", ")) <= {*names, "no label"} for row in report["student"]["worst"])
    said = {found["what"] for found in report["preflight"] if found["check"] == "labels"}
    bare = sum(not named for _, named in splits["train"])
    assert any(f"{bare} of 300 rows have no label" in what for what in said), said
    text = (topics.root / "report.md").read_text(encoding="utf-8")
    assert "F1 of the teacher | threshold |" in text
    assert "<th>threshold</th>" in (topics.root / "report.html").read_text(encoding="utf-8")


def test_scores_are_those_of_scikit_learn(topics, report, rows):
    gold = gold_of(rows[0]["test"], report["labels"])
    for model, folder in (("teacher", "teacher/finetuned"), ("student", "stages/4-task_specific")):
        with np.load(topics.root / folder / "predictions.npz") as arrays:
            logits = arrays["logits"]
            np.testing.assert_array_equal(arrays["labels"], gold)
        settings = json.loads((topics.root / folder / "metrics.json").read_text(encoding="utf-8"))["settings"]
        own = 1 / (1 + np.exp(-logits.astype(np.float64))) > settings["thresholds"]
        assert report[model]["score"] == pytest.approx(f1_score(gold, own, average="micro"))
    done = ernie_tiny("evaluate", topics.root / "bundle", topics.folder / "test.csv", blocked=("paddlenlp",))
    assert done.returncode == 0, done.stderr
    assert "threshold" in done.stderr
    found = json.loads(done.stdout)
    assert found["micro_f1"] == pytest.approx(report["student"]["score"])
    assert found["label_macro_f1"] == pytest.approx(f1_score(gold, own, average="macro", zero_division=0))
    assert found["subset_accuracy"] == pytest.approx(accuracy_score(gold, own))
    assert found["mean_average_precision"] == pytest.approx(average_precision_score(gold, logits), abs=1e-3)


def test_the_bundles_keep_the_student_s_thresholds(topics):
    measured = json.loads((topics.root / "stages" / "4-task_specific" / "metrics.json").read_text(encoding="utf-8"))
    for name in ("bundle", "bundle-int8"):
        manifest = read_manifest(topics.root / name)
        assert manifest.settings == measured["settings"] and len(manifest.settings["thresholds"]) == 5
        assert manifest.parity["label_agreement"] is not None
        card = (topics.root / name / "README.md").read_text(encoding="utf-8")
        assert "- multi-label\n" in card and "pipeline_tag: text-classification" in card
    assert read_manifest(topics.root / "bundle-int8").parity["metric_int8"] > 0


def test_a_text_has_any_number_of_labels(topics, rows):
    predictor = Predictor(topics.root / "bundle")
    texts = [text for text, _ in rows[0]["test"]]
    answers = predictor.predict(texts)
    assert all(isinstance(answer, Labels) for answer in answers)
    assert len({len(answer.labels) for answer in answers}) > 1
    thresholds = dict(zip(predictor.labels, predictor.manifest.settings["thresholds"], strict=True))
    for answer in answers:
        assert answer.labels == [n for n, p in answer.probabilities.items() if p > thresholds[n]]


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_predictions_as_a_table(topics, form, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("昨天聊了足球，他喜欢火锅。\n时间过得很快。\n", encoding="utf-8")
    done = ernie_tiny("predict", topics.root / "bundle", "--input", texts, "--format", form, "--top", "2")
    assert done.returncode == 0, done.stderr
    how = {} if form == "csv" else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    found = list(csv.DictReader(io.StringIO(done.stdout), **how))
    assert list(found[0])[2:7] == ["labels", "label_1", "probability_1", "label_2", "probability_2"]
    assert all(isinstance(json.loads(row["labels"]), list) for row in found)
    assert float(found[0]["probability_1"]) >= float(found[0]["probability_2"])
    done = ernie_tiny("predict", topics.root / "bundle", "--input", texts, "--top", "2")
    assert [len(json.loads(line)["probabilities"]) for line in done.stdout.splitlines()] == [2, 2]


def test_onnx_runtime_gives_the_same_sets(topics, tmp_path):
    parity = onnx(topics.root / "bundle", tmp_path / "onnx", topics.folder / "test.csv")
    assert parity["label_agreement"] == 1.0 and parity["rows"] == 60
    assert read_manifest(tmp_path / "onnx").settings == read_manifest(topics.root / "bundle").settings


def test_over_http(topics, tmp_path):
    predictor, text = Predictor(topics.root / "bundle"), "昨天聊了足球，他喜欢火锅。"
    with serving(tmp_path, topics.root / "bundle", blocked=("paddlenlp",)) as server:
        (row,) = server.ask(body={"text": text}).json()["results"]
        assert row == {"text": text, **predictor.kind.as_json(predictor.predict([text])[0])}
        schema = server.ask("/openapi.json").json()["components"]["schemas"]["MultiLabelRow"]
        assert schema["properties"]["labels"]["items"] == {"type": "string"}
        assert server.ask("/").status == 200


def test_the_folder_for_paddle_serving_answers_alike(topics, tmp_path):
    """Its copies of the toolkit's modules, alone, decode as the predictor does."""
    import subprocess

    folder = export_paddle_serving(topics.root / "bundle", tmp_path / "serving")
    predictor, texts = Predictor(topics.root / "bundle"), ["昨天聊了足球，他喜欢火锅。", "时间过得很快。"]
    np.save(tmp_path / "logits.npy", predictor.logits(texts))
    code = (
        "import json, sys; import numpy as np; sys.path.insert(0, sys.argv[1])\n"
        "from text.kinds import KINDS; from text.data.tokenization import read_tokenizer\n"
        "s = json.load(open(sys.argv[1] + '/service.json', encoding='utf-8'))\n"
        "kind = KINDS[s['kind']].with_settings(s['settings'])\n"
        "rows = kind.rows(read_tokenizer(sys.argv[1]), json.loads(sys.argv[3]), None, 32, s['long_text'], None)\n"
        "answers = [kind.decode(r, o[None], s['labels']) for r, o in zip(rows, np.load(sys.argv[2]))]\n"
        "print(json.dumps([kind.as_json(a) for a in answers]))"
    )
    asked = [sys.executable, "-c", code, str(folder), str(tmp_path / "logits.npy"), json.dumps(texts)]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [predictor.kind.as_json(answer) for answer in predictor.predict(texts)]


def test_a_folder_of_the_run_is_known_as_such_a_model(topics, tmp_path):
    """`export` reads from config.json that a row has several labels; a task of one label refuses such a teacher."""
    final = topics.root / "teacher" / "finetuned" / "final"
    config = json.loads((final / "config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "multi_label_classification"
    done = ernie_tiny("export", final, tmp_path / "bundle", "--input", topics.folder / "test.csv", "--text", "文本")
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_manifest(tmp_path / "bundle").kind.name == "multi_label"
    given = yaml.safe_dump({"model": str(final), "finetune": None}, default_flow_style=True).strip()
    settings = f"teacher={given}", f"output_dir={tmp_path / 'run'}"
    assert ernie_tiny("validate", topics.file, *settings, "augmentation=null").returncode == 0
    done = ernie_tiny("validate", topics.file, *settings, "augmentation=null", "task.kind=classification")
    assert done.returncode == 2

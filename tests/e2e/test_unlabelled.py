"""Whole runs with a pool of unlabelled text, and with soft labels from files, beside a teacher and without one."""

import json

import numpy as np
import pytest
import yaml

from paddle_ernie_tiny.deploy.predictor import Predictor

from .conftest import ernie_tiny, training

REPEATED = "已经开始的句子"


@pytest.fixture(scope="module")
def pooled(finished, tmp_path_factory):
    """The finished run with fewer labels: the other training rows, and a few new texts, are a pool."""
    run = finished.copy(tmp_path_factory.mktemp("pooled"))
    lines = (run.folder / "train.tsv").read_text(encoding="utf-8").splitlines()
    evaluated = (run.folder / "test.tsv").read_text(encoding="utf-8").splitlines()[1]
    more = [evaluated, f"{REPEATED}\tno label of this task", f"{REPEATED}\t"]
    (run.folder / "pool.tsv").write_text("\n".join([*lines, *more]) + "\n", encoding="utf-8")
    run.config["data"] |= {"train_limit": 40, "unlabelled": str(run.folder / "pool.tsv"), "unlabelled_ratio": 0.5}
    run.config["stages"][2]["teacher_signals"] = run.config["stages"][3]["teacher_signals"] = "cached"
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    run.said = done.stdout
    return run


def test_the_report_says_what_the_pool_was_and_how_both_models_answer_it(pooled):
    report = pooled.report
    pool = report["unlabelled"]
    assert pool["ratio"] == 0.5
    assert pool["removed"]["train"] >= 40 and pool["removed"]["test"] >= 1 and pool["removed"]["unlabelled"] >= 1
    assert pool["rows"] + sum(pool["removed"].values()) == 123
    for name, rows in (("train", 40), ("unlabelled", pool["rows"])):
        answers = pool["teacher"][name]
        assert answers["answers"] == rows
        assert answers["negative"] + answers["positive"] == pytest.approx(1)
        assert 0.5 <= answers["mean probability of its answers"] <= 1
        assert 0 <= pool["student"][name]["agreement"] <= 1
    page = (pooled.root / "report.md").read_text(encoding="utf-8")
    assert "## Unlabelled text" in page and "50% of every batch" in page
    assert f"Unlabelled text: {pool['rows']} rows" in (pooled.root / "bundle" / "README.md").read_text(encoding="utf-8")


def test_preflight_says_how_the_pool_relates_to_the_task(pooled):
    found = [finding["what"] for finding in pooled.report["preflight"] if finding["check"] == "unlabelled"]
    assert any("50% of a batch of task data" in what and "in the training split" in what for what in found)
    assert any(what.startswith("median of") for what in found)
    again = ernie_tiny("validate", pooled.file)  # now that the teacher was measured
    assert again.returncode == 0 and "the teacher's answers to a sample: negative" in again.stdout


def test_another_pool_makes_the_stages_on_task_data_run_again_and_nothing_before_them(pooled, tmp_path):
    run = pooled.copy(tmp_path)
    with open(run.folder / "pool.tsv", "a", encoding="utf-8") as file:
        file.write("又一条没有标签的句子\t\n")
    done = ernie_tiny("run", run.file, "--until", "task_specific")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("[") and "measur" not in line]
    states = {
        line.split("] ")[1].split(":")[0]: line for line in lines if ": already done" in line or "re-running" in line
    }
    for step in ("pretrain", "finetune", "baseline", "general", "general_enhanced"):
        assert "already done" in states[step], states
    assert "re-running: unlabelled.rows" in states["task_adaptive"]
    assert "re-running" in states["task_specific"]


@pytest.fixture(scope="module")
def labelled(finished, tmp_path_factory):
    """The training rows with the answers of the finished run's bundle, by the command."""
    file = tmp_path_factory.mktemp("labelled") / "soft.jsonl"
    done = ernie_tiny("label", finished.root / "bundle", finished.folder / "train.tsv", "--output", file)
    assert done.returncode == 0, done.stderr
    return file


def test_label_writes_each_row_with_its_label_and_the_model_probabilities(finished, labelled):
    rows = [json.loads(line) for line in labelled.read_text(encoding="utf-8").splitlines()]
    lines = (finished.folder / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert [[row["text"], row["label"]] for row in rows] == [line.split("\t") for line in lines]
    logits = Predictor(finished.root / "bundle").logits([row["text"] for row in rows]).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    written = [[row["soft_labels"][name] for name in ("negative", "positive")] for row in rows]
    np.testing.assert_allclose(written, expected, rtol=1e-6)


@pytest.mark.parametrize("model", ["", "teacher/finetuned/final"])
def test_label_asks_a_run_for_its_teacher_or_the_folder_of_a_model(finished, model, tmp_path):
    (tmp_path / "texts.txt").write_text("房间很宽敞\n早餐难吃\n", encoding="utf-8")
    done = ernie_tiny("label", finished.root / model, tmp_path / "texts.txt")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [set(row) for row in rows] == [{"text", "soft_labels"}] * 2
    assert all(sum(row["soft_labels"].values()) == pytest.approx(1) for row in rows)


def test_a_stage_whose_classifier_is_not_trained_gives_no_labels(finished, tmp_path):
    (tmp_path / "texts.txt").write_text("房间很宽敞\n", encoding="utf-8")
    stages = sorted((finished.root / "stages").iterdir())
    untrained = next(stage for stage in stages if not stage.name.endswith("task_specific"))
    done = ernie_tiny("label", untrained / "final", tmp_path / "texts.txt")
    assert done.returncode == 2 and "the classifier of this model is not trained: the stage" in done.stderr
    assert ernie_tiny("label", stages[-1] / "final", tmp_path / "texts.txt").returncode == 0


def test_label_leaves_no_file_where_a_row_is_refused(finished, tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "好"}\n{"text": ""}\n', encoding="utf-8")
    done = ernie_tiny("label", finished.root / "bundle", tmp_path / "texts.jsonl", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 2 and "texts.jsonl:2" in done.stderr
    assert not list(tmp_path.glob("out*"))
    (tmp_path / "texts.jsonl").write_text('{"text": "好"}\n{"text": "坏", "label": ["a", "b"]}\n', encoding="utf-8")
    done = ernie_tiny("label", finished.root / "bundle", tmp_path / "texts.jsonl")
    assert done.returncode == 2 and "texts.jsonl:2: 2 labels in one row" in done.stderr and not done.stdout


def test_the_file_that_is_read_is_not_written_over(finished, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("好\n", encoding="utf-8")
    (tmp_path / "other.txt").symlink_to(file)
    for command in (("label", finished.root / "bundle", file), ("predict", finished.root / "bundle", "--input", file)):
        done = ernie_tiny(*command, "--output", tmp_path / "other.txt")
        assert done.returncode == 2 and "this is the file that is read" in done.stderr
    assert file.read_text(encoding="utf-8") == "好\n"


def test_a_tagger_gives_no_soft_labels_in_files(tagger, tmp_path):
    done = ernie_tiny("label", tagger.root / "bundle", tagger.folder / "test.bio")
    assert done.returncode == 2 and "has many answers" in done.stderr


def test_a_run_without_a_teacher_goes_all_the_way_and_says_that_it_had_none(finished, labelled, tmp_path):
    """Some rows have a label, some soft labels, some both, some neither; the student starts at random."""
    rows = [json.loads(line) for line in labelled.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        if number % 3 == 0 or number % 20 == 1:
            del row["label"]
        if number % 3 == 1:
            del row["soft_labels"]
    neither = sum("label" not in row and "soft_labels" not in row for row in rows)
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    config = {key: finished.config[key] for key in ("seed", "device", "task", "student", "export")}
    columns = {"text": "text", "label": "label", "soft_labels": "soft_labels"}
    splits = {name: str(finished.folder / f"{name}.tsv") for name in ("dev", "test")}
    config |= {
        "output_dir": str(tmp_path / "run"),
        "data": {"train": str(file), **splits, "columns": columns},
        "baseline": training(5),
        "stages": [{"stage": "task_specific", "training": training(10)}],
        "benchmark": {"batches": [1], "lengths": [16], "seconds": 0.2, "rounds": 1, "text": False},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    done = ernie_tiny("run", tmp_path / "run.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{neither} of 120 rows have no label and no soft labels: they are left out" in done.stdout
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["teacher"] == {"score": None, "reason": "no teacher in the configuration"}
    assert report["retention"] is None and report["fidelity"]["student"] is None
    assert report["student"]["score"] is not None and report["baseline"]["score"] is not None
    assert report["stages"][0]["teacher"] is None
    assert report["stages"][0]["equation"].startswith("loss = 1 * soft_label")
    assert report["soft_labels"]["rows"] == 80 and report["soft_labels"]["values"] == "probabilities"
    assert {record["model"] for record in report["benchmark"]["records"]} == {"bundle"}
    assert "Teacher: none" in (tmp_path / "run" / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "it had no teacher" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    again = ernie_tiny("run", tmp_path / "run.yaml")
    assert again.stdout.count(": already done") == 6  # start, baseline, stage, export, benchmark, card
    assert ernie_tiny("verify", tmp_path / "run").returncode == 0
    assert "no teacher" in ernie_tiny("label", tmp_path / "run", splits["dev"]).stderr


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"augmentation": {}}, "augmentation needs a teacher"),
        ({"stages": [{"stage": "task_adaptive", "training": training(1)}]}, "stage task_adaptive needs a teacher"),
        ({"student": {"init": {"method": "teacher_embeddings"}}}, "teacher_embeddings needs a teacher"),
        ({"objective": {"hidden": {"weight": 1.0}}}, "objective.hidden needs a teacher"),
        ({"data": {"columns": {}}}, "give teacher; or data.columns.soft_labels"),
    ],
)
def test_what_only_a_teacher_brings_is_refused_without_one(change, what):
    from paddle_ernie_tiny.config import load_config
    from paddle_ernie_tiny.errors import InputError

    base = {
        "output_dir": "x",
        "task": {"name": "t", "labels": ["a", "b"]},
        "data": {"train": "t", "dev": "d", "columns": {"soft_labels": "s"}},
        "stages": [],
    }
    change = {**change, "data": {**base["data"], **change.get("data", {})}}
    stages = [*change.get("stages", []), {"stage": "task_specific", "training": training(1)}]
    with pytest.raises(InputError, match=what):
        load_config(None, (), {**base, **change, "stages": stages})


def test_the_example_without_a_teacher_runs(project_root, tmp_path, monkeypatch):
    monkeypatch.chdir(project_root)
    few = ("stages.task_specific.training.max_steps=2", f"output_dir={tmp_path / 'run'}")
    done = ernie_tiny("run", project_root / "examples" / "own_task" / "soft_labels.yaml", *few)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["labels"] == ["差评", "中评", "好评"] and report["soft_labels"]["rows"] > 80

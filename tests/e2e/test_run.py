"""Whole miniature runs through the command line: contract, resume, staleness."""

import json
import os
import signal
import subprocess
import time
from functools import partial

import pytest
import yaml

from paddle_ernie_tiny.pipeline.report_pages import write_pages

from .conftest import command, ernie_tiny, training

STAGES = ["1-general", "2-general_enhanced", "3-task_adaptive", "4-task_specific"]


def test_the_run_folder_is_as_promised(finished):
    root = finished.root
    for stage in STAGES:
        folder = root / "stages" / stage
        for name in (
            "done.json",
            "metrics.json",
            "final/model.safetensors",
            "final/config.json",
            "final/vocab.txt",
            "final/projections.safetensors",
        ):
            assert (folder / name).is_file(), f"{stage}/{name}"
        assert not list(folder.glob("checkpoint-*")), "checkpoints of a finished stage are cleaned up"
    for name in (
        "config.resolved.yaml",
        "report.json",
        "report.md",
        "report.html",
        "bundle/manifest.json",
        "bundle/model.pdmodel",
        "bundle/model.pdiparams",
        "bundle/tokenizer.json",
        "bundle/vocab.txt",
        "teacher/pretrained/final",
        "teacher/finetuned/done.json",
        "baseline/done.json",
        "vdl/stages",
    ):
        assert (root / name).exists(), name
    resolved = yaml.safe_load((root / "config.resolved.yaml").read_text(encoding="utf-8"))
    assert resolved["config"]["student"]["hidden_size"] == 8
    assert resolved["run"]["environment"]["versions"]["paddlenlp"]


def test_report_json_holds_the_contract(finished):
    report = json.loads((finished.root / "report.json").read_text(encoding="utf-8"))
    assert report["task"] == "tiny" and report["metric"] == "accuracy"
    for model in ("teacher", "student"):
        assert report[model]["params"] > 0 and 0 <= report[model]["score"] <= 1
    assert report["retention"] == pytest.approx(report["student"]["score"] / report["teacher"]["score"])
    assert [(s["name"], s["teacher"], s["data"], s["objective"]) for s in report["stages"]] == [
        ("general", "pretrained", "general", "latent"),
        ("general_enhanced", "finetuned", "general", "latent"),
        ("task_adaptive", "finetuned", "task", "latent"),
        ("task_specific", "finetuned", "task", "latent + soft label + hard label"),
    ]
    for stage in report["stages"]:
        assert stage["steps"] == 10 and stage["seconds"] > 0 and 0 <= stage["score"] <= 1
    assert report["export"]["max_abs_diff"] <= 1e-4 and report["export"]["label_agreement"] == 1
    for model in ("student", "baseline"):
        assert 0 <= report["fidelity"][model]["agreement"] <= 1 and report["fidelity"][model]["kl"] >= 0
    assert report["seed"] == 1 and report["environment"]["versions"]
    assert [(t["teacher"], t["data"], t["split"]) for t in report["latent"]] == [
        (teacher, data, split)
        for teacher, data in (("pretrained", "general"), ("finetuned", "general"), ("finetuned", "task"))
        for split in ("training", "held_out")
    ]
    for table in report["latent"]:
        assert [p["stage"] for p in table["after"]] == [
            "start",
            "general",
            "general_enhanced",
            "task_adaptive",
            "task_specific",
        ]


def test_what_preflight_found_stands_in_the_report(finished):
    report = json.loads((finished.root / "report.json").read_text(encoding="utf-8"))
    checks = {finding["check"] for finding in report["preflight"]}
    assert {"labels", "lengths", "corpus", "disk", "time"} <= checks
    assert json.loads((finished.root / "preflight.json").read_text(encoding="utf-8")) == report["preflight"]
    assert "## Preflight" in (finished.root / "report.md").read_text(encoding="utf-8")


def test_report_pages_show_the_figures_and_carry_their_pictures(finished):
    page = (finished.root / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page.replace("http-equiv", ""), "nothing is loaded from outside"
    markdown = (finished.root / "report.md").read_text(encoding="utf-8")
    assert "| distilled student |" in markdown and "| general_enhanced | finetuned | general | latent |" in markdown


def test_a_latent_term_that_only_some_stages_have_is_shown(finished, tmp_path):
    report = json.loads((finished.root / "report.json").read_text(encoding="utf-8"))
    for table in report["latent"]:
        del table["after"][-1]["embedding"]
        table["after"][0]["hidden"] = 0.0
        table["after"][1]["late"] = 0.125
    page = write_pages(report, tmp_path).read_text(encoding="utf-8")
    assert "<th>late</th>" in page and page.count("data:image/png;base64,") == 4
    assert "| 0.125 | " in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_no_text_from_data_runs_as_script_in_the_report(finished, tmp_path):
    report = json.loads((finished.root / "report.json").read_text(encoding="utf-8"))
    script = "<script>alert(1)</script>"
    hostile = {key: script if isinstance(value, str) and key != "kind" else value for key, value in report.items()}
    hostile["preflight"] = [{**finding, "what": script, "where": script} for finding in report["preflight"]]
    page = write_pages(hostile, tmp_path).read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page


def test_every_term_has_a_curve(finished):
    report = json.loads((finished.root / "report.json").read_text(encoding="utf-8"))
    curves = {curve["name"]: curve["points"] for curve in report["training"]}
    last = next(point for point in curves["4-task_specific"] if "loss" in point)
    terms = {"attention_loss", "hidden_loss", "embedding_loss", "soft_label_loss", "hard_label_loss"}
    assert terms <= set(last)
    assert last["loss"] == pytest.approx(sum(last[term] for term in terms), rel=1e-3)
    assert {"attention_loss", "hidden_loss", "embedding_loss"} <= set(curves["1-general"][0])
    assert "soft_label_loss" not in curves["3-task_adaptive"][0]
    files = list((finished.root / "vdl" / "stages" / "4-task_specific").glob("vdlrecords*"))
    assert files and b"soft_label" in files[0].read_bytes()


@pytest.mark.parametrize("option", ["--until", "--from-stage"])
def test_a_wrong_name_of_a_step_costs_no_work(finished, tmp_path, option):
    run = finished.copy(tmp_path)

    def files():
        found = (file for file in run.root.rglob("*") if file.is_file() and file.name != ".lock")
        return {file: file.stat().st_mtime_ns for file in found}

    before = files()
    done = ernie_tiny("run", run.file, "seed=99", "--fresh", option, "distil")
    assert done.returncode == 2 and f"{option}: no step 'distil' in this run" in done.stderr
    assert files() == before


def test_a_second_run_repeats_nothing(finished):
    done = ernie_tiny("run", finished.file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("already done") == 9
    assert "step " not in done.stdout.replace("steps", "")


def test_a_new_temperature_makes_only_the_last_stage_and_the_export_stale(finished, tmp_path):
    run = finished.copy(tmp_path)
    done = ernie_tiny("run", run.file, "objective.soft_label.temperature=2.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("already done") == 6
    assert "task_specific: re-running: objective.soft_label.temperature: 1.0 -> 2.0" in done.stdout
    assert "export: re-running: upstream.student" in done.stdout


def test_changed_test_rows_are_scored_again_without_training(finished, tmp_path):
    run = finished.copy(tmp_path)
    file = run.folder / "test.tsv"
    file.write_text("\n".join(file.read_text(encoding="utf-8").splitlines()[:41]) + "\n", encoding="utf-8")
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("already done") == 8
    assert json.loads((run.root / "report.json").read_text(encoding="utf-8"))["teacher"]["rows"] == 40


def test_changed_training_rows_leave_the_general_stage_alone(finished, tmp_path):
    run = finished.copy(tmp_path)
    file = run.folder / "train.tsv"
    file.write_text("\n".join(file.read_text(encoding="utf-8").splitlines()[:-1]) + "\n", encoding="utf-8")
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stderr
    for step in ("pretrain", "general"):
        assert f"{step}: already done" in done.stdout
    for step in ("finetune", "baseline", "general_enhanced", "task_adaptive", "task_specific", "export"):
        assert f"{step}: re-running:" in done.stdout


def test_the_report_shows_what_the_configuration_asks_for(finished, tmp_path):
    """Folders of an earlier configuration stay on disk, but not in the report."""
    run = finished.copy(tmp_path)
    done = ernie_tiny("run", run.file, "baseline=null")
    assert done.returncode == 0, done.stderr
    report = json.loads((run.root / "report.json").read_text(encoding="utf-8"))
    assert report["baseline"]["score"] is None
    assert "baseline" not in [entry["name"] for entry in report["training"]]


def test_until_and_from_stage(finished, tmp_path):
    run = finished.copy(tmp_path)
    done = ernie_tiny("run", run.file, "--from-stage", "task_adaptive", "--until", "task_adaptive")
    assert done.returncode == 0, done.stderr
    assert "stopped after task_adaptive" in done.stdout and "[7/9] task_specific" not in done.stdout
    assert done.stdout.count("already done") == 5
    refused = ernie_tiny("run", run.file, "--until", "tad")
    assert refused.returncode == 2 and "no step 'tad'" in refused.stderr


def _start(run, log):
    # Ctrl-C is ignored where tests run in the background
    reset = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    arguments = command("run", run.file)
    return subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, env=os.environ.copy(), preexec_fn=reset)


def _wait_for(process, condition, log):
    end = time.time() + 240
    while not condition():
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.time() < end, log.read_text(encoding="utf-8")
        time.sleep(0.05)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_stopped_run_carries_on_inside_the_stage(unstarted, tmp_path, how, code):
    run = unstarted.copy(tmp_path / "work")
    run.config["stages"][0]["training"] = training(4000, save_steps=20)
    run.write()
    log = tmp_path / "log.txt"
    stage = run.root / "stages" / STAGES[0]
    with open(log, "w", encoding="utf-8") as file:
        process = _start(run, file)
        _wait_for(process, lambda: (stage / "checkpoint-40" / "complete").is_file(), log)
        process.send_signal(how)
        assert process.wait(timeout=60) == code, log.read_text(encoding="utf-8")
    reached = max(int(p.parent.name.split("-")[1]) for p in stage.glob("checkpoint-*/complete"))
    assert 40 <= reached < 4000
    # A checkpoint that was cut off while being written must not count.
    (stage / "checkpoint-3999").mkdir()
    with open(log, "w", encoding="utf-8") as file:
        process = _start(run, file)
        later = stage / f"checkpoint-{reached + 40 - reached % 20}" / "complete"
        _wait_for(process, later.is_file, log)  # it not only says so, it goes on
        process.kill()
        process.wait()
    text = log.read_text(encoding="utf-8")
    assert f"resuming at step {reached} of 4000" in text
    assert "pretrain: already done" in text and "finetune: already done" in text


def test_two_runs_in_one_folder_are_refused(finished):
    import fcntl

    with open(finished.root / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = ernie_tiny("run", finished.file)
    assert done.returncode == 2 and "another run is active" in done.stderr

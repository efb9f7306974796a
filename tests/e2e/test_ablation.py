"""Whole miniature studies through the command line: what they share, their contract, and that they continue."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.pipeline.step import DONE, identity
from paddle_ernie_tiny.study.ablate import ablate

from .conftest import command, ernie_tiny

VARIANTS = ["full", "no_general", "no_soft_label", "fine_tuned"]
JOBS = [f"tiny/seed-{seed}/{variant}" for seed in (1, 2) for variant in VARIANTS]


@dataclass
class Study:
    """A study in the folder `root` with its file, whose base is a file beside it."""

    file: Path
    root: Path

    def job(self, name: str) -> dict:
        return json.loads((self.root / name / "job.json").read_text(encoding="utf-8"))

    def log(self, name: str) -> str:
        return (self.root / name / "log.txt").read_text(encoding="utf-8")

    @property
    def results(self) -> dict:
        return json.loads((self.root / "results.json").read_text(encoding="utf-8"))

    @property
    def finished(self) -> dict[str, int]:
        """When each finished job was recorded, by its name."""
        records = sorted(self.root.glob("*/seed-*/*/job.json"))
        return {str(path.parent.relative_to(self.root)): path.stat().st_mtime_ns for path in records}

    def figures(self, name: str) -> tuple:
        """What must come again exactly: scores, predictions, curves."""
        job = self.job(name)
        with np.load(self.root / name / "predictions.npz") as arrays:
            predictions = {key: arrays[key].tolist() for key in sorted(arrays)}
        curves = [(stage["name"], stage["steps"], stage["score"], stage["curve"]) for stage in job["stages"]]
        scores = {key: job[key] for key in ("score", "score_unseen", "agreement", "kl", "teacher")}
        return scores, predictions, curves, job.get("rates")


def write_study(folder: Path, run: dict, root: Path, name="study", **more) -> Study:
    """A study of a run, in a file of its own; the run's data may be anywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    base, file = folder / f"{name}-base.yaml", folder / f"{name}.yaml"
    base.write_text(yaml.safe_dump(run), encoding="utf-8")
    values = {"output_dir": str(root), "base": base.name, "seeds": [1, 2], "variants": VARIANTS, **more}
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return Study(file, root)


@pytest.fixture(scope="session")
def tiny(unstarted) -> dict:
    """The miniature run: 40 steps of four stages in all, with a rate at which the student's answers differ."""
    run = json.loads(json.dumps(unstarted.config))
    run["baseline"]["learning_rate"] = 0.01
    run["stages"][-1]["training"]["learning_rate"] = 0.01
    return run


@pytest.fixture(scope="session")
def study(tiny, tmp_path_factory) -> Study:
    """A finished study, which nothing has disturbed."""
    folder = tmp_path_factory.mktemp("study")
    made = write_study(folder, tiny, folder / "out")
    done = ernie_tiny("ablate", made.file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 jobs, 0 of them done" in done.stdout and "[8/8]" in done.stdout and "no_soft_label" in done.stdout
    return made


def copied(study: Study, folder: Path, run: dict, **more) -> Study:
    """The same study in another folder, with another base or other settings."""
    shutil.copytree(study.root, folder / "out")
    return write_study(folder, run, folder / "out", **more)


def test_every_job_is_done_and_the_results_hold_the_contract(study):
    results = study.results
    assert sorted(study.finished) == sorted(JOBS)
    assert (results["complete"], results["equal_steps"], results["reference"]) == (True, True, "full")
    assert (results["name"], results["seeds"], results["not_run"]) == ("out", [1, 2], [])
    assert list(results["variants"]) == VARIANTS
    assert all(row["title"] and row["changes"] for row in results["variants"].values())
    task = results["tasks"]["tiny"]
    assert (task["metric"], task["evaluated_on"], task["rows"]) == ("accuracy", "test", 60)
    assert 0 < task["rows_unseen"] <= 60 and 0 < task["floor"]["score"] < 1 and task["kind"] == "classification"
    assert results["command"] == f"ernie-tiny ablate {study.file}" and results["environment"]["versions"]
    assert {f"tiny/seed-{job['seed']}/{job['variant']}" for job in results["jobs"]} == set(JOBS)
    for job in results["jobs"]:
        assert 0 <= job["score"] <= 1 and job["interval"][0] <= job["score"] <= job["interval"][1]
        assert job["params"] < job["teacher"]["params"] and 0 <= job["agreement"] <= 1 and job["kl"] >= 0
        assert job["seconds"] == pytest.approx(sum(stage["seconds"] for stage in job["stages"]))
        for stage in job["stages"]:
            assert stage["rows_trained"] == 16 * stage["steps"] and 0 <= stage["score"] <= 1 and stage["seconds"] > 0
            assert stage["score_kind"] in ("linear probe", "classifier")
        last = job["stages"][-1]
        assert last["score"] == job["score"] and last["curve"][-1][0] == last["steps"]
    summary = results["summary"]["tiny"]
    assert list(summary) == VARIANTS and summary["full"]["difference"] is None
    for name in VARIANTS:
        scores = [job["score"] for job in results["jobs"] if job["variant"] == name]
        line = summary[name]
        assert (line["seeds"], line["steps"]) == (2, 40)
        assert line["mean"] == pytest.approx(np.mean(scores)) and line["sd"] == pytest.approx(np.std(scores, ddof=1))
        if name != "full":
            own = line["difference"]
            assert own["score"] == pytest.approx(line["mean"] - summary["full"]["mean"])
            assert own["low"] <= own["score"] <= own["high"]
    for name in ("report.html", "report.md", "results.csv"):
        assert "no_soft_label" in (study.root / name).read_text(encoding="utf-8")


def test_every_variant_trains_as_many_steps(study):
    steps = {name: [stage["steps"] for stage in study.job(f"tiny/seed-1/{name}")["stages"]] for name in VARIANTS}
    assert steps["full"] == steps["no_soft_label"] == [10, 10, 10, 10]
    assert steps["no_general"] == [13, 14, 13] and steps["fine_tuned"] == [40]


def test_jobs_from_another_machine_count_as_done_by_two_files_each(study, tiny, tmp_path):
    for name in JOBS:
        (tmp_path / "out" / name).mkdir(parents=True)
        for file in ("job.json", "predictions.npz"):
            shutil.copy(study.root / name / file, tmp_path / "out" / name / file)
    moved = write_study(tmp_path, tiny, tmp_path / "out")
    done = ernie_tiny("ablate", moved.file)
    assert done.returncode == 0 and "8 jobs, 8 of them done" in done.stdout, done.stdout + done.stderr
    assert all(moved.results[key] == study.results[key] for key in ("jobs", "summary", "tasks", "complete"))


def test_what_jobs_have_in_common_is_made_once(study):
    for seed in (1, 2):
        root = study.root / "tiny" / f"seed-{seed}"
        full, less, soft = (study.job(f"tiny/seed-{seed}/{name}")["stages"] for name in VARIANTS[:3])
        assert [stage["shared"] for stage in full] == [False] * 4
        assert [stage["shared"] for stage in soft] == [True, True, True, False]
        assert [stage["shared"] for stage in less] == [False] * 3, "other steps"
        for one, other in zip(full[:3], soft[:3], strict=True):
            assert {**one, "shared": True} == other
        stages = [root / name / "run" / "stages" / "1-general" for name in ("full", "no_soft_label")]
        assert identity(stages[0]) == identity(stages[1]) != "unfinished"
        logs = [study.log(f"tiny/seed-{seed}/{name}") for name in VARIANTS]
        assert "general: taken from another run" in logs[2]
        assert sum(log.count("] finetune: done in") for log in logs) == 1, "one teacher for each seed"
        assert len(list(root.glob("shared-*"))) == 1
        assert not any("baseline" in line for log in logs[:3] for line in log.splitlines() if line.startswith("["))
    one, two = (study.job(f"tiny/seed-{seed}/full") for seed in (1, 2))
    assert one["kl"] != two["kl"], "another seed is another run"


def test_the_rate_of_fine_tuning_is_chosen_by_dev(study):
    job = study.job("tiny/seed-1/fine_tuned")
    assert list(job["rates"]) == ["0.005", "0.01", "0.02"]
    best = max(job["rates"], key=job["rates"].get)
    assert job["stages"][0]["learning_rate"] == float(best) and job["stages"][0]["name"] == "baseline"
    assert max(score for _, score in job["stages"][0]["curve"]) == job["rates"][best]


def test_models_and_shared_steps_are_removed_in_the_end(study):
    assert not list(study.root.glob("tiny/*/*/run/**/final")) and not list(study.root.glob("tiny/*/*/rate-*/**/final"))
    left = [path.parent for path in (study.root / ".store").glob(f"*/{DONE}")]
    assert len(left) == 4, "the teachers of two seeds, before and after fine-tuning"
    assert not list(study.root.rglob("progress.json"))


def test_what_a_kill_has_left_of_a_finished_study_is_removed_by_the_next_command(study):
    shared, student = next(study.root.glob("tiny/seed-1/shared-*")), study.root / "tiny" / "seed-1" / "full" / "run"
    left = [shared / "data" / "signals" / "task", student / "stages" / "4-task_specific" / "final"]
    for folder in left:
        folder.mkdir(parents=True)
    teachers = sorted(study.root.glob("tiny/seed-1/shared-*/teacher/*/final"))
    done = ernie_tiny("ablate", study.file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not any(folder.exists() for folder in left) and teachers
    assert sorted(study.root.glob("tiny/seed-1/shared-*/teacher/*/final")) == teachers


def _start(study, log):
    # Ctrl-C is ignored where tests run in the background
    reset = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    arguments = command("ablate", study.file)
    return subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, env=os.environ.copy(), preexec_fn=reset)


def _stop_once_done(study, jobs: int, how: int) -> tuple[int, str]:
    """Starts the study and sends a signal once so many jobs are done; returns the exit code and what was printed."""
    path = study.file.with_suffix(".log")
    with open(path, "w", encoding="utf-8") as log:
        process = _start(study, log)
        end = time.time() + 240
        while len(study.finished) < jobs:
            assert process.poll() is None and time.time() < end, path.read_text(encoding="utf-8")
            time.sleep(0.05)
        assert process.poll() is None, "the study is over too soon for this test"
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        code = process.wait(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert workers and not alive, "its processes end with it"
    return code, path.read_text(encoding="utf-8")


def test_a_stopped_study_continues_and_the_same_figures_come_out(study, tiny, tmp_path):
    other = write_study(tmp_path, tiny, tmp_path / "out")
    code, text = _stop_once_done(other, 1, signal.SIGINT)
    assert code == 130 and "run the same command again" in text and "Traceback" not in text
    early = other.finished
    code, _ = _stop_once_done(other, len(early) + 1, signal.SIGKILL)
    assert code == -signal.SIGKILL
    before = other.finished
    assert 2 <= len(before) < len(JOBS) and early.items() <= before.items()
    done = ernie_tiny("ablate", other.file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"8 jobs, {len(before)} of them done" in done.stdout
    assert before.items() <= other.finished.items(), "nothing that was finished is repeated"
    for name in JOBS:
        assert other.figures(name) == study.figures(name), name
    assert other.results["summary"]["tiny"].keys() == study.results["summary"]["tiny"].keys()
    for name, line in study.results["summary"]["tiny"].items():
        assert {**other.results["summary"]["tiny"][name], "seconds": 0} == {**line, "seconds": 0}


def test_a_finished_study_repeats_nothing(study, tmp_path, tiny):
    other = copied(study, tmp_path, tiny)
    before = other.finished
    done = ernie_tiny("ablate", other.file)
    assert done.returncode == 0 and "8 jobs, 8 of them done" in done.stdout and "[8/8]" not in done.stdout
    assert other.finished == before and other.results["summary"] == study.results["summary"]


def test_a_second_start_in_an_active_folder_is_refused(study):
    with open(study.root / ".lock", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another study is active in this folder") as refused:
            ablate(study.file)
    assert refused.value.exit_code == 2 and str(study.root) in str(refused.value)


def test_a_changed_base_repeats_only_what_it_decides(study, tmp_path, tiny):
    last = {**tiny["stages"][-1], "objective": {"soft_label": {"temperature": 3.0}}}
    run = {**tiny, "stages": [*tiny["stages"][:-1], last]}
    other = copied(study, tmp_path, run, seeds=[1], variants=["full", "fine_tuned"])
    before = other.finished
    done = ernie_tiny("ablate", other.file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 jobs, 1 of them done" in done.stdout
    assert {name for name, when in other.finished.items() if before[name] != when} == {"tiny/seed-1/full"}
    new = other.log("tiny/seed-1/full").removeprefix(study.log("tiny/seed-1/full"))
    assert "pretrain: already done" in new and "finetune: already done" in new
    scores, _, curves, _ = other.figures("tiny/seed-1/full")
    assert scores["kl"] != study.job("tiny/seed-1/full")["kl"]
    assert curves[:3] == study.figures("tiny/seed-1/full")[2][:3], "the stages before are made from the same again"


def test_a_job_that_fails_does_not_stop_the_others(study, tmp_path, tiny):
    own = {
        "missed": {"objective": {"layer_map": [7]}},  # which preflight finds
        "gated": {"teacher": {"check_above_chance": True}},  # which a step finds: the teacher is at chance
        "fine": {"title": "the last stage twice", "stages": [tiny["stages"][i] for i in (0, 3, 3)]},
    }
    more = {"seeds": [1], "variants": ["full"], "own": own}
    other = copied(study, tmp_path, tiny, **more)
    done = ernie_tiny("ablate", other.file)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "some jobs failed" in done.stderr and "Traceback" not in done.stderr
    assert "tiny/seed-1/missed: " in done.stderr and "layer_map" in done.stderr
    assert "tiny/seed-1/gated: " in done.stderr and "no better than chance" in done.stderr
    assert "layer_map" in other.log("tiny/seed-1/missed"), "the log says so too"
    results = other.results
    assert {job["variant"] for job in results["jobs"]} == {"full", "fine"} and not results["complete"]
    assert results["variants"]["fine"]["title"] == "the last stage twice"
    stages = other.job("tiny/seed-1/fine")["stages"]
    assert [(stage["name"], stage["steps"]) for stage in stages] == [
        ("general", 13),
        ("task_specific", 14),
        ("task_specific", 13),
    ]
    assert not list(other.root.rglob("progress.json")), "nothing looks as if it were at work"
    alone = ernie_tiny("ablate", other.file, "own={missed: {objective: {layer_map: [7]}}}")
    assert alone.returncode == 2 and "tiny/seed-1/missed: " in alone.stderr, "the input is wrong, and nothing else"


def test_a_teacher_with_its_own_seed_is_made_once(study, tmp_path, tiny):
    (given,) = study.root.glob("tiny/seed-1/shared-*/teacher/pretrained/final")
    teacher = {"model": str(given), "finetune": tiny["teacher"]["finetune"], "seed": 5, "check_above_chance": False}
    run = {**tiny, "teacher": teacher}
    more = {"variants": ["fine_tuned"], "reference": "fine_tuned", "rates": [0.01], "steps": 5, "processes": 1}
    other = write_study(tmp_path, run, tmp_path / "out", **more)
    done = ernie_tiny("ablate", other.file)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (other.log(f"tiny/seed-{seed}/fine_tuned") for seed in (1, 2))
    assert "] finetune: done in" in first and "] finetune: taken from another run" in second
    teachers = [other.job(f"tiny/seed-{seed}/fine_tuned")["teacher"] for seed in (1, 2)]
    assert teachers[0] == teachers[1] and other.results["teacher"]["tiny"]["sd"] == 0


def test_the_demo_study_in_short(tmp_path, project_root):
    small = [f"output_dir={tmp_path / 'out'}", "seeds=[1]", "variants=[full, fine_tuned]", "steps=40", "rates=[0.002]"]
    demo = ["data.train_limit=400", "general_corpus.held_out_rows=64", "teacher.check_above_chance=false"]
    demo += ["teacher.pretrain.training.max_steps=5", "teacher.pretrain.whole_word_masking=false"]
    demo += ["teacher.finetune.max_steps=5", "teacher.finetune.num_train_epochs=null"]
    changes = [*small, *(f"tasks.demo.{change}" for change in demo)]
    done = ernie_tiny("ablate", "configs/ablate-demo.yaml", *changes, cwd=project_root)
    assert done.returncode == 0, done.stdout + done.stderr
    made = Study(project_root / "configs" / "ablate-demo.yaml", tmp_path / "out")
    names = ["full", "fine_tuned", "warm_teacher"]
    assert sorted(made.finished) == sorted(f"demo/seed-1/{name}" for name in names)
    steps = {job["variant"]: job["steps"] for job in made.results["jobs"]}
    assert steps == dict.fromkeys(names, 40)
    shared = [stage["shared"] for stage in made.job("demo/seed-1/warm_teacher")["stages"]]
    assert shared[:3] == [True] * 3 and not shared[3], "another temperature concerns the last stage alone"

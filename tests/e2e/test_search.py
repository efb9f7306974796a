"""A whole miniature search through the command line, killed on the way; and a budget that nothing keeps to."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from paddle_ernie_tiny.benchmark.subjects import flops, parameters, parse_shape

from .conftest import command, ernie_tiny

SHAPES = [f"{layers}l-{width}h-2heads-{ffn * width}ffn" for layers in (1, 2, 3) for width in (16, 32) for ffn in (2, 4)]


def device_table(file: Path, tokens: int) -> Path:
    """What `ernie-tiny bench --json` would write on a device that needs 0.1 ms, and 1 ms per 10^7 operations."""
    records, models = [], []
    for name in (f"{shape}-{tokens}vocab" for shape in SHAPES):
        shape = parse_shape(name)
        latency = 0.1 + flops(shape, 24, True) / 1e7
        facts = {"model": name, "graph": "served", "precision": "fp32", "random_weights": True}
        facts |= {"parameters": parameters(shape), "file_mb": 4e-6 * parameters(shape)}
        models.append(facts)
        setting = {"engine": "onnxruntime", "device": "cpu", "threads": 1, "batch": 1, "length": 24}
        figures = {"latency_ms": {"p50": latency, "p90": latency, "p99": latency, "mean": latency}}
        rounds = {"rss_mb": 80.0, "rounds_ms": [[latency], [1.1 * latency]]}
        records.append({**facts, **setting, **figures, **rounds})
    values = {"environment": {"cpu": "a device"}, "models": models, "records": records}
    file.write_text(json.dumps(values), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def searched(unstarted, tmp_path_factory) -> Path:
    """The file of a search on the miniature run; its folder is `out` beside it."""
    folder = tmp_path_factory.mktemp("search")
    run = json.loads(json.dumps(unstarted.config))
    (folder / "base.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    tokens = run["teacher"]["pretrain"]["vocab_size"]
    values = {
        "output_dir": str(folder / "out"),
        "base": "base.yaml",
        "budget": {"latency_ms": 0.145},
        "at": {"length": 24, "engine": "onnxruntime", "table": str(device_table(folder / "device.json", tokens))},
        "space": {
            "num_hidden_layers": [0, 1, 2],
            "hidden_size": [16, 32],
            "num_attention_heads": [2],
            "ffn_ratio": [2, 4],
        },
        "halving": {"candidates": 4, "rungs": 2, "steps": 2, "finalists": 2},
    }
    (folder / "search.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder / "search.yaml"


def results_of(file: Path) -> dict:
    return json.loads((file.parent / "out" / "results.json").read_text(encoding="utf-8"))


def trials_of(file: Path) -> dict[str, int]:
    """When each training was recorded, by the name of its record."""
    return {path.name: path.stat().st_mtime_ns for path in (file.parent / "out" / "trials").glob("*.json")}


def test_a_search_that_is_killed_goes_on_to_its_answer(searched):
    with open(searched.parent / "log.txt", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command("search", searched), stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 300
        while not any(name.startswith("rungs") for name in trials_of(searched)) and time.monotonic() < end:
            assert process.poll() is None, (searched.parent / "log.txt").read_text(encoding="utf-8")
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = trials_of(searched)
    assert before, "something was trained"
    done = ernie_tiny("search", searched)
    assert done.returncode == 0, done.stdout + done.stderr
    after = trials_of(searched)
    assert {name: after[name] for name in before} == before, "nothing was trained twice"

    found, root = results_of(searched), searched.parent / "out"
    known = {each["name"]: each for each in found["candidates"]}
    assert found["complete"] and found["winner"] in known and found["winner"] in done.stdout
    trained = [each for each in known.values() if each["rungs"]]
    assert len(trained) == 4 and all(each["predicted"]["latency_ms"] <= 0.145 for each in trained)
    assert all(
        "latency_ms is <= 0.145" in each["out"] for each in known.values() if each["predicted"]["latency_ms"] > 0.145
    )
    assert any(each["predicted"]["latency_ms"] > 0.145 for each in known.values()), "the budget excludes something"
    assert [rung["steps"] for rung in trained[0]["rungs"]][:2] == [2, 6][: len(trained[0]["rungs"])]
    finals = [each for each in trained if each["final"]]
    best = max(finals, key=lambda each: (each["final"]["dev"], -each["predicted"]["latency_ms"]))
    assert len(finals) == 2 and best["name"] == found["winner"]
    tokens = (root / "shared/teacher/pretrained/final/vocab.txt").read_text(encoding="utf-8").splitlines()
    assert found["facts"]["tokens"] == found["facts"]["teacher"]["vocab_size"] == len(tokens), "known before it is made"
    winner = known[found["winner"]]["final"]
    assert (root / winner["bundle"] / "manifest.json").is_file() and (root / winner["report"]).is_file()
    elders = {"2l-16h-2heads-64ffn", "1l-32h-2heads-128ffn"}  # who have the general stages of their width
    assert all(each["final"]["steps"] == (40 if each["name"] in elders else 20) for each in finals)
    assert found["steps"]["full_recipe"] == 40 and found["steps"]["candidates"] == 4
    trained_here = 2 * 20 + 4 * 2 + 2 * 4 + 2 * 20  # general stages, rungs, the last stages of the finalists
    assert found["steps"]["trained"] == trained_here
    assert set(found["references"]) == {"teacher", "linear floor", "without distillation"}
    assert "predicted from the table of another device" in (root / "report.md").read_text(encoding="utf-8")
    own = yaml.safe_load((root / "winner.yaml").read_text(encoding="utf-8"))
    assert own["student"]["hidden_size"] == known[found["winner"]]["hidden_size"]
    assert own["output_dir"] == str(root / "winner"), "a run of it changes nothing of the search"
    checked = ernie_tiny("validate", root / "winner.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr

    again = ernie_tiny("search", searched)
    assert again.returncode == 0 and trials_of(searched) == after and results_of(searched) == found


def test_a_budget_that_nothing_keeps_to(searched):
    folder = searched.parent / "none"
    done = ernie_tiny("search", searched, f"output_dir={folder}", "--budget", "latency_ms<=0.01,files_mb<=50")
    assert done.returncode == 2, done.stdout + done.stderr
    said = done.stderr + done.stdout
    assert "no candidate keeps to latency_ms<=0.01" in said and "the nearest is 0l-16h" in said
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert found["nearest"] == "0l-16h" and found["winner"] is None and not list(folder.glob("students/*"))


def test_every_candidate_is_checked_before_any_training(searched):
    folder = searched.parent / "heads"
    done = ernie_tiny("search", searched, f"output_dir={folder}", "space.num_attention_heads=[4,2]")
    assert done.returncode == 2, done.stdout + done.stderr
    said = done.stderr + done.stdout
    assert "student 1l-16h-4heads-32ffn" in said and "needs equal head counts" in said
    assert not list(folder.glob("shared/teacher/*"))

"""`ernie-tiny bench` as it is typed: two small shapes, text to label, a profile, and clear refusals."""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from operator import methodcaller

import numpy as np
import pytest

from paddle_ernie_tiny.machine import has_bf16

SMALL, SMALLER = "2l-48h-4heads-500vocab", "1l-24h-4heads-400vocab"
KEYS = {"model", "engine", "device", "precision", "threads", "batch", "length", "latency_ms", "items_per_second"}
KEYS |= {"rss_mb", "times_as_fast", "load_seconds", "first_call_ms", "parameters", "file_mb", "gflop", "rounds_ms"}


def bench(*arguments):
    command = [sys.executable, "-m", "paddle_ernie_tiny", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env={**os.environ})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def result(folder):
    (folder / "texts.tsv").write_text(
        "label\ttext\n" + "1\t一丁七万丈三上下不与\n0\t丑专且丕世丘丙业丛东丝丞丢两严丧个丫中丰\n" * 20,
        encoding="utf-8",
    )
    done = bench(
        *("--model", f"{SMALL}@plain", "--model", SMALLER),
        *("--batch", "1,3", "--length", 12, "--seconds", 0.2, "--rounds", 2, "--profile"),
        *("--text", folder / "texts.tsv", "--column", "text"),
        *("--cache", folder / "cache", "--out", folder / "out", "--json", folder / "again.json"),
    )
    assert done.returncode == 0, done.stderr
    assert "Token ids to logits" in done.stdout and "Text to label" in done.stdout
    return json.loads((folder / "out" / "result.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_record_for_every_model_and_setting(result):
    records = result["records"]
    assert [(r["model"], r["batch"]) for r in records] == [(SMALL, 1), (SMALLER, 1), (SMALL, 3), (SMALLER, 3)]
    for record in records:
        assert set(record) >= KEYS
        samples = [sample for turn in record["rounds_ms"] for sample in turn]
        assert len(record["rounds_ms"]) == 2 and min(samples) > 0
        assert record["latency_ms"]["p50"] == pytest.approx(np.median(samples), abs=1e-3)
        assert record["items_per_second"] == pytest.approx(record["batch"] * 1e3 / np.mean(samples), rel=1e-3)
        assert record["rss_mb"] > record["rss_before_load_mb"] > 10
    assert [r["graph"] for r in records[:2]] == ["plain", "served"]
    assert records[0]["times_as_fast"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert records[1]["times_as_fast"]["median"] > 1


@pytest.mark.slow
def test_text_to_label_in_both_pipelines(result):
    usual, first, second = result["text"]
    assert (usual["pipeline"], usual["model"], usual["graph"]) == ("usual", SMALL, "plain")
    assert [r["pipeline"] for r in (first, second)] == ["toolkit", "toolkit"] and first["rows"] == 2 * 40
    for record in result["text"]:
        assert sum(record["share"].values()) == pytest.approx(1)
        assert min(record["share"].values()) > 0
        assert record["ms_a_text"]["total"] == pytest.approx(1e3 / record["items_per_second"])
    assert first["times_as_fast"]["median"] > 1  # 12 and 22 tokens against 128


@pytest.mark.slow
def test_the_profile_names_the_matrix_products(result):
    # six a layer of the plain graph, and pooler and classifier; four of a last layer for the first token alone
    for profile, products in zip(result["profiles"], (2 * 6 + 2, 4 + 2), strict=True):
        calls = {entry["operation"]: entry["calls"] for entry in profile["operations"]}
        assert calls["fc"] == products and calls["softmax"] == products // 6
        assert sum(entry["share"] for entry in profile["operations"]) == pytest.approx(1)


@pytest.mark.slow
def test_files_are_written(result, folder):
    assert json.loads((folder / "again.json").read_text(encoding="utf-8")) == result
    page = (folder / "out" / "tables.md").read_text(encoding="utf-8")
    for picture in ("latency.png", "text-to-label.png", "profile.png"):
        assert picture in page and (folder / "out" / picture).stat().st_size > 5000
    assert SMALLER in page and result["environment"]["cpu"] in page


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_every_engine_gives_the_same_logits(result, folder, engine):
    for module in (engine, "paddle2onnx"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    from paddle_ernie_tiny.benchmark.bench import load
    from paddle_ernie_tiny.benchmark.request import BenchRequest
    from paddle_ernie_tiny.benchmark.subjects import resolve
    from paddle_ernie_tiny.benchmark.turns import inputs

    cache = folder / "cache"
    models = resolve(f"{SMALL}@plain", ["fp32"], cache) + resolve(SMALLER, ["fp32"], cache)
    with ExitStack() as stack:
        candidates = load(BenchRequest([], engines=["paddle", engine], cache=cache), models, 1, stack, print)
        for own, peer in (candidates[:2], candidates[2:]):
            call = methodcaller("__call__", *inputs(own.subject.tokens, batch=3, length=9))
            ours, theirs = own.ask(call), peer.ask(call)
            assert ours.shape == (3, 2)
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_int8_and_bf16_are_measured_in_every_engine_that_has_them(folder):
    for module in ("paddle2onnx", "onnxruntime", "openvino"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    bf16 = ("--model", f"{SMALLER}@bf16") if has_bf16() else ()
    done = bench(
        *(
            "--model",
            f"{SMALLER}@fp32",
            "--model",
            f"{SMALLER}@int8",
            *bf16,
            "--engine",
            "paddle,onnxruntime,openvino,auto",
        ),
        *("--length", 12, "--seconds", 0.1, "--rounds", 1, "--cache", folder / "cache", "--json", folder / "int8.json"),
    )
    assert done.returncode == 0, done.stderr
    records = json.loads((folder / "int8.json").read_text(encoding="utf-8"))["records"]
    measured = {name: [r["engine"] for r in records if r["precision"] == name] for name in ("fp32", "int8", "bf16")}
    every = ["paddle", "onnxruntime", "openvino", "auto"]
    assert measured == {"fp32": every, "int8": every, "bf16": ["paddle", "openvino", "auto"] if bf16 else []}
    assert ("bf16 is left out of onnxruntime: its bundle was not compared there" in done.stderr) == bool(bf16)


@pytest.mark.slow
def test_the_cache_is_used_and_names_are_checked(result, folder):
    from paddle_ernie_tiny.benchmark.subjects import resolve

    said = []
    (model,) = resolve(SMALLER, ["fp32"], folder / "cache", said.append)
    assert not said and model.random and model.parameters == result["models"][1]["parameters"]
    (bundle,) = resolve(str(model.folder), ["fp32"], folder / "cache", said.append)
    assert not bundle.random and bundle.shape == model.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "bert-huge"], "neither a bundle's folder nor the name of a shape"),
        (["--model", f"{SMALL}@fp16"], "unknown mark @fp16"),
        (["--model", SMALL, "--batch", "1,x"], "not a list of numbers"),
        (["--model", SMALL, "--batch", "0"], "not a list of positive numbers"),
        (["--model", SMALL, "--length", "513"], "more than 512"),
        (["--model", SMALL, "--engine", "torch"], "unknown engine 'torch'"),
        (["--model", SMALL, "--engine", ","], "--engine: nothing is named"),
        (["--model", SMALL, "--precision", ""], "--precision: nothing is named"),
        (["--model", SMALL, "--precision", "fp8"], "unknown precision 'fp8'"),
        (["--model", SMALL, "--device", "tpu"], "unknown device 'tpu'"),
        (["--model", SMALL, "--text", "nowhere.tsv"], "no such file"),
        (["--model", SMALL, "--json", "no/such/folder.json"], "no such folder"),
    ],
)
def test_wrong_use_is_refused(arguments, message, monkeypatch, capsys, tmp_path):
    from paddle_ernie_tiny import cli

    monkeypatch.setattr(cli, "stop_on_signals", lambda: None)  # this process is the tests'
    monkeypatch.setattr(sys, "argv", ["ernie-tiny", "bench", *arguments, "--cache", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_a_worker_that_dies_says_why(tmp_path):
    from paddle_ernie_tiny.benchmark.turns import own_process
    from paddle_ernie_tiny.engines import OnnxRuntimeEngine
    from paddle_ernie_tiny.errors import ErnieTinyError

    model = (tmp_path, "cpu", 1, "fp32")
    with pytest.raises(ErnieTinyError, match="a model that is not there: the worker ended"):
        with own_process("a model that is not there", 1, "onnxruntime", OnnxRuntimeEngine, *model):
            pass


def test_a_worker_that_is_killed_says_what_it_printed_last():
    from paddle_ernie_tiny.benchmark.turns import own_process
    from paddle_ernie_tiny.errors import ErnieTinyError

    last_words = "import os; os.write(1, b'loading\\nno memory left\\n'); os._exit(9)"
    with pytest.raises(ErnieTinyError, match="a large model: the worker ended without an answer: no memory left"):
        with own_process("a large model", 1, "json", exec, last_words):
            pass


def test_a_users_mistake_crosses_as_it_is(tmp_path):
    from paddle_ernie_tiny.benchmark.turns import own_process
    from paddle_ernie_tiny.engines import OpenVinoEngine
    from paddle_ernie_tiny.errors import InputError

    with pytest.raises(InputError, match="OpenVINO runs on the CPU only here"):
        with own_process("a model", 1, "json", OpenVinoEngine, tmp_path, "gpu", 1, "fp32"):
            pass

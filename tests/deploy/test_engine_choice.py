"""The engine of a bundle: named, or the fastest of those it was compared in, measured once."""

import json
import subprocess
import sys

import numpy as np
import pytest

from paddle_ernie_tiny.deploy import engine_choice
from paddle_ernie_tiny.deploy.bundle import read_manifest
from paddle_ernie_tiny.deploy.engine_choice import PASS_ROWS, ByRows, Way, describe, fastest
from paddle_ernie_tiny.deploy.export import export
from paddle_ernie_tiny.deploy.onnx_graph import export_onnx
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.deploy.quantize import QuantizeRequest, quantize_bundle
from paddle_ernie_tiny.deploy.row_files import LabelledRows
from paddle_ernie_tiny.engines import IN_ONNX, ON_CPU
from paddle_ernie_tiny.errors import GateError, InputError

for package in ("paddle2onnx", *IN_ONNX):
    pytest.importorskip(package)
ROWS = LabelledRows(["天地"], None, [0])
# what a machine that serves by ONNX Runtime alone does not have
LACKS = ("paddle", "paddlenlp", "paddle2onnx", "sklearn", "scipy", "seqeval", "jieba", "matplotlib", "datasets")


@pytest.fixture(scope="module")
def everywhere(classifier, tmp_path_factory):
    """A bundle that was compared in every engine of a CPU."""
    folder = tmp_path_factory.mktemp("everywhere")
    rows = folder / "rows.txt"
    rows.write_text("\n".join(classifier.texts) + "\n", encoding="utf-8")
    export(classifier.folder.parent / "final", folder / "bundle", rows, max_length_tokens=24, engines=ON_CPU)
    return folder / "bundle"


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    for name, value in (("_ROUNDS", 2), ("_TURN_SECONDS", 0.005)):  # what is measured matters here, not how well
        monkeypatch.setattr(engine_choice, name, value)
    return tmp_path / "caches" / "paddle_ernie_tiny" / "engines"


class Fake:
    def __init__(self, name):
        self.name = name

    def __call__(self, input_ids, token_type_ids):
        return np.array([f"{self.name}{len(input_ids)}"])

    def clone(self):
        return Fake(f"{self.name}'")


def test_one_engine_is_used_where_it_is_nearly_the_fastest_of_each():
    a, b = Way("a"), Way("b")
    assert fastest({1: {a: 1.00, b: 1.02}, 32: {a: 33.0, b: 30.0}}) == {1: b, 32: b}
    assert fastest({1: {a: 1.00, b: 1.04}, 32: {a: 33.0, b: 30.0}}) == {1: a, 32: b}
    assert fastest({1: {a: 2.0, b: 1.0}}) == {1: b}


def test_passes_of_few_rows_are_chosen_where_they_are_faster():
    a, b, in_passes = Way("a"), Way("b"), Way("a", PASS_ROWS)
    assert fastest({1: {a: 1.0, b: 1.1}, 32: {a: 33.0, b: 31.0, in_passes: 30.0}}) == {1: a, 32: in_passes}
    assert fastest({1: {a: 1.0, b: 1.1}, 32: {a: 33.0, b: 35.0, in_passes: 34.0}}) == {1: a, 32: a}


def test_calls_are_made_in_the_way_of_the_nearest_number_of_rows():
    choice = {1: Way("a"), 8: Way("b"), 32: Way("b", 8)}
    both = ByRows(choice, {"a": Fake("a"), "b": Fake("b")})
    made = {0: ["a0"], 1: ["a1"], 2: ["a2"], 3: ["b3"], 8: ["b8"], 15: ["b15"], 20: ["b8", "b8", "b4"], 32: ["b8"] * 4}
    assert {n: list(both(np.zeros((n, 4)), np.zeros((n, 4)))) for n in made} == made
    assert both.clone()(np.zeros((1, 4)), None) == ["a'1"]
    assert describe(choice) == "a (batch 1), b (batch 8), b (batch 32, 8 rows at a time)"
    assert describe({1: Way("a"), 8: Way("b"), 32: Way("b")}) == "a (batch 1), b (batch 8 and 32)"
    assert describe({1: Way("b"), 8: Way("b")}) == "b"


def test_a_bundle_is_compared_in_every_engine_and_answers_alike_in_each(everywhere, classifier):
    manifest = read_manifest(everywhere)
    assert manifest.runs_in == list(ON_CPU) and set(manifest.engines) == set(IN_ONNX)
    assert all(0 <= figures["max_abs_diff"] <= 1e-4 and figures["rows"] == 48 for figures in manifest.engines.values())
    card = (everywhere / "README.md").read_text(encoding="utf-8")
    assert (
        "Logits of ONNX Runtime differ from those of Paddle Inference" in card and "Logits of OpenVINO differ" in card
    )
    logits = {}
    for name in ON_CPU:
        predictor = Predictor(everywhere, engine=name)
        assert predictor.engine == name
        logits[name] = predictor.logits(classifier.texts)
        np.testing.assert_allclose(predictor.clone().logits(classifier.texts), logits[name], atol=1e-6)
    for name in IN_ONNX:
        np.testing.assert_allclose(logits[name], logits["paddle"], atol=1e-4)


def test_auto_measures_once_says_so_and_keeps_it(everywhere, classifier, caches, capfd, monkeypatch):
    predictor = Predictor(everywhere)
    said = capfd.readouterr().err
    assert f"of {', '.join(ON_CPU)} the fastest on this CPU with 1 thread(s): {predictor.engine}" in said
    (file,) = caches.iterdir()
    kept = json.loads(file.read_text())
    assert set(kept["milliseconds_per_call"]) == {"1", "8", "32"}
    for rows, times in kept["milliseconds_per_call"].items():
        in_passes = {f"{name} (batch 32, {PASS_ROWS} rows at a time)" for name in ON_CPU if rows == "32"}
        assert set(times) == {*ON_CPU, *in_passes}
    with monkeypatch.context() as patched:
        patched.setattr(engine_choice, "measure", lambda *_: pytest.fail("measured again"))
        assert Predictor(everywhere).engine == predictor.engine
    assert not capfd.readouterr().err
    Predictor(everywhere, threads=2)
    assert len(list(caches.iterdir())) == 2, "other threads are another question"
    unfit = (
        {},
        {"1": ["another"]},
        {"0": ["paddle"]},
        {"1": "paddle"},
        {"1": ["paddle", 7]},
        {"1": 1},
        {"1": None},
    )
    for damaged in ("", "[]", "[" * 100_000, *(json.dumps({"choice": choice}) for choice in unfit)):
        file.write_text(damaged)
        Predictor(everywhere)
        assert set(json.loads(file.read_text())["choice"]) == {"1", "8", "32"}, damaged


def test_auto_opens_what_the_choice_says_by_the_number_of_rows(everywhere, classifier, monkeypatch):
    times = {
        1: {Way("paddle"): 2.0, Way("onnxruntime"): 1.0, Way("openvino"): 3.0},
        8: {Way("paddle"): 1.0, Way("onnxruntime"): 2.0, Way("openvino"): 3.0},
        32: {Way("paddle"): 2.0, Way("onnxruntime"): 2.0, Way("openvino"): 2.0, Way("paddle", PASS_ROWS): 1.0},
    }
    monkeypatch.setattr(engine_choice, "measure", lambda *_: times)
    expected = Predictor(everywhere, engine="paddle").logits(classifier.texts)
    for _ in range(2):  # measured, then kept
        predictor = Predictor(everywhere)
        assert predictor.engine == "onnxruntime (batch 1), paddle (batch 8), paddle (batch 32, 8 rows at a time)"
        for batch in (1, 8, 48):
            np.testing.assert_allclose(predictor.logits(classifier.texts, batch_size=batch), expected, atol=1e-4)


def test_a_cache_that_cannot_be_written_is_said(everywhere, caches, capfd, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert Predictor(everywhere).engine
    assert "not kept" in capfd.readouterr().err


def test_long_calls_are_not_measured(everywhere, monkeypatch):
    monkeypatch.setattr(engine_choice, "_LONGEST_CALL_SECONDS", 0.0)
    engines = {"a": Predictor(everywhere, engine="paddle")._engine}
    assert list(engine_choice.measure(engines, read_manifest(everywhere), 1)) == [1]


def test_engines_that_do_not_run_it_are_refused(everywhere, classifier, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="unknown engine 'tensorflow'"):
        Predictor(everywhere, engine="tensorflow")
    with pytest.raises(InputError, match="not compared in openvino, only in paddle") as refused:
        Predictor(classifier.folder, engine="openvino")
    assert "ernie-tiny onnx BUNDLE OUT --engine openvino" in str(refused.value)
    assert Predictor(classifier.folder).engine == "paddle"
    with pytest.raises(InputError, match="openvino has no fp16"):  # nor does it answer in fp32 instead
        Predictor(everywhere, "gpu", precision="fp16", engine="openvino")
    manifest = read_manifest(classifier.folder)
    manifest.precision = "int8"
    with pytest.raises(
        InputError, match="not compared in openvino.*\n.*quantize FP32_BUNDLE OUT --precision int8 --engine openvino"
    ):
        engine_choice.candidates(classifier.folder, manifest, "openvino", "cpu", "int8")
    with pytest.raises(GateError, match="logits of ONNX Runtime and Paddle Inference differ"):
        export_onnx(classifier.folder, tmp_path / "onnx", classifier.texts, None, 1e-12, IN_ONNX)
    with pytest.raises(InputError, match="unknown engine 'tensorflow'"):
        export_onnx(classifier.folder, tmp_path / "onnx", classifier.texts, None, 1e-4, ["tensorflow"])
    for named in ([], ["paddle"], ["paddle", "openvino"]):
        with pytest.raises(InputError, match="is no engine that runs ONNX"):
            export_onnx(classifier.folder, tmp_path / "onnx", classifier.texts, None, 1e-4, named)
    for wrong in (None, 5, b"paddle", ["paddle"]):
        with pytest.raises(InputError, match="is no engine") as refused:
            Predictor(everywhere, engine=wrong)
        assert refused.value.where == "engine"
    rows = everywhere.parent / "rows.txt"
    with pytest.raises(InputError, match="no engine is named"):
        export(classifier.folder.parent / "final", tmp_path / "out", rows, max_length_tokens=24, engines=())
    with pytest.raises(InputError, match="no engine is named"):
        quantize_bundle(QuantizeRequest(classifier.folder, tmp_path / "out", ROWS, ROWS, engines=[]))
    assert not list(tmp_path.glob("o*")), "nothing was written"
    monkeypatch.setattr("paddle_ernie_tiny.engines.find_spec", lambda name: None if name == "onnxruntime" else True)
    with pytest.raises(InputError, match="'onnxruntime' is not installed"):
        Predictor(everywhere, engine="onnxruntime")
    monkeypatch.setattr("paddle_ernie_tiny.engines.find_spec", lambda name: None)
    with pytest.raises(InputError, match="no engine that runs this bundle is installed"):
        Predictor(everywhere)


def test_a_machine_with_onnx_runtime_alone_predicts(everywhere, classifier, tmp_path):
    """Neither Paddle nor what computes scores; `auto` then leaves the engines that are not there out."""
    block = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {(*LACKS, 'openvino')}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import importlib.util, paddle_ernie_tiny.engines as engines\n"
        "engines.find_spec = lambda name: name == 'onnxruntime' or None\n"
    )
    code = f"{block}from paddle_ernie_tiny.cli import main\nsys.argv = ['ernie-tiny', *sys.argv[1:]]\nmain()\n"
    line = [sys.executable, "-c", code, "predict", str(everywhere), classifier.texts[0]]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    expected = Predictor(everywhere, engine="paddle").predict(classifier.texts[:1])[0]
    assert json.loads(done.stdout)["label"] == expected.label
    served = f"{block}import paddle_ernie_tiny.deploy.server.serve\n"
    assert subprocess.run([sys.executable, "-c", served]).returncode == 0
    rows = tmp_path / "rows.tsv"
    rows.write_text(f"{classifier.texts[0]}\ta\n", encoding="utf-8")
    done = subprocess.run([*line[:3], "evaluate", str(everywhere), str(rows)], capture_output=True, text=True)
    assert done.returncode == 2 and "is not installed" in done.stderr and "scores need evaluate" in done.stderr


@pytest.mark.parametrize("name", IN_ONNX)
def test_a_library_that_cannot_be_loaded_is_named(everywhere, monkeypatch, name):
    def broken(package):
        raise OSError(f"lib{package}.so: invalid ELF header\nmore")

    monkeypatch.setattr("paddle_ernie_tiny.engines.import_module", broken)
    for engine in (name, "auto"):
        with pytest.raises(InputError, match=r"loaded: lib.*ELF header\n  remedy: install ") as refused:
            Predictor(everywhere, engine=engine)
        assert refused.value.where in (f"engine {name}", "engine onnxruntime")
    assert Predictor(everywhere, engine="paddle").engine == "paddle"


def test_what_holds_no_graph_of_paddle_is_not_converted(everywhere, classifier, tmp_path):
    export_onnx(everywhere, tmp_path / "onnx", classifier.texts[:2])
    with pytest.raises(InputError, match="no model.pdmodel in this bundle"):
        export_onnx(tmp_path / "onnx", tmp_path / "again", classifier.texts[:2])
    assert not (tmp_path / "again").exists()

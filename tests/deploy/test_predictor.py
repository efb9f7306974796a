"""The predictor: threads that share weights, and ways to run that it refuses."""

import shutil
import threading

import numpy as np
import pytest

from paddle_ernie_tiny import machine
from paddle_ernie_tiny.deploy import predictor as predictor_module
from paddle_ernie_tiny.deploy.bundle import read_manifest, write_manifest
from paddle_ernie_tiny.deploy.engine_choice import open_engine
from paddle_ernie_tiny.deploy.export import export
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.deploy.quantize import QuantizeRequest, quantize_bundle
from paddle_ernie_tiny.errors import GateError, InputError
from paddle_ernie_tiny.machine import has_bf16

from ..bundles import CHARACTERS


def test_clones_in_threads_answer_as_one_predictor_does(classifier):
    predictor = Predictor(classifier.folder)
    expected = predictor.logits(classifier.texts, batch_size=4)
    found, errors = {}, []

    def work(number, own):
        try:
            found[number] = [own.logits(classifier.texts, batch_size=4) for _ in range(20)]
        except Exception as error:  # a thread's exception would pass unseen
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i, predictor.clone())) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and sorted(found) == [0, 1, 2, 3]
    for runs in found.values():
        for logits in runs:
            np.testing.assert_array_equal(logits, expected)


def test_a_clone_that_ends_leaves_the_others_their_weights(classifier):
    predictor = Predictor(classifier.folder)
    expected, kept = predictor.logits(classifier.texts), predictor.clone()
    for _ in range(3):
        predictor.clone().logits(classifier.texts)
    for still in (predictor, kept):
        np.testing.assert_array_equal(still.logits(classifier.texts), expected)


def test_more_cpu_threads_change_nothing(classifier):
    one, two = Predictor(classifier.folder, threads=1), Predictor(classifier.folder, threads=2)
    np.testing.assert_allclose(one.logits(classifier.texts), two.logits(classifier.texts), atol=1e-5)


def test_texts_are_padded_to_few_lengths_and_the_longest_come_first(classifier):
    """A row has two more tokens than its text; this bundle takes 32 of them."""
    texts = ["天" * length for length in (1, 30, 29, 9, 11, 2, 5, 22)]
    engine, shapes = Predictor(classifier.folder)._engine, []
    predictor = Predictor(classifier.folder, engine=lambda ids, types: shapes.append(ids.shape) or engine(ids, types))
    shapes.clear()  # one row is tried when it is opened
    answers = predictor.predict(texts, batch_size=2)
    logits, expected = predictor.logits(texts, batch_size=2), predictor.logits(texts, batch_size=1)
    assert shapes[:4] == shapes[4:8] == [(2, 32), (2, 24), (2, 12), (2, 4)]
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert [answer.label for answer in answers] == [predictor.labels[best] for best in expected.argmax(axis=1)]
    predictor.manifest.max_length_tokens = 31  # no multiple of 4
    shapes.clear()
    predictor.predict(texts[:2])
    assert shapes == [(2, 31)]


@pytest.mark.parametrize("given, count", [("auto", 5), (3, 3)])
def test_auto_threads_are_every_core(classifier, monkeypatch, given, count):
    asked = []
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setattr(predictor_module, "open_engine", lambda *how: asked.append(how) or open_engine(*how))
    Predictor(classifier.folder, threads=given)
    assert [how[4] for how in asked] == [count]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"precision": "int8"}, "does not run in 'int8' on a cpu.*\n.*quantize the bundle first"),
        ({"precision": "fp16"}, "does not run in 'fp16' on a cpu"),
        ({"threads": "all"}, "--threads: not a number of threads that fits: 'all'"),
        ({"device": "gpu", "precision": "bf16"}, "does not run in 'bf16' on a gpu"),
        (
            {"precision": "bf16"},
            "does not run in 'bf16' on a cpu.*\n.*ernie-tiny quantize .* OUT --precision bf16 --dev",
        ),
    ],
)
def test_what_bundle_and_device_do_not_have_together_is_refused(classifier, options, message):
    with pytest.raises(InputError, match=message):
        Predictor(classifier.folder, **options)


def bf16_of(bundle, out, **options):
    """A bf16 bundle; of random weights, whose answers hang by a thread, whatever it costs."""
    options = {"max_drop_points": 100.0, "precision": "bf16", **options}
    quantize_bundle(QuantizeRequest(str(bundle.folder), str(out), None, bundle.rows(), **options))
    return read_manifest(out)


@pytest.mark.skipif(not has_bf16(), reason="this CPU has no bfloat16 instructions")
def test_bf16_rounds_the_logits_where_the_cpu_has_it(classifier, tagger, tmp_path):
    for made in (classifier, tagger):
        out = tmp_path / made.folder.parent.name
        manifest = bf16_of(made, out)
        assert (manifest.precision, manifest.runs_in) == ("bf16", ["paddle"]) and Predictor(out).precision == "bf16"
        assert manifest.files["model.pdmodel"] == read_manifest(made.folder).files["model.pdmodel"]
        assert manifest.parity["metric_fp32"] == 1.0 and manifest.parity["rows"] == 48
        plain, rounded = (np.concatenate(Predictor(folder).outputs(made.texts)) for folder in (made.folder, out))
        difference = np.abs(plain - rounded).max()
        assert 0 < difference < 0.05 * np.abs(plain).max() + 0.01  # bfloat16 has 8 bits: 0.4 % of each number
        assert manifest.parity["max_abs_diff"] == pytest.approx(difference, rel=1e-3)


@pytest.mark.skipif(not has_bf16(), reason="this CPU has no bfloat16 instructions")
def test_bf16_is_gated_in_every_engine_that_has_it(classifier, tmp_path):
    for package in ("paddle2onnx", "openvino"):
        pytest.importorskip(package)
    manifest = bf16_of(classifier, tmp_path / "bf16", engines=["openvino", "paddle"])
    assert manifest.runs_in == ["paddle", "openvino"] and list(manifest.figures) == ["paddle", "openvino"]
    assert 0 < manifest.figures["openvino"]["max_abs_diff"] < 1
    assert "bf16 in OpenVINO: accuracy " in (tmp_path / "bf16" / "README.md").read_text(encoding="utf-8")
    with pytest.raises(GateError, match=r"points, in paddle \(allowed: -1\)"):
        bf16_of(classifier, tmp_path / "refused", max_drop_points=-1.0, engines=["paddle"])
    with pytest.raises(InputError, match="onnxruntime has no bf16 on a CPU"):
        bf16_of(classifier, tmp_path / "refused", engines=["onnxruntime"])
    with pytest.raises(InputError, match="no part 'head'.*\n.*none can stay in fp32"):
        bf16_of(classifier, tmp_path / "refused", keep_fp32=["head"])
    assert not (tmp_path / "refused").exists()


def test_bf16_is_refused_on_a_cpu_without_it(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset({"avx2"}))
    with pytest.raises(InputError, match="no instructions for bfloat16.*\n.*quantize the bundle"):
        bf16_of(classifier, tmp_path / "bf16")
    made = tmp_path / "made-elsewhere"
    shutil.copytree(classifier.folder, made)
    manifest = read_manifest(made)
    manifest.precision, manifest.quantization = "bf16", {"method": "bf16"}
    write_manifest(made, manifest)
    with pytest.raises(InputError, match="no instructions for bfloat16.*\n.*serve the fp32 bundle"):
        Predictor(made)
    with pytest.raises(InputError, match="the bf16 bundle is for CPUs"):
        Predictor(made, device="gpu")
    with pytest.raises(InputError, match="this bf16 bundle does not run in 'fp32'"):
        Predictor(made, precision="fp32")


def test_a_gpu_where_paddle_has_none_is_refused(classifier):
    import paddle

    if paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle has GPU support")
    with pytest.raises(InputError, match="this Paddle has no GPU"):
        Predictor(classifier.folder, device="gpu")


@pytest.mark.parametrize(
    ("text", "message"), [("a\x07", "control character U\\+0007"), ("\u200b", "the text is empty")]
)
def test_a_text_that_is_refused_is_named_by_its_place(classifier, text, message):
    with pytest.raises(InputError, match=rf"texts\[1\]: {message}"):
        Predictor(classifier.folder).predict(["天地", text])


def test_a_tagger_reads_the_whole_text(tagger):
    """A text three times as long as the bundle takes: each word as in a forward pass over its window alone."""
    predictor, text = Predictor(tagger.folder), (CHARACTERS * 3)[:95]
    row = predictor.encode([text])[0]
    assert [len(window.places) for window in row.windows] == [26, 23, 21, 25] and not row.truncated
    one_by_one = np.concatenate([predictor.answer([window])[0] for window in row.windows])
    (logits,) = predictor.outputs([list(text)], batch_size=3)
    np.testing.assert_allclose(logits, one_by_one, atol=1e-5)
    short = predictor.outputs([list(text[:30])])[0]
    np.testing.assert_allclose(logits[:26], short[:26], atol=1e-5, err_msg="the first window is that text")
    answers = predictor.predict(["天地", text, "玄"], batch_size=2)
    expected = predictor.decode(row, [one_by_one])
    assert [entity.start for entity in answers[1]] == [entity.start for entity in expected] and len(answers) == 3
    assert {entity.start for entity in answers[1]} & set(range(60, 95)), "entities are found at its end too"
    assert answers[1] == predictor.predict([text])[0] and not answers[1].truncated
    assert "truncated" not in predictor.kind.as_json(answers[1])


def test_an_answer_says_where_something_was_left_out(classifier, pair_regressor, tagger):
    for small, texts in ((classifier, ["天" * 40, "天" * 30]), (pair_regressor, ["天" * 16, "天" * 15])):
        predictor = Predictor(small.folder)
        answers = predictor.predict(texts, ["地" * 14, "地" * 14] if small is pair_regressor else None)
        assert [answer.truncated for answer in answers] == [True, False]
        assert [predictor.kind.as_json(answer).get("truncated") for answer in answers] == [True, None]
    predictor = Predictor(tagger.folder)
    beyond, inside = (
        predictor.decode(row, [np.zeros((65_536, 3))])
        for row in predictor.encode(["天 " * 65_537, "天 " * 65_536 + "\u200b"])
    )
    assert beyond.truncated and not inside.truncated
    assert predictor.kind.as_json(beyond) == {"entities": [], "truncated": True}


@pytest.mark.parametrize("long_text", ["head_tail", "windows"])
def test_a_bundle_says_how_it_reads_long_texts(classifier, tmp_path, long_text):
    """Older bundles, which do not say, cut texts at their end."""
    folder, text = tmp_path / "bundle", (CHARACTERS * 2)[:70]
    shutil.copytree(classifier.folder, folder)
    manifest = read_manifest(folder)
    assert manifest.long_text == "truncate"
    for value in (None, long_text):
        manifest.long_text = value
        write_manifest(folder, manifest)
        cut = Predictor(folder).predict([text])[0]
        plain = Predictor(classifier.folder)
        expected = plain.logits([text[:30]])[0]
        if value == "head_tail":
            expected = plain.logits([text[:7] + text[-23:]])[0]
        elif value == "windows":
            expected = plain.logits([text[0:30], text[23:53], text[40:70]]).mean(axis=0)
        np.testing.assert_allclose(Predictor(folder).logits([text])[0], expected, atol=1e-5)
        assert cut.truncated == (value != "windows") and cut.label == plain.labels[int(expected.argmax())]


def test_export_takes_how_long_texts_are_read(classifier, tagger, tmp_path):
    (tmp_path / "rows.txt").write_text("天地" * 40 + "\n", encoding="utf-8")
    for small, long_text in ((classifier, "middle"), (tagger, "truncate")):
        with pytest.raises(InputError, match=f"long_text is '{long_text}'"):
            export(small.folder.parent / "final", tmp_path / "no", tmp_path / "rows.txt", 1e-4, 32, long_text=long_text)
    export(classifier.folder.parent / "final", tmp_path / "b", tmp_path / "rows.txt", 1e-4, 32, long_text="windows")
    assert read_manifest(tmp_path / "b").long_text == "windows"

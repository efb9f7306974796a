"""int8: through the engine that serves it, smaller, in the parts asked for, refused where the metric falls."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from paddle_ernie_tiny.data.rows import EncodedRows
from paddle_ernie_tiny.deploy.bundle import read_manifest
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.deploy.quantize import QuantizeRequest, quantize_bundle
from paddle_ernie_tiny.errors import GateError, InputError
from paddle_ernie_tiny.machine import has_vnni
from paddle_ernie_tiny.models.build import load_classifier, load_tokenizer
from paddle_ernie_tiny.models.fake_int8 import FakeInt8Linear, fake_int8
from paddle_ernie_tiny.training.inference import predict_outputs
from tests.bundles import make_bundle

NEEDS_VNNI = pytest.mark.skipif(not has_vnni(), reason="without VNNI oneDNN's int8 sums saturate on weights like these")
PARTS = ["embeddings"]
PARTS += [f"encoder.layers.{layer}.{part}" for layer in range(2) for part in ("attention", "feed_forward")]
PARTS += ["head"]


def quantize(bundle, out, **options):
    options = {"max_drop_points": 100.0, "auto": False, **options}  # random weights: answers hang by a thread
    return quantize_bundle(QuantizeRequest(str(bundle.folder), str(out), bundle.rows(16), bundle.rows(), **options))


@pytest.fixture(scope="module")
def int8(classifier, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8") / "bundle-int8"
    return out, quantize(classifier, out)


def flat(logits):
    return np.concatenate(logits) if isinstance(logits, list) else logits


def relative_error(bundle, folder):
    """Root mean square of the logits' change, against that of the fp32 logits."""
    fp32 = flat(Predictor(bundle.folder).logits(bundle.texts, bundle.texts_b))
    changed = flat(Predictor(folder).logits(bundle.texts, bundle.texts_b))
    return float(np.sqrt(np.square(changed - fp32).mean()) / np.sqrt(np.square(fp32).mean()))


def int8_products(folder):
    """How many matrix products the engine runs in int8, as it says itself when it is created."""
    code = f"from paddle_ernie_tiny.deploy.predictor import Predictor; Predictor({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = re.search(r"quantized (\d+) fc ops", done.stdout + done.stderr)
    return int(found.group(1)) if found else 0


def test_the_bundle_says_what_it_is_and_what_it_costs(classifier, int8):
    folder, parity = int8
    manifest = read_manifest(folder)
    assert manifest.precision == "int8" and Predictor(folder).precision == "int8"
    assert manifest.quantization["int8"] == PARTS and manifest.quantization["fp32"] == []
    assert manifest.parity == parity
    assert parity["rows"] == 48 and parity["metric_fp32"] == 1.0  # gold is what fp32 answers
    assert parity["metric_int8"] == pytest.approx(parity["label_agreement"])
    assert parity["drop_points"] == pytest.approx(100 * (1 - parity["metric_int8"]))
    assert relative_error(classifier, folder) > 0
    assert sorted(p.name for p in folder.parent.iterdir()) == ["bundle-int8"], "no logs, no temporary folders"


def test_weights_and_word_embeddings_are_stored_in_a_byte_each(classifier, int8):
    fp32, small = classifier.folder / "model.pdiparams", int8[0] / "model.pdiparams"
    table = 32 * read_manifest(classifier.folder).parameters  # an upper bound, for the message
    saved = fp32.stat().st_size - small.stat().st_size
    weights = 443 * 32 + 2 * (4 * 32 * 32 + 2 * 32 * 64) + 32 * 32 + 32 * 3
    assert saved > 0.75 * 3 * weights, f"{saved} bytes saved of {table}"


@pytest.mark.parametrize(
    ("keep_fp32", "products"),
    [
        (["encoder.layers.0.attention", "encoder.layers.1.feed_forward", "head"], 4 + 2 + 2),
        (["encoder.layers.0.feed_forward", "encoder.layers.1.attention"], 2 + 2),
    ],
)
def test_the_engine_runs_in_int8_what_the_manifest_says_and_nothing_else(
    classifier, int8, keep_fp32, products, tmp_path
):
    """Left alone, it also takes products that were left out, by the scales of their neighbours.

    All are a whole layer's six, and of the last layer, which answers for the first token alone, query, output and two
    of the feed-forward network; then pooler and classifier.
    """
    assert int8_products(int8[0]) == 6 + 4 + 2
    quantize(classifier, tmp_path / "mixed", keep_fp32=keep_fp32)
    assert int8_products(tmp_path / "mixed") == 6 + 4 + 2 - products
    assert read_manifest(tmp_path / "mixed").quantization["fp32"] == keep_fp32


def test_parts_left_out_bring_the_logits_nearer(classifier, int8, tmp_path):
    out = tmp_path / "only-table"
    quantize(classifier, out, keep_fp32=PARTS[1:])
    assert read_manifest(out).quantization == {
        **read_manifest(out).quantization,
        "int8": ["embeddings"],
        "fp32": PARTS[1:],
    }
    error = relative_error(classifier, out)
    assert 0 < error < 0.02, "a row's scale leaves an error of at most 1/254 of its largest value"
    assert error < relative_error(classifier, int8[0])


@pytest.mark.parametrize("name", ["pair_regressor", "tagger"])
def test_other_kinds_of_task(name, request, tmp_path):
    bundle = request.getfixturevalue(name)
    parity = quantize(bundle, tmp_path / "int8")
    assert parity["metric_fp32"] == pytest.approx(1.0) and parity["metric_int8"] <= 1.0
    assert parity["drop_points"] == pytest.approx(100 * (parity["metric_fp32"] - parity["metric_int8"]))
    assert (parity["label_agreement"] is None) == (name == "pair_regressor")


@NEEDS_VNNI
@pytest.mark.parametrize("name", ["classifier", "pair_regressor", "tagger"])
def test_int8_is_close_to_fp32(name, request, tmp_path):
    """What is left is the engine's cutting of weights by scales of its own (docs/compression.md, known faults)."""
    bundle = request.getfixturevalue(name)
    quantize(bundle, tmp_path / "int8")
    assert relative_error(bundle, tmp_path / "int8") < 0.5


def fake_logits(bundle, keep_fp32, calibrated):
    """Of the checkpoint with fake quantisation, whose scales are those of the first `calibrated` rows."""
    served, checkpoint = Predictor(bundle.folder), bundle.folder.parent / "final"
    kind, tokenizer = served.kind, load_tokenizer(checkpoint)
    model = load_classifier(checkpoint, served.manifest.labels, kind)
    model.eval()
    fake_int8(model, keep_fp32, first_token=kind.graphs[0] == "served")

    def rows(count):
        tokens, places = kind.tokenize(tokenizer, bundle.texts[:count], None, 32, served.manifest.reading)
        return EncodedRows(tokens.input_ids, tokens.token_type_ids, places=places, rows=tokens.rows)

    layers = [layer for layer in model.sublayers() if isinstance(layer, FakeInt8Linear)]
    for layer in layers:
        layer.register_forward_pre_hook(lambda layer, _: setattr(layer, "training", True))  # and nothing else
    predict_outputs(model, kind, rows(calibrated), tokenizer.pad_id)
    for layer in layers:
        layer._forward_pre_hooks.clear()
    return np.concatenate(predict_outputs(model, kind, rows(None), tokenizer.pad_id))


@NEEDS_VNNI
@pytest.mark.parametrize("kind", ["classification", "token_classification"])
def test_fake_quantisation_answers_as_int8_is_served(kind, tmp_path):
    """Weights of one largest value, so that the engine's own scales (known faults) cut none."""
    bundle = make_bundle(tmp_path / kind, kind, largest=0.1)
    fp32 = flat(Predictor(bundle.folder).logits(bundle.texts))
    for part in PARTS:
        kept = [other for other in PARTS if other != part]
        quantize_bundle(
            QuantizeRequest(str(bundle.folder), str(tmp_path / "q"), bundle.rows(8), bundle.rows(), 1000, False, kept)
        )
        int8 = flat(Predictor(tmp_path / "q").logits(bundle.texts))
        fake = fake_logits(bundle, kept, 8).reshape(int8.shape)
        error, change = (np.sqrt(np.square(other - int8).mean()) for other in (fake, fp32))
        assert 0 < change and error < 0.7 * change, part


def test_a_fall_beyond_the_bar_is_refused_with_the_parts_to_leave_out(classifier, tmp_path):
    """A bar below zero refuses every model: even equal scores are a fall of 0 points."""
    with pytest.raises(GateError) as raised:
        quantize(classifier, tmp_path / "refused", max_drop_points=-1.0)
    message = str(raised.value)
    assert "accuracy on 48 dev rows falls from 1.0000 to" in message and "(allowed: -1)" in message
    assert "leave the most sensitive parts in fp32: --keep-fp32 " in message
    assert not (tmp_path / "refused").exists() and not list(tmp_path.glob("*.tmp"))


def test_auto_leaves_out_ever_more_until_nothing_is_left(classifier, tmp_path):
    with pytest.raises(GateError, match=f"the last of {len(PARTS)} attempts, each with more parts in fp32"):
        quantize(classifier, tmp_path / "refused", max_drop_points=-1.0, auto=True)


def test_auto_leaves_out_the_most_sensitive_until_the_gate_passes(classifier, int8, tmp_path):
    drop = int8[1]["drop_points"]
    if drop == 0:
        pytest.skip("int8 changes no answer of these weights on this CPU")
    parity = quantize(classifier, tmp_path / "mixed", max_drop_points=drop - 0.1, auto=True)
    made = read_manifest(tmp_path / "mixed").quantization
    assert parity["drop_points"] < drop and made["tried"][0]["drop_points"] == pytest.approx(drop)
    ranked = list(made["sensitivity"])
    assert sorted(ranked) == sorted(PARTS) and made["fp32"] == ranked[: len(made["fp32"])] != []
    assert made["int8"] == [part for part in PARTS if part not in made["fp32"]]


def test_what_cannot_be_quantized(classifier, int8, tmp_path):
    with pytest.raises(InputError, match="no part 'encoder.layers.9.attention'") as raised:
        quantize(classifier, tmp_path / "out", keep_fp32=["encoder.layers.9.attention"])
    assert "encoder.layers.1.feed_forward" in str(raised.value)
    with pytest.raises(InputError, match="every part is left in fp32"):
        quantize(classifier, tmp_path / "out", keep_fp32=PARTS)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("*.tmp"))
    with pytest.raises(InputError, match="is int8 already"):
        quantize_bundle(QuantizeRequest(str(int8[0]), str(tmp_path / "o"), classifier.rows(8), classifier.rows(8)))
    with pytest.raises(InputError, match="would replace the fp32 one"):
        quantize(classifier, classifier.folder)


def test_the_verb(classifier, tmp_path):
    names = read_manifest(classifier.folder).labels
    rows = "".join(f"{t}\t{names[g]}\n" for t, g in zip(classifier.texts, classifier.gold, strict=True))
    (tmp_path / "rows.tsv").write_text(rows, encoding="utf-8")
    files = ["--calibrate", tmp_path / "rows.tsv", "--dev", tmp_path / "rows.tsv"]
    command = [sys.executable, "-m", "paddle_ernie_tiny", "quantize", classifier.folder, tmp_path / "int8", *files]
    done = subprocess.run([*command, "--max-drop", "100", "--no-auto", "--rows", "16"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "int8, metric " in done.stdout
    assert json.loads((tmp_path / "int8" / "manifest.json").read_text())["quantization"]["calibration_rows"] == 16

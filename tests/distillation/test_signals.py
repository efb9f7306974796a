"""The signal cache gives back what was stored, rounded to half precision, and only to whom it belongs."""

import os
import subprocess
import sys

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.data.rows import EncodedRows
from paddle_ernie_tiny.distillation.signal_files import check_signals
from paddle_ernie_tiny.distillation.teacher import Layout, SignalCache, Teacher, rows_fingerprint
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.seals import DamageError
from paddle_ernie_tiny.terms import Captured, Needs

from ..damage import DAMAGES

KEY = {"teacher": "abc", "data": "def", "tokenizer": "ghi"}
LENGTHS = np.array([3, 5, 2, 4, 1])
LAYOUT = Layout(Needs(hidden=(0, 2), attention=(2,), logits=True), width=4, labels=3)
PARTS = [("hidden", 0), ("hidden", 2), ("query", 2), ("key", 2)]


def batch(rows, seed=0, by_token=False):
    """Padded signals of rows, and the same by (kind, layer)."""
    longest = LENGTHS[rows].max()
    rng = np.random.default_rng(seed)
    states, arrays = Captured(), {}
    for kind, layer in PARTS:
        arrays[kind, layer] = rng.normal(size=(len(rows), longest, 4)).astype(np.float32)
        getattr(states, kind)[layer] = paddle.to_tensor(arrays[kind, layer])
    logits = rng.normal(size=(len(rows), longest, 3) if by_token else (len(rows), 3)).astype(np.float32)
    states.logits = paddle.to_tensor(logits)
    return states, arrays, logits


def check(cache, rows, arrays, logits):
    """What is read equals what was stored, without what was padding then."""
    states = cache.read(rows)
    for place, row in enumerate(rows):
        length = LENGTHS[row]
        for (kind, layer), values in arrays.items():
            read = getattr(states, kind)[layer].numpy()[place]
            np.testing.assert_array_equal(read[:length], values[place, :length].astype(np.float16).astype(np.float32))
            assert not read[length:].any()
    return states.logits.numpy()


def test_what_is_stored_is_read_again_by_another_process_s_cache(tmp_path):
    rows = np.array([3, 0, 4])
    states, arrays, logits = batch(rows)
    cache = SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS)
    assert not cache.has(rows)
    cache.store(rows, states)
    np.testing.assert_array_equal(check(cache, rows, arrays, logits), logits)
    cache.sync()
    again = SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS)
    assert again.has(rows) and not again.has(np.array([1]))
    np.testing.assert_array_equal(check(again, rows, arrays, logits), logits)
    # nothing is padded: eight tokens of four parts of four numbers of two bytes, up to the end of row 4
    size = (tmp_path / "c" / "states.bin").stat().st_size
    assert size <= LENGTHS.sum() * LAYOUT.bytes_per_token and LAYOUT.bytes_per_token == 32


def test_logits_of_every_token(tmp_path):
    rows = np.array([1, 2])
    layout = Layout(LAYOUT.needs, 4, labels=3, by_token=True)
    states, arrays, logits = batch(rows, by_token=True)
    cache = SignalCache(tmp_path / "c", KEY, layout, LENGTHS)
    cache.store(rows, states)
    read = check(cache, rows, arrays, logits)
    np.testing.assert_array_equal(read[0], logits[0])
    np.testing.assert_array_equal(read[1, :2], logits[1, :2])


def test_what_was_not_synced_does_not_count_after_a_crash(tmp_path):
    rows = np.array([0, 1])
    states, _, _ = batch(rows)
    SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS).store(rows, states)
    assert not SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS).filled.any()


def test_the_first_answer_is_the_one_that_is_kept(tmp_path):
    """Rounded like all later ones: it makes no difference whether a crash came between them."""
    from paddlenlp.transformers import BertConfig, BertForSequenceClassification

    size = {"vocab_size": 40, "hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(**size, intermediate_size=8, num_labels=3))
    rows = np.array([1, 0])
    inputs = {
        "input_ids": paddle.to_tensor([[5, 6, 7, 8, 9], [5, 7, 9, 0, 0]]),
        "token_type_ids": paddle.zeros([2, 5], dtype="int64"),
        "attention_mask": paddle.to_tensor([[1.0] * 5, [1.0] * 3 + [0.0] * 2]),
    }
    teacher = Teacher(model, LAYOUT.needs, cache=SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS))
    answers = [teacher(inputs, paddle.to_tensor(rows)) for _ in range(2)]
    for kind, layer in PARTS:
        first, later = (getattr(answer, kind)[layer].numpy() for answer in answers)
        np.testing.assert_array_equal(first, later)
        np.testing.assert_array_equal(first, first.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(answers[0].logits.numpy(), answers[1].logits.numpy())


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["states.bin", "logits.bin", "rows.bin", "filled.bin", "key.json"])
def test_damaged_signals_are_refused_or_not_counted(tmp_path, damage, name):
    rows = np.arange(5)
    cache = SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS)
    cache.store(rows, batch(rows)[0])
    cache.sync()
    assert check_signals(tmp_path / "c") == 5
    damage(tmp_path / "c" / name)
    with pytest.raises(DamageError) as caught:
        check_signals(tmp_path / "c")
    assert str(tmp_path / "c") in caught.value.where and "remove this folder" in caught.value.remedy
    if (name, damage.__name__) == ("filled.bin", "delete"):  # a checkpoint notices that rows are gone
        assert not SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS).filled.any()
    else:
        with pytest.raises(InputError):
            SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS)


def test_two_runs_do_not_write_the_same_signals(tmp_path):
    cache = SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS)
    os.close(cache._files.states.file)  # as the end of its process does
    states = str(tmp_path / "c" / "states.bin")
    code = f"import fcntl; file = open({states!r}, 'r+'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match="another run is at work with these teacher signals"):
            SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS)
        other.communicate(b"\n", timeout=20)
    SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS)


@pytest.mark.parametrize(
    ("key", "layout", "message"),
    [
        ({**KEY, "teacher": "other"}, LAYOUT, "made with another teacher"),
        ({**KEY, "data": "other", "tokenizer": "other"}, LAYOUT, "made with another data, tokenizer"),
        (KEY, Layout(Needs(hidden=(0,), logits=True), 4, 3), "made with another states"),
    ],
)
def test_signals_of_another_teacher_are_refused(tmp_path, key, layout, message):
    SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS)
    with pytest.raises(InputError, match=message):
        SignalCache(tmp_path / "c", key, layout, LENGTHS)


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "thesis.doc").write_text("kept")
    with pytest.raises(InputError, match="holds other files"):
        SignalCache(tmp_path, KEY, LAYOUT, LENGTHS)


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    cache = SignalCache(tmp_path / "c", KEY, LAYOUT, LENGTHS)
    states, _, _ = batch(np.array([0]))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match="No space left on device"):
        cache.store(np.array([0]), states)
    cache.sync()
    assert not cache.has(np.array([0]))


def test_rows_are_known_by_their_tokens_and_segments():
    prints = {
        rows_fingerprint(EncodedRows(*rows))
        for rows in (([[1, 2]], [[0, 0]]), ([[1, 2]], [[0, 1]]), ([[1, 3]], [[0, 0]]), ([[1], [2]], [[0], [0]]))
    }
    assert len(prints) == 4

"""Batches: the oldest row and those of its length, and what a client asked."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from paddle_ernie_tiny.data.tokenization import rounded_length
from paddle_ernie_tiny.deploy.server.bundle_queue import LENGTH_MULTIPLE, MAX_PADDING, pick_batch
from paddle_ernie_tiny.deploy.server.messages import Problem, read_request, request_shapes
from paddle_ernie_tiny.deploy.server.options import ServeOptions, named_bundles
from paddle_ernie_tiny.errors import InputError


def test_lengths_are_rounded_up_to_eight_but_not_beyond_what_the_model_takes():
    assert [rounded_length(tokens, 8, 60) for tokens in (1, 8, 9, 59)] == [8, 8, 16, 60]


def test_rows_of_one_length_go_together_in_order_of_arrival():
    assert pick_batch([16, 128, 16, 128, 16], max_rows=8) == [0, 2, 4]
    assert pick_batch([16] * 5, max_rows=3) == [0, 1, 2]


def test_the_oldest_row_goes_first_even_when_others_fit_together_better():
    assert pick_batch([128, 16, 16, 16], max_rows=4) == [0]


def test_a_batch_has_little_padding_and_no_row_waits_for_ever():
    rng = np.random.default_rng(0)
    waiting = [rounded_length(int(n), LENGTH_MULTIPLE, 128) for n in rng.integers(2, 129, 300)]
    rounds = 0
    while waiting:
        picked = pick_batch(waiting, max_rows=16)
        assert 0 in picked and len(set(picked)) == len(picked) <= 16
        batch = [waiting[i] for i in picked]
        assert 1 - sum(batch) / (max(batch) * len(batch)) <= MAX_PADDING
        waiting = [n for i, n in enumerate(waiting) if i not in set(picked)]
        rounds += 1
    assert rounds <= 25, "300 rows fill 19 batches; a few more are the price of length"


def test_names_of_bundles(tmp_path):
    given = ["a=runs/x/bundle", "runs/demo/bundle", str(tmp_path / "shop")]
    assert list(named_bundles(given)) == ["a", "demo", "shop"]
    with pytest.raises(InputError, match="two bundles are called 'demo'"):
        named_bundles(["runs/demo/bundle", "demo=other"])


def test_a_folder_that_is_there_is_a_path_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1e-4" / "bundle").mkdir(parents=True)
    assert named_bundles(["lr=1e-4/bundle"]) == {"lr=1e-4": Path("lr=1e-4/bundle")}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_texts": 100, "queue_rows": 50}, "the queue only 50"), ({"api_key": " "}, "API key is empty")],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(InputError, match=message):
        ServeOptions(**options)


SINGLE, BOTH = {"a": False}, {"a": False, "b": True}


def test_one_text_many_texts_and_pairs():
    single, both = (request_shapes(models, ServeOptions()) for models in (SINGLE, BOTH))
    asked = read_request(b'{"text": "x"}', single)
    assert (asked.model, asked.texts, asked.texts_b) == ("a", ["x"], None)
    asked = read_request(b'{"model": "b", "text": "x", "text_b": "y"}', both)
    assert (asked.texts, asked.texts_b) == (["x"], ["y"])
    asked = read_request(b'{"model": "b", "texts": [{"text": "x", "text_b": "y"}]}', both)
    assert (asked.texts, asked.texts_b) == (["x"], ["y"])
    asked = read_request(b'{"model": "a", "texts": ["text_b", "text"]}', both)
    assert (asked.texts, asked.texts_b) == (["text_b", "text"], None)


@pytest.mark.parametrize(
    ("body", "models", "code", "where"),
    [
        ('{"text": "x"}', BOTH, "invalid_request", "model"),
        ('{"model": "c", "text": "x"}', BOTH, "unknown_model", "model"),
        ('{"model": 3, "text": "x"}', BOTH, "invalid_request", "model"),
        ('{"text": "x", "text_b": "y"}', SINGLE, "invalid_request", "text_b"),
        ('{"model": "b", "text": "x"}', BOTH, "invalid_request", "text_b"),
        ('{"model": "b", "texts": ["x"]}', BOTH, "invalid_request", "texts[0]"),
        ('{"model": "b", "texts": [{"text": "x", "text_b": ""}]}', BOTH, "invalid_request", "texts[0].text_b"),
        ('{"text": "x", "texts": ["x"]}', SINGLE, "invalid_request", "body"),
        ('{"text": "x", "extra": 1}', SINGLE, "invalid_request", "extra"),
        ('{"txt": "x"}', SINGLE, "invalid_request", "txt"),
        ('{"txt": "x"}', BOTH, "invalid_request", "model"),
        ("{}", SINGLE, "invalid_request", "body"),
        ('{"model": "b", "texts": [{"text": "x"}]}', BOTH, "invalid_request", "texts[0].text_b"),
        ('{"model": "c", "text": "x", "text_b": "y"}', BOTH, "unknown_model", "model"),
        ('{"model": [], "text": "x"}', SINGLE, "invalid_request", "model"),
    ],
)
def test_what_cannot_be_answered_names_its_place(body, models, code, where):
    with pytest.raises(Problem) as problem:
        read_request(body.encode(), request_shapes(models, ServeOptions()))
    assert (problem.value.code, problem.value.where) == (code, where)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"text": 3}', "expected a string, got a number"),
        ('{"texts": null}', "expected a list of texts, got null"),
        ('{"texts": []}', "expected a list of texts, got an empty list"),
        ('{"texts": ["a", "b", "c"]}', "3 texts, at most 2 are taken"),
        ('{"text": "abcdef"}', "6 characters, at most 5 are taken"),
        ('{"text": "ab\\u0007"}', "control character U+0007 at position 2"),
        ('{"text": " "}', "the text is empty"),
        ("[]", "expected an object, got a list"),
    ],
)
def test_what_cannot_be_answered_says_what_is_wrong(body, message):
    with pytest.raises(Problem) as problem:
        read_request(body.encode(), request_shapes(SINGLE, ServeOptions(max_texts=2, max_characters=5)))
    assert problem.value.message == message and problem.value.remedy


def test_every_option_has_a_help_text_and_a_default_within_its_bounds():
    for option in fields(ServeOptions):
        assert option.metadata["help"]
        if "min" in option.metadata:
            assert option.metadata["min"] <= option.default <= option.metadata.get("max", option.default)

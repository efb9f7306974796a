"""Augmented rows are made once for the same inputs."""

from dataclasses import dataclass

import pytest

from paddle_ernie_tiny.augmentation import Augmented, cache_inputs, cached
from paddle_ernie_tiny.config import AugmentationSettings
from paddle_ernie_tiny.data.readers import Example

RESULT = Augmented([Example("甲\u2028乙", None, 1, 3), Example("丙", "丁", 0.5, 4)], [0, 2], 5, [{"before": "a"}])


@dataclass(frozen=True)
class TokenExample:
    words: tuple[str, ...]
    tags: tuple[int, ...]
    line: int


class Maker:
    def __init__(self, result=RESULT):
        self.result, self.calls = result, 0

    def __call__(self):
        self.calls += 1
        return self.result


def test_the_same_inputs_are_made_once_and_come_back_equal(tmp_path):
    make = Maker()
    assert cached(tmp_path / "a", {"seed": 1}, make) == RESULT
    assert cached(tmp_path / "a", {"seed": 1}, make) == RESULT
    assert make.calls == 1
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["augmented.jsonl"]
    assert cached(tmp_path / "a", {"seed": 2}, make) == RESULT
    assert make.calls == 2


def test_token_rows_come_back_as_they_were(tmp_path):
    rows = Augmented([TokenExample(("王", "来"), (1, 0), 2)], [0], 0, [])
    cached(tmp_path, {}, Maker(rows), TokenExample)
    assert cached(tmp_path, {}, Maker(), TokenExample) == rows


@pytest.mark.parametrize(
    "damage",
    [lambda t: t[: len(t) // 2], lambda t: t.rsplit("\n", 2)[0] + "\n", lambda t: "", lambda t: "[]\n", lambda t: "{"]
    + [lambda t: t.replace('"label": 1', '"label": 0')],
)
def test_a_broken_file_is_made_anew(damage, tmp_path):
    cached(tmp_path, {}, Maker())
    file = tmp_path / "augmented.jsonl"
    whole = file.read_text(encoding="utf-8")
    file.write_text(damage(whole), encoding="utf-8")
    make = Maker()
    assert cached(tmp_path, {}, make) == RESULT
    assert make.calls == 1 and file.read_text(encoding="utf-8") == whole


def test_what_fails_leaves_the_old_file(tmp_path):
    cached(tmp_path, {}, Maker())

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, {"other": 1}, fail)
    make = Maker()
    cached(tmp_path, {}, make)
    assert make.calls == 0


def test_all_that_decides_the_rows_is_among_the_inputs(tmp_path):
    vectors = tmp_path / "v.txt"
    vectors.write_text("a 1\n", encoding="utf-8")
    settings = AugmentationSettings(word_vectors=str(vectors))
    rows = [Example("甲", None, 0, 1)]

    def inputs(rows=rows, seed=1, model="m", tokenizer="t", **changed):
        return cache_inputs(rows, settings.model_copy(update=changed), seed, model, tokenizer)

    base = inputs()
    assert inputs(rows_per_batch=1, labels="teacher") == base
    for other in (
        inputs(rows=[Example("乙", None, 0, 1)]),
        inputs(seed=2),
        inputs(model="n"),
        inputs(tokenizer="u"),
        inputs(copies_per_row=9),
        inputs(word_vectors=None),
    ):
        assert other != base
    vectors.write_text("a 2\n", encoding="utf-8")
    assert inputs() != base

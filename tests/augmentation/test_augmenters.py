"""Augmented rows are made once for the same inputs."""

import dataclasses

import pytest

from paddle_ernie_tiny.augmentation import augmenters
from paddle_ernie_tiny.augmentation.augmenters import AUGMENTERS, AugmentationRequest, Augmented, augmented_rows
from paddle_ernie_tiny.augmentation.augmenters import cached as cached_rows
from paddle_ernie_tiny.config import AugmentationSettings
from paddle_ernie_tiny.data.rows import Example, TokenExample
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.kinds import KINDS

RESULT = Augmented([Example("甲\u2028乙", None, 1, 3), Example("丙", "丁", 0.5, 4)], [0, 2], 5, [{"before": "a"}])
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def cached(folder, inputs, make, row_type=Example):
    return cached_rows(folder, inputs, make, row_type)


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
def test_a_broken_file_is_made_again(damage, tmp_path):
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


@pytest.fixture
def counted(monkeypatch):
    """Replaces the augmenters, and returns what they were asked."""
    asked = []

    def make(*arguments):
        asked.append(arguments)
        return Augmented([], [], len(asked), [])

    monkeypatch.setattr(augmenters, "AUGMENTERS", dict.fromkeys(AUGMENTERS, make))
    return asked


def test_all_that_decides_the_rows_makes_them_again(tmp_path, counted):
    vectors = tmp_path / "v.txt"
    vectors.write_text("a 1\n", encoding="utf-8")
    settings = AugmentationSettings(word_vectors=str(vectors))
    tokenizer, rows = WordPieceTokenizer(SPECIALS), [Example("甲", None, 0, 1)]
    request = AugmentationRequest(rows, ["a"], settings, 1, tokenizer, lambda: None, "m")

    def made_again(kind="classification", **changed):
        """Whether the rows are made again after those of `request`, which are there when it returns."""
        before = len(counted)
        augmented_rows(dataclasses.replace(request, **changed), KINDS[kind].augmenter, tmp_path / "kept")
        again = len(counted) > before
        augmented_rows(request, "words", tmp_path / "kept")
        return again

    assert made_again() and not made_again()
    assert not made_again(settings=settings.model_copy(update={"rows_per_batch": 1, "labels": "teacher"}))
    for other in (
        {"rows": [Example("乙", None, 0, 1)]},
        {"seed": 2},
        {"kind": "token_classification"},
        {"labels": ["b"]},
        {"model_fingerprint": "n"},
        {"tokenizer": WordPieceTokenizer([*SPECIALS, "a"])},
        {"settings": settings.model_copy(update={"copies_per_row": 9})},
        {"settings": settings.model_copy(update={"word_vectors": None})},
    ):
        assert made_again(**other)
    vectors.write_text("a 2\n", encoding="utf-8")
    assert made_again()


def test_each_kind_of_task_has_an_augmenter():
    assert {kind.augmenter for kind in KINDS.values() if kind.augmenter} <= set(AUGMENTERS)


def test_rows_of_each_kind_are_kept_as_what_they_are(tmp_path):
    def ask():
        raise AssertionError("entities are swapped without a model")

    settings = AugmentationSettings(copies_per_row=1, replace_probability=1.0)
    rows = [TokenExample(("王", "来"), (1, 0), 1), TokenExample(("李", "明", "去"), (1, 2, 0), 2)]
    labels, tokenizer = ["O", "B-PER", "I-PER"], WordPieceTokenizer(SPECIALS)
    request = AugmentationRequest(rows, labels, settings, 0, tokenizer, ask, "m")
    made = augmented_rows(request, KINDS["token_classification"].augmenter, tmp_path)
    assert made.examples == [TokenExample(("李", "明", "来"), (1, 2, 0), 1), TokenExample(("王", "去"), (1, 0), 2)]
    assert augmented_rows(request, "entities", tmp_path) == made

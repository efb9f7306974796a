"""Neighbours of words among word vectors."""

import numpy as np
import pytest

from paddle_ernie_tiny.augmentation import candidates as module
from paddle_ernie_tiny.augmentation.candidates import nearest_words
from paddle_ernie_tiny.errors import InputError

# cosines with 酒店: 宾馆 0.995 (at ten times the length), 饭店 0.6, 价格 0; hotel is the nearest of all
LINES = ["酒店 1 0", "宾馆 10 1", "饭店 3 4", "价格 0 2", "hotel 1 0", "， 1 0", "酒店 0 1"]


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "vectors.txt", LINES)


def test_the_nearest_of_the_same_kind_by_cosine(file):
    assert nearest_words(file, {"酒店", "价格", "没有"}, 2) == {"酒店": ["宾馆", "饭店"], "价格": ["饭店", "宾馆"]}


def test_with_a_header_as_without(file, tmp_path):
    with_header = write(tmp_path / "word2vec.txt", ["7 2", *LINES])
    assert nearest_words(with_header, {"酒店"}, 3) == nearest_words(file, {"酒店"}, 3)


def test_blocks_of_lines_change_nothing(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 5)).round(4)
    names = [chr(0x4E00 + i) for i in range(60)]
    path = write(tmp_path / "v.txt", [f"{n} {' '.join(map(str, v))}" for n, v in zip(names, values, strict=True)])
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    expected = {n: [names[j] for j in np.argsort(-cosines[i])[:4]] for i, n in enumerate(names[:10])}
    assert nearest_words(path, names[:10], 4) == expected
    monkeypatch.setattr(module, "_BLOCK_LINES", 7)
    assert nearest_words(path, names[:10], 4) == expected


def test_case_is_folded(tmp_path):
    path = write(tmp_path / "v.txt", ["Good 1 0", "GREAT 1 0.1", "great 0 1"])
    assert nearest_words(path, {"good"}, 5) == {"good": ["great"]}


@pytest.mark.parametrize(
    ("line", "message"),
    [("饭店 3", "v.txt:3: 1 numbers, the lines before have 2"), ("饭店 3 x", "v.txt:3: not a word and its numbers")]
    + [("饭店 nan 1", "v.txt:3: not a word"), ("", "v.txt:3: 0 numbers")],
)
def test_broken_lines_are_named(line, message, tmp_path):
    path = write(tmp_path / "v.txt", [*LINES[:2], line])
    with pytest.raises(InputError, match=message):
        nearest_words(path, {"酒店"}, 2)


def test_files_that_cannot_help_are_refused(file, tmp_path):
    with pytest.raises(InputError, match="no such file of word vectors"):
        nearest_words(tmp_path / "none.txt", {"酒店"}, 2)
    with pytest.raises(InputError, match="none of the 1 different words"):
        nearest_words(file, {"外星"}, 2)

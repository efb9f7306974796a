import pytest

from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.models.initialise import layer_map


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (4, 12, [3, 6, 9, 12]),
        (6, 12, [2, 4, 6, 8, 10, 12]),
        (3, 6, [2, 4, 6]),
        (4, 6, [2, 3, 5, 6]),  # 1.5, 3, 4.5, 6, halves upwards
        (12, 12, list(range(1, 13))),
        (1, 6, [6]),
    ],
)
def test_uniform(student, teacher, expected):
    assert list(layer_map("uniform", student, teacher).values()) == expected


def test_top_and_bottom():
    assert list(layer_map("top", 4, 12).values()) == [9, 10, 11, 12]
    assert list(layer_map("bottom", 4, 12).values()) == [1, 2, 3, 4]


def test_explicit():
    assert layer_map([1, 4], 2, 4) == {1: 1, 2: 4}


@pytest.mark.parametrize(
    ("kind", "student", "message"),
    [
        ([1, 13], 2, "teacher layer 13 does not exist"),
        ([0, 3], 2, "teacher layer 0 does not exist"),
        ([6, 3], 2, "not monotonic"),
        ([3], 2, "names 1 layers, the student has 2"),
        ("top", 13, "the student has 13 layers, the teacher only 12"),
        ("uniform", 13, "the student has 13 layers, the teacher only 12"),
    ],
)
def test_impossible_maps_are_refused(kind, student, message):
    with pytest.raises(InputError, match=message):
        layer_map(kind, student, 12)

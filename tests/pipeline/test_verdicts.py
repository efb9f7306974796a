"""What a report says, and what it does not say where rows cannot bear it."""

import numpy as np
import pytest

from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.pipeline.verdicts import closed, decimals, differences, retention, sentences, shown


def report(**changes):
    made = {
        "kind": "classification",
        "metric": "accuracy",
        "retention": 0.9876,
        "teacher": {"score": 0.9, "interval": [0.88, 0.92], "chance": {"verdict": "above", "sentence": "it is good"}},
        "student": {"score": 0.88888, "interval": [0.87, 0.91]},
        "baseline": {"score": 0.8, "interval": [0.78, 0.82]},
        "floor": None,
        "differences": {
            "teacher - baseline": {"score": 0.1, "low": 0.08, "high": 0.12},
            "student - teacher": {"score": -0.011, "low": -0.02, "high": 0.001},
        },
        "stages": [
            {"name": "task_adaptive", "score": 0.85, "score_kind": "linear probe"},
            {"name": "task_specific", "score": 0.88888, "score_kind": "classifier"},
        ],
    }
    return {**made, **changes}


@pytest.mark.parametrize(
    ("interval", "digits"),
    [([0.43, 0.69], 2), ([0.82, 0.86], 3), ([0.875, 0.881], 4), ([0.1, 0.9], 2), ([1.0, 1.0], 4), (None, 4)],
)
def test_a_score_has_two_digits_of_its_intervals_half_width(interval, digits):
    assert decimals(interval) == digits


def test_a_score_is_shown_with_its_interval():
    assert shown({"score": 0.84066, "interval": [0.82122, 0.85899]}) == "0.841 (0.821–0.859)"
    assert shown({"score": 0.84066}) == "0.8407" and shown({"score": None}) == "–"


def test_retention_and_gap():
    made = report()
    assert retention(made) == "98.8%" and closed(made) == "89%"
    said = sentences(made)
    assert said[0].startswith("The student keeps 98.8% of the teacher's accuracy, 0.889 (0.870–0.910) of 0.900 (")
    assert "-1.1 points (95 % interval -2.0 to +0.1)" in said[0]
    assert said[1].startswith("The teacher leads the baseline by +10.0 points") and "closes 89% of that gap" in said[1]


@pytest.mark.parametrize("verdict", ["chance", "unknown", "constant"])
def test_no_retention_of_a_teacher_at_chance(verdict):
    teacher = {**report()["teacher"], "chance": {"verdict": verdict, "sentence": "it is poor"}}
    made = report(teacher=teacher, gate=False)
    assert retention(made) is None
    said = " ".join(sentences(made))
    assert "the student keeps says nothing" in said and "closes" not in said
    assert "It is poor; teacher.check_above_chance was false." in said


@pytest.mark.parametrize(
    ("score", "low", "high", "said"),
    [
        (0.004, -0.01, 0.02, "is within noise (+0.4 points"),
        (-0.01, -0.02, 0.0, "is within noise (-1.0 points"),
        (-0.02, -0.03, -0.01, "is none: the baseline is better (-2.0 points"),
        (0.0, 0.0, 0.0, "is none: both score the same (+0.0 points"),
    ],
)
def test_no_share_of_a_gap_within_noise(score, low, high, said):
    gap = {"teacher - baseline": {"score": score, "low": low, "high": high}, "student - teacher": None}
    made = report(differences=gap)
    assert closed(made) is None
    assert any(f"lead over the baseline {said}" in sentence for sentence in sentences(made))


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.0, 0.0, "is none: both score the same (+0.0 points"),
        (-0.02, -0.01, "is none: the baseline is better"),
        (-0.02, 0.0, "within noise"),
    ],
)
def test_a_baseline_is_called_better_only_where_it_is(low, high, told):
    gap = {"teacher - baseline": {"score": low, "low": low, "high": high}, "student - teacher": None}
    assert told in " ".join(sentences(report(differences=gap)))


def test_one_answer_for_everything_is_said_in_place_of_a_retention():
    student = {**report()["student"], "breakdown": {"one_answer": "good", "labels": []}}
    said = sentences(report(student=student))
    assert said[0].startswith("All answers of the student are 'good'") and "keeps" not in " ".join(said)


def test_a_classifier_below_the_probe_before_it_is_a_warning():
    stages = [{"name": "a", "score": 0.9, "score_kind": "linear probe"}, report()["stages"][1]]
    assert any(
        "(0.889) is below the linear probe of the stage before it (0.900)" in s
        for s in sentences(report(stages=stages))
    )


def test_differences_are_paired_and_by_row():
    right, wrong = np.log([[0.9, 0.1]]), np.log([[0.1, 0.9]])

    def model(answers):
        logits = np.concatenate([right if answer else wrong for answer in answers])
        kept = {"logits": logits, "labels": np.zeros(len(answers), np.int64), "rows": np.arange(len(answers))}
        return KINDS["classification"].of_arrays(kept, ["a", "b"])

    models = {"teacher": model([1] * 50), "student": model([1] * 50), "baseline": model([1, 0] * 25)}
    found = differences("accuracy", models)
    assert found["student - teacher"] == {"score": 0.0, "low": 0.0, "high": 0.0}
    gap = found["teacher - baseline"]
    assert gap["score"] == 0.5 and 0.3 < gap["low"] < 0.5 < gap["high"] < 0.7
    del models["baseline"]
    assert differences("accuracy", models)["teacher - baseline"] is None

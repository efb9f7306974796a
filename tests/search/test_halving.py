"""Who is trained, who goes on, and with how many steps; the bounds of a budget."""

import pytest

from paddle_ernie_tiny.budget_search.bounds import broken_bounds, in_the_way
from paddle_ernie_tiny.budget_search.halving import best, elder_of, entrants, places, rung_steps
from paddle_ernie_tiny.budget_search.search_settings import Halving
from paddle_ernie_tiny.budget_search.space import CandidateStudent
from paddle_ernie_tiny.budget_search.trials import last_alone, short_run
from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.errors import InputError

pytestmark = pytest.mark.unit
A, B, C = CandidateStudent(1, 64, 4, 128), CandidateStudent(2, 64, 4, 128), CandidateStudent(1, 96, 4, 192)


def test_those_that_no_other_exceeds_come_first():
    work = {A: 30.0, B: 10.0, C: 20.0}
    assert entrants([A, B, C], work, 12) == [C, B, A], "B has all that A has, and a layer more"
    assert entrants([A, B, C], work, 2) == [C, B]


def test_an_equal_shape_is_trained_once_in_its_most_exact_form():
    int8 = CandidateStudent(1, 64, 4, 128, precision="int8")
    assert entrants([A, int8], {A: 1.0, int8: 1.0}, 12) == [A]


def test_another_start_is_another_candidate():
    other = CandidateStudent(2, 64, 4, 128, "random")
    assert entrants([A, other], {A: 1.0, other: 2.0}, 12) == [other, A]
    assert set(entrants([CandidateStudent(0, 96, 1, 1), A], {A: 1.0, CandidateStudent(0, 96, 1, 1): 0.1}, 12)) == {
        A,
        CandidateStudent(0, 96, 1, 1),
    }, "a layer is not exceeded by a width"


def test_each_rung_has_twice_the_steps():
    assert rung_steps(Halving(rungs=3), [345, 345]) == [44, 88, 176], "a sixteenth of 690, rounded up"
    assert rung_steps(Halving(steps=10), [345, 345]) == [10, 20]
    assert rung_steps(Halving(), [3, 2]) == [2, 4], "at least one for each stage"
    assert rung_steps(Halving(steps=60), [90, 10]) == [60, 120]
    with pytest.raises(InputError, match="4 steps are too few for stages of 90, 10 steps") as raised:
        rung_steps(Halving(steps=4), [90, 10])
    assert raised.value.remedy == "give 5", "of which the second stage has one"


def test_places():
    assert places(Halving(rungs=2, keep=0.5, finalists=3), 12) == [12, 6, 3]
    assert places(Halving(rungs=3, keep=0.3, finalists=3), 12) == [12, 4, 3, 3], "never fewer than in the final"
    assert places(Halving(finalists=3), 2) == [2, 2, 2]


def test_the_best_go_on():
    assert best({A: 0.5, B: 0.7, C: 0.7}, 2) == [B, C]


def test_the_elder_has_the_most_of_each():
    assert elder_of([CandidateStudent(3, 64, 4, 128), CandidateStudent(1, 64, 4, 256)]) == CandidateStudent(
        3, 64, 4, 256
    )


def test_a_rung_trains_the_stages_on_the_task_again(project_root):
    config = load_config(project_root / "configs/demo.yaml")
    short, until = short_run(config, "runs/s/x", [300, 100], [40, 80])
    assert until == "task_specific-2" and short.output_dir == "runs/s/x"
    steps = [(stage.stage, stage.training.max_steps, stage.training.num_train_epochs) for stage in short.stages]
    assert steps == [
        ("task_adaptive", 30, None),
        ("task_specific", 10, None),
        ("task_adaptive", 60, None),
        ("task_specific", 20, None),
    ]
    assert short_run(config, "x", [300, 100], [40])[1] == "task_specific"
    assert last_alone(config, 400).stages[0].training.max_steps == 400


def test_bounds_from_both_sides():
    values = {"latency_ms": 6.0, "texts_per_second": 100.0, "files_mb": 20.0}
    broken = broken_bounds(values, {"latency_ms": 5.0, "texts_per_second": 200.0, "files_mb": 20.0})
    assert [(one.bound, one.times) for one in broken] == [("latency_ms", 1.2), ("texts_per_second", 2.0)]
    assert str(broken[0]) == "6 ms, latency_ms is <= 5" and str(broken[1]).endswith("texts_per_second is >= 200")


def test_which_bound_is_in_the_way():
    limits = {"latency_ms": 5.0, "files_mb": 20.0}
    every = [{"latency_ms": 6.0, "files_mb": 10.0}, {"latency_ms": 7.0, "files_mb": 30.0}]
    assert in_the_way(every, limits) == ["latency_ms"], "no candidate is fast enough"
    every = [{"latency_ms": 4.0, "files_mb": 30.0}, {"latency_ms": 7.0, "files_mb": 10.0}]
    assert in_the_way(every, limits) == ["latency_ms", "files_mb"], "each is kept by one, but not together"

"""Percentiles and ratios against figures worked out by hand."""

import pytest

from paddle_ernie_tiny.benchmark.turns import latency, take_turns, times_as_fast


def test_percentiles_are_between_samples():
    samples = [float(value) for value in range(101)]  # 0 to 100: the percentile is its own value
    assert latency(samples) == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "mean": 50.0}
    assert latency([1.0, 2.0, 3.0, 10.0]) == pytest.approx({"p50": 2.5, "p90": 7.9, "p99": 9.79, "mean": 4.0})


def test_one_sample_is_every_percentile():
    assert set(latency([3.5]).values()) == {3.5}


def test_ratios_are_taken_round_by_round():
    # the machine is half as fast in the second round; both slow down and the ratio does not see it
    reference = [[10.0, 10.0, 99.0], [20.0], [12.0]]
    own = [[2.0, 2.0], [4.0, 4.0, 4.0], [2.0]]
    assert times_as_fast(reference, own) == {"median": 5.0, "low": 5.0, "high": 6.0}


def test_each_round_starts_with_another_candidate():
    order = []
    found = take_turns(3, ["a", "b", "c"], lambda candidate, number: order.append(candidate) or (candidate, number))
    assert "".join(order) == "abc" + "cab" + "bca"
    assert found == [[(name, number) for number in range(3)] for name in "abc"]

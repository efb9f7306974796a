"""What is recorded of the machine, and when it counts as busy."""

from paddle_ernie_tiny.benchmark.bench import describe_environment, warnings


def record(cpu_share, threads=1):
    return {"cpu_share": cpu_share, "threads": threads}


def test_a_busy_machine_and_measurements_that_waited_are_named():
    quiet = {"busy_share": 0.02}
    assert warnings(quiet, [record(0.99), record(1.0)]) == []
    assert "45%" in warnings({"busy_share": 0.45}, [])[0]
    (warning,) = warnings(quiet, [record(0.99), record(0.5), record(0.7)])
    assert warning.startswith("2 of 3 measurements") and "50%" in warning


def test_what_is_not_known_raises_no_warning():
    assert warnings({"busy_share": None}, [record(None), record(0.3, threads=4)]) == []


def test_the_machine_is_described():
    found = describe_environment()
    assert found["cpu"] and found["cores"] >= 1 and found["versions"]["python"]
    assert set(found) >= {"instruction_sets", "load_average", "busy_share", "git_commit", "started"}

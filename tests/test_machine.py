"""Facts about the machine."""

import os
import platform
import re

import psutil
import pytest

import paddle_ernie_tiny
from paddle_ernie_tiny import machine
from paddle_ernie_tiny.errors import InputError

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu avx2 avx512_vnni

processor\t: 1
vendor_id\t: Other
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd\n"


@pytest.fixture
def cpuinfo(monkeypatch):
    """Makes the system say this of its processors."""

    def say(text):
        def read_text(path, **_):
            assert str(path) == "/proc/cpuinfo"
            if text is None:
                raise FileNotFoundError(path)
            return text

        monkeypatch.setattr(machine.Path, "read_text", read_text)
        machine.cpu_facts.cache_clear()

    yield say
    machine.cpu_facts.cache_clear()


def test_the_first_processor_speaks_for_all(cpuinfo):
    cpuinfo(INTEL)
    assert machine.cpu_facts() == {
        "processor": "0",
        "vendor_id": "GenuineIntel",
        "model name": "Some CPU @ 2.00GHz",
        "flags": "fpu avx2 avx512_vnni",
    }
    assert machine.cpu_name() == "Some CPU @ 2.00GHz"
    assert machine.cpu_flags() == {"fpu", "avx2", "avx512_vnni"} and machine.has_vnni()


@pytest.mark.parametrize(
    ("text", "flags", "vnni"),
    [
        (ARM, {"fp", "asimd"}, False),
        ("flags : avx2 amx_int8\n", {"avx2", "amx_int8"}, True),
        ("flags : avx2 avx_vnni\n", {"avx2", "avx_vnni"}, True),
        ("", set(), False),
        (None, set(), False),
    ],
)
def test_other_systems(cpuinfo, text, flags, vnni):
    cpuinfo(text)
    assert machine.cpu_flags() == flags and machine.has_vnni() == vnni
    assert machine.cpu_name() == (platform.processor() or "unknown")


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    assert machine.cpu_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.cpu_cores() == (os.cpu_count() or 1)


def test_memory_is_in_bytes():
    assert 0 < machine.available_memory() <= psutil.virtual_memory().total


def test_versions_are_of_what_is_installed():
    found = machine.versions(("numpy", "no-such-package"))
    assert list(found) == ["paddle_ernie_tiny", "python", "numpy"]
    assert found["paddle_ernie_tiny"] == paddle_ernie_tiny.__version__
    assert found["python"] == platform.python_version()


def test_a_result_tells_what_it_was_measured_with(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = machine.describe_machine()
    assert set(found) == {"cpu", "cores", "threads", "system", "versions"}
    assert found["cpu"] and found["cores"] >= 1 and found["threads"] == "3" and found["versions"]["numpy"]


def test_the_commit_is_that_of_the_checkout(monkeypatch):
    commit = machine.git_commit()
    assert commit is None or re.fullmatch("[0-9a-f]{12}", commit)
    monkeypatch.setenv("PATH", "")
    assert machine.git_commit() is None


@pytest.mark.parametrize("given, used, said", [
    (None, "2", ""),
    ("", "2", ""),
    ("7", "7", ""),
    ("2,1", "2,1", ""),
    ("5000", "2", "OMP_NUM_THREADS=5000"),
])  # fmt: skip
def test_a_number_of_threads_that_no_machine_has_is_lowered_and_said(monkeypatch, capsys, given, used, said):
    monkeypatch.setattr(machine, "cpu_cores", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.delenv("PADDLE_LOCAL_SIZE", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    machine.tune_process()
    assert os.environ["OMP_NUM_THREADS"] == used
    printed = capsys.readouterr().err
    assert said in printed and bool(said) == bool(printed)


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "PADDLE_LOCAL_SIZE"])
@pytest.mark.parametrize("value", ["abc", "0", "-3", "1.5", "\u0662", "9" * 5000])
def test_variables_that_are_no_numbers_are_refused(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"environment variable {variable}") as raised:
        machine.tune_process()
    assert len(str(raised.value)) < 300

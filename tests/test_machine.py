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
    monkeypatch.setattr(machine, "cpu_quota", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    assert machine.cpu_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.cpu_cores() == (os.cpu_count() or 1)


@pytest.mark.parametrize("quota, cores", [(None, 4), (0.5, 1), (1.0, 1), (1.5, 1), (2.0, 2), (3.9, 3), (8.0, 4)])
def test_a_quota_is_rounded_down_to_cores_but_never_to_none(monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    assert machine.cpu_cores() == cores


V2 = "31 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 23 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY = "34 23 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
SPACE = "31 23 0:27 / /my\\040groups rw - cgroup2 cgroup2 rw\n"
CFS = "sys/fs/cgroup/cpu,cpuacct"


def cfs(folder, quota, period=100000):
    """A group's files in version 1."""
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "quota"),
    [
        ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ("0::/\n", V2, {}, None),  # the root of the machine's groups has no such file
        ("0::/a/b\n", V2, {"sys/fs/cgroup/a/b/cpu.max": "25000 50000"}, 0.5),
        (  # the lowest counts, wherever it is
            "0::/a/b\n",
            V2,
            {"sys/fs/cgroup/a/b/cpu.max": "400000 100000", "sys/fs/cgroup/a/cpu.max": "200000 100000"},
            2.0,
        ),
        ("0::/a/b\n", V2, {"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "300000 100000"}, 3.0),
        ("0::/a\n", V2, {"sys/fs/cgroup/other/cpu.max": "100000 100000"}, None),
        ("0::/../other\n", V2, {"sys/fs/cgroup/cpu.max": "100000 100000"}, 1.0),
        ("0::/a\n", SPACE, {"my groups/a/cpu.max": "100000 100000"}, 1.0),
        ("4:memory:/m\n3:cpu,cpuacct:/a\n", MEMORY + V1.format(top="/"), cfs(f"{CFS}/a", 250000), 2.5),
        ("3:cpu,cpuacct:/a/b\n", V1.format(top="/"), cfs(f"{CFS}/a/b", -1) | cfs(f"{CFS}/a", 50000, 25000), 2.0),
        ("3:cpu,cpuacct:/a\n", V1.format(top="/"), cfs(f"{CFS}/a", -1), None),
        ("3:cpu,cpuacct:/docker/1\n", V1.format(top="/docker/1"), cfs(CFS, 100000), 1.0),  # in a container
        ("3:cpu,cpuacct:/other\n", V1.format(top="/docker/1"), cfs(CFS, 100000), 1.0),
        (  # both versions at once, the controller with the first
            "3:cpu,cpuacct:/a\n0::/a\n",
            V2.replace("cgroup rw", "cgroup/unified rw") + V1.format(top="/"),
            cfs(f"{CFS}/a", 200000),
            2.0,
        ),
        ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "none of ours\n"}, None),
        ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "100000 0\n"}, None),
        ("not a line\n", "nor this\n", {}, None),
        (None, None, {}, None),  # no Linux
    ],
)
def test_the_quota_is_that_of_the_control_groups(tmp_path, groups, mounts, files, quota):
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        if text is not None:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    assert machine.cpu_quota(tmp_path) == quota


@pytest.mark.parametrize(
    "given, sharing, count", [("auto", 1, 5), ("auto", 2, 2), ("auto", 9, 1), (3, 1, 3), ("7", 2, 7)]
)
def test_threads_are_a_number_or_every_core_shared_out(monkeypatch, given, sharing, count):
    monkeypatch.setattr(machine, "cpu_cores", lambda: 5)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert machine.thread_count(given, sharing) == count


@pytest.mark.parametrize("own, count", [("3", 3), ("12", 12), ("", 5), ("2,1", 5), ("5000", 5)])
def test_the_users_own_number_of_threads_stays(monkeypatch, own, count):
    monkeypatch.setattr(machine, "cpu_cores", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", own)
    assert machine.thread_count("auto") == count and machine.thread_count(2) == 2


@pytest.mark.parametrize("given", [0, -1, 1.5, True, None, "", "many", "AUTO", "1,2", "\u0662", 65, "9" * 5000])
def test_what_is_no_number_of_threads_is_refused(monkeypatch, given):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    with pytest.raises(InputError, match=r"--threads.*\n.*auto, or a whole number from 1 to 64") as raised:
        machine.thread_count(given)
    assert len(str(raised.value)) < 300


def test_memory_is_in_bytes():
    assert 0 < machine.available_memory() <= psutil.virtual_memory().total


def test_versions_are_of_what_is_installed():
    found = machine.versions(("numpy", "no-such-package"))
    assert list(found) == ["paddle_ernie_tiny", "python", "numpy"]
    assert found["paddle_ernie_tiny"] == paddle_ernie_tiny.__version__
    assert found["python"] == platform.python_version()


def test_a_result_tells_what_it_was_measured_with(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(machine, "cpu_quota", lambda: None)
    found = machine.describe_machine()
    assert set(found) == {"cpu", "cores", "threads", "system", "versions"}
    assert found["cpu"] and found["cores"] >= 1 and found["threads"] == "3" and found["versions"]["numpy"]
    monkeypatch.setattr(machine, "cpu_quota", lambda: 1.5)
    assert machine.describe_machine().keys() - found.keys() == {"cpu_quota"}


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


@pytest.mark.parametrize(("given", "gpu", "used"), [(None, False, "0"), ("1", False, "1"), (None, True, None)])
def test_transposes_are_real_on_the_cpu_unless_the_user_says_otherwise(monkeypatch, given, gpu, used):
    flag = "FLAGS_use_stride_kernel"
    monkeypatch.setattr(machine, "versions", lambda packages: dict.fromkeys(packages, "3.1.1") if gpu else {})
    monkeypatch.delenv(flag, raising=False)
    if given is not None:
        monkeypatch.setenv(flag, given)
    machine.tune_process()
    assert os.environ.get(flag) == used


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "PADDLE_LOCAL_SIZE"])
@pytest.mark.parametrize("value", ["abc", "0", "-3", "1.5", "\u0662", "9" * 5000])
def test_variables_that_are_no_numbers_are_refused(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"environment variable {variable}") as raised:
        machine.tune_process()
    assert len(str(raised.value)) < 300


def test_a_run_takes_back_the_threads_that_a_predictor_left_it_without(tmp_path, monkeypatch):
    """Paddle Inference sets the process to one thread when it is opened, and after each run."""
    from paddle_ernie_tiny.pipeline import run as module

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    order = []
    monkeypatch.setattr("paddle.base.core.set_num_threads", lambda count: order.append(count))
    for name in ("Sources", "preflight", "find_device"):
        monkeypatch.setattr(module, name, lambda *_: "cpu")

    def stop():
        raise StopIteration  # nothing more is of interest

    monkeypatch.setattr(module, "connect", stop)
    with pytest.raises(StopIteration):
        module.run(type("Config", (), {"output_dir": str(tmp_path / "run"), "device": "cpu"}))
    assert order == [3]

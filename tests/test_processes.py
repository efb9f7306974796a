"""Work in fresh processes: answers, errors, what they are given and what they leave."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import pytest

from paddle_ernie_tiny.errors import ErnieTinyError, GateError, InputError, InputErrors
from paddle_ernie_tiny.processes import Workers, in_child, run_python

AT_IMPORT = os.environ.get("ERNIE_TINY_TEST")
calls = 0


def answer(*values):
    print("this is not for the screen")
    os.write(2, b"nor is this\n")
    return {"values": values, "process": os.getpid(), "paddle": "paddle" in sys.modules}


def count() -> tuple[int, int]:
    global calls
    calls += 1
    return os.getpid(), calls


def environment() -> tuple[str | None, str | None, str | None]:
    return AT_IMPORT, os.environ.get("ERNIE_TINY_TEST"), os.environ.get("OMP_NUM_THREADS")


def fail(error: Exception):
    raise error


def die(lines: int):
    for line in range(lines):
        print(f"line {line} 行", flush=True)
    os._exit(3)


def test_the_answer_comes_from_a_fresh_process_without_its_noise(capfd):
    found = in_child("test", answer, 1, ("二", [3.5]))
    assert found["values"] == (1, ("二", [3.5])) and found["process"] != os.getpid() and not found["paddle"]
    assert capfd.readouterr() == ("", "")


def test_a_signal_waits_until_the_process_has_its_orders(monkeypatch):
    """It reaches another thread, so that blocking it in the main one is not enough."""
    finished, submit = [], ProcessPoolExecutor.submit

    def interrupted(self, *arguments, **keywords):
        def receive():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            signal.raise_signal(signal.SIGINT)

        thread = threading.Thread(target=receive)
        thread.start()
        thread.join()
        finished.append(submit(self, *arguments, **keywords))
        return finished[0]

    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt), Workers(1) as workers:
            workers.submit(count)
        assert finished and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "error",
    [
        InputError("wrong 值", "a.tsv:3", "correct it"),
        InputErrors([InputError("first", "a:1", "fix"), InputError("second", None, None)]),
        GateError("not equal", "bundle", "export again"),
        ZeroDivisionError("by zero"),
    ],
)
def test_errors_are_raised_here(error):
    with pytest.raises(type(error)) as raised:
        in_child("test", fail, error)
    assert str(raised.value) == str(error)
    for name in ("what", "where", "remedy", "exit_code"):
        assert getattr(raised.value, name, None) == getattr(error, name, None)
    found = [(e.what, e.where, e.remedy) for e in getattr(raised.value, "errors", [])]
    assert found == [(e.what, e.where, e.remedy) for e in getattr(error, "errors", [])]


def test_the_environment_is_set_before_modules_are_imported(monkeypatch):
    monkeypatch.delenv("ERNIE_TINY_TEST", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    at_import, later, threads = in_child("test", environment, environment={"ERNIE_TINY_TEST": "yes"})
    assert (at_import, later) == ("yes", "yes") and int(threads) >= 1
    assert "ERNIE_TINY_TEST" not in os.environ
    assert in_child("test", environment, environment={"OMP_NUM_THREADS": "7"})[2] == "7"


def test_a_child_that_dies_is_an_error_with_its_last_output():
    with pytest.raises(ErnieTinyError) as error:
        in_child("export", die, 30)
    lines = str(error.value).splitlines()
    assert lines[0] == "the export process ended without an answer; its last output:"
    assert lines[1:] == [f"line {line} 行" for line in range(10, 30)]
    with pytest.raises(ErnieTinyError, match="no output"):
        in_child("export", die, 0)


def test_workers_keep_their_modules_between_calls():
    with Workers(1) as workers:
        (first, one), (second, two) = (workers.submit(count).result() for _ in range(2))
    assert first == second != os.getpid() and (one, two) == (1, 2)
    assert calls == 0


def test_what_workers_print_goes_to_the_log(tmp_path, capfd):
    with Workers(2, log=tmp_path / "log") as workers:
        assert [future.result()["values"] for future in [workers.submit(answer, i) for i in range(4)]] == [
            (i,) for i in range(4)
        ]
    assert (tmp_path / "log").read_text().count("nor is this\n") == 4
    assert capfd.readouterr() == ("", "")


def test_a_script_needs_no_main_guard(tmp_path, project_root):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import math
            from paddle_ernie_tiny.processes import Workers, in_child, run_python

            print("begun")
            print(in_child("test", math.sqrt, 16))
            with Workers(2) as workers:
                print(sum(future.result() for future in [workers.submit(math.sqrt, 4) for _ in range(5)]))
            print(__name__, in_child("test", math.sqrt, 9))
            """
        )
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(project_root)},
    )
    assert (done.stdout, done.returncode) == ("begun\n4.0\n10.0\n__main__ 3.0\n", 0), done.stderr


def nap(file: str):
    with open(file, "w") as stream:
        stream.write(str(os.getpid()))
    time.sleep(600)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_fresh_process_ends_with_its_parent(tmp_path, number):
    import psutil

    file = tmp_path / "process"
    code = f"from tests.test_processes import *; in_child('test', nap, {str(file)!r})"
    reset = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # it is ignored where tests run in the background
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, preexec_fn=reset)
    deadline = time.time() + 60
    while not (file.is_file() and file.read_text()) and time.time() < deadline:
        time.sleep(0.1)
    child = psutil.Process(int(file.read_text()))
    parent.send_signal(number)
    parent.wait(timeout=30)
    _, alive = psutil.wait_procs([child], timeout=30)
    assert not alive, "the child outlives its parent"


def blocked() -> set[int]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_signals_are_for_the_process_that_waits():
    before = blocked()
    assert {signal.SIGINT, signal.SIGTERM} <= in_child("test", blocked)
    assert blocked() == before


def test_one_dead_worker_of_several_ends_them_all():
    with pytest.raises(BrokenProcessPool), Workers(2) as workers:
        workers.submit(nap, "/dev/null")
        dead = workers.submit(die, 0)
        workers.submit(count)  # only from then on Python looks after the second process
        dead.result(timeout=60)


def test_nobody_waits_for_work_after_an_error():
    with pytest.raises(BrokenPipeError), Workers(1) as workers:
        at_work, waiting = workers.submit(nap, "/dev/null"), workers.submit(nap, "/dev/null")
        raise BrokenPipeError
    assert all(isinstance(future.exception(timeout=60), BrokenProcessPool) for future in (at_work, waiting))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has no safe path before")
def test_files_of_the_working_folder_are_not_taken_for_modules(tmp_path, project_root):
    for name in ("random", "signal", "socket", "struct", "threading", "tempfile"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the working folder was imported')")
    work = "from paddle_ernie_tiny.processes import in_child; import math; print(in_child('test', math.sqrt, 16))"
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    program = [sys.executable, "-P", "-c", work]  # -P: as the installed command starts
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("4.0\n", 0), done.stderr


def test_the_module_as_a_program_leaves_the_working_folder_out(tmp_path, project_root):
    (tmp_path / "typer.py").write_text("raise SystemExit('a file of the working folder was imported')")
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    program = [sys.executable, "-m", "paddle_ernie_tiny", "--help"]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Usage" in done.stdout, done.stderr


def test_another_interpreter_sees_nothing_beside_the_program(tmp_path, monkeypatch):
    """As text: a file beside the program would be a module, and the program runs in the folder it is given."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "json.py").write_text("raise SystemExit(9)")
    program = tmp_path / "code" / "program.py"
    program.write_text(
        "import json, os, sys; print(json.dumps([os.getcwd(), *sys.argv[1:]]), os.environ['HF_HUB_OFFLINE'])"
    )
    done = run_python(sys.executable, program, "一", "b", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f'["{tmp_path}", "\\u4e00", "b"] 1\n')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    (tmp_path / "other").symlink_to(sys.executable)
    assert run_python(str(tmp_path / "other"), program, folder=tmp_path).returncode == 0, "its packages are its own"
    with pytest.raises(InputError, match="no such program"):
        run_python(str(tmp_path / "python"), program, folder=tmp_path)

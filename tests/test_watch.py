"""Ctrl-C and SIGTERM end a command in time, with their own exit code, whatever it is doing."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial

import psutil
import pytest

# A verb that waits.
COMMAND = """
    import sys, time
    from paddle_ernie_tiny import cli
    from paddle_ernie_tiny.pipeline import report
    def wait(path):
        {before}
        print("ready", flush=True)
        time.sleep(60)
    report.write_report, sys.argv[1:] = wait, ["report", "a"]
    cli.main()
"""
# A library that does not come back for minutes and swallows the exception, and a child process.
DEAF = """
    import hashlib, subprocess, sys
    from paddle_ernie_tiny.watch import stop_on_signals
    stop_on_signals(grace_seconds=0.5)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    while True:
        try:
            print(child.pid, flush=True)
            hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**9)
        except KeyboardInterrupt:
            pass
"""


def _signalled(code, *numbers):
    """(exit code, first line, standard error) of a program that gets signals when it has printed a line."""
    program = [sys.executable, "-c", textwrap.dedent(code)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Ctrl-C is ignored where tests run in the background
    reset = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(program, **pipes, preexec_fn=reset) as process:
        line = process.stdout.readline()
        for number in numbers:
            process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    return process.returncode, line.strip(), errors


def _ends(process):
    """Does a process end within seconds? One that nobody waits for stays as a zombie."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("numbers", "code", "how"),
    [
        ([signal.SIGTERM], 143, "terminated"),
        ([signal.SIGINT], 130, "interrupted"),
        ([signal.SIGTERM, signal.SIGTERM], 143, "terminated"),  # as Paddle's launcher sends it
    ],
)
def test_a_signal_ends_a_command_with_its_code_and_one_message(numbers, code, how):
    done = _signalled(COMMAND.format(before=""), *numbers)
    message = f"{how}; run the same command again (a run continues where it stopped)"
    assert done[:2] == (code, "ready") and done[2].strip() == message


def test_an_extension_that_is_being_loaded_makes_an_import_error_of_it():
    turned = (
        "try: time.sleep(60)\n        except KeyboardInterrupt: raise ImportError('initialization failed') from None"
    )
    code, _, errors = _signalled(COMMAND.format(before="").replace("time.sleep(60)", turned), signal.SIGINT)
    assert code == 130 and "initialization" not in errors, errors


def test_a_signal_at_the_very_end_ends_the_process_without_a_traceback():
    late = "import atexit; atexit.register(lambda: (print('ready', flush=True), time.sleep(60))); raise SystemExit(0)"
    program = COMMAND.format(before=late)
    code, line, errors = _signalled(program, signal.SIGTERM)
    assert (code, line, errors) == (-signal.SIGTERM, "ready", "")


@pytest.mark.parametrize("library", ["", "; import paddlenlp"])
def test_paddle_and_paddlenlp_leave_the_signals_alone(library):
    before = f"from paddle_ernie_tiny.machine import import_paddle; import_paddle(){library}"
    code, _, errors = _signalled(COMMAND.format(before=before), signal.SIGTERM)
    assert code == 143 and "FatalError" not in errors and "run the same command again" in errors


def test_only_the_main_thread_takes_signals():
    """Another would run Paddle's handler while the main one holds signals back, as it does to import Paddle."""
    program = """
        import os, re
        from paddle_ernie_tiny.watch import stop_on_signals
        stop_on_signals()
        for thread in sorted(map(int, os.listdir("/proc/self/task"))):
            status = open(f"/proc/self/task/{thread}/status").read()
            print(thread == os.getpid(), int(re.search(r"SigBlk:\\s*(\\w+)", status)[1], 16) >> 14 & 1)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["True 0", "False 1"], done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_does_not_come_back_is_left_with_its_children(number):
    code, child, errors = _signalled(DEAF, number)
    assert code == 128 + number and _ends(int(child))
    assert "longer than 0.5 s" in errors and "run the same command again" in errors and "Traceback" not in errors


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PADDLE_TRAINERS_NUM": "abc"}, "PADDLE_TRAINERS_NUM"),
        ({"PADDLE_TRAINER_ID": "-1"}, "PADDLE_TRAINER_ID"),
        ({"PADDLE_TRAINERS_NUM": "2"}, "PADDLE_TRAINER_ENDPOINTS"),
        ({"PADDLE_TRAINERS_NUM": "2", "PADDLE_TRAINER_ENDPOINTS": "a:1,b:1,c:1"}, "process 0 of 2"),
    ],
)
def test_wrong_variables_of_a_launcher_are_refused_at_once(variables, named):
    program = [sys.executable, "-m", "paddle_ernie_tiny", "validate", "none.yaml"]
    done = subprocess.run(program, capture_output=True, text=True, env={**os.environ, **variables}, timeout=60)
    assert done.returncode == 2 and named in done.stderr and "none.yaml" not in done.stderr, done.stderr

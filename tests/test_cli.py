"""Exit codes and messages of the command line."""

import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

MAIN = "from paddle_ernie_tiny.cli import main; main()"


def call(*arguments, code=MAIN, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_exits_0(arguments):
    done = call(*arguments)
    assert done.returncode == 0 and "Usage" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["run"],
        ["predict", "b", "--threads", "0"],
        ["evaluate", "b", "f", "--threads", "all"],
        ["run", "c", "--no"],
    ],
)
def test_wrong_usage_exits_2_without_a_traceback(arguments):
    done = call(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "Usage" in done.stderr


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        ("InputError('bad', 'file.tsv:3', 'mend it')", 2, "error: file.tsv:3: bad\n  remedy: mend it"),
        ("GateError('differs')", 1, "error: differs"),
        ("KeyboardInterrupt()", 130, "run the same command again"),
        ("RuntimeError('boom')", 1, "error: RuntimeError: boom"),
    ],
)
def test_errors_become_exit_codes(raised, code, text):
    program = (
        "from paddle_ernie_tiny import cli; from paddle_ernie_tiny.errors import *\n"
        f"def app(**_): raise {raised}\n"
        "cli.app = app; cli.main()"
    )
    done = call(code=program)
    assert done.returncode == code and text in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["predict", "b", b"\xb7\xbf"], ["predict", b"\xb7\xbf", "text"]])
def test_arguments_that_are_not_utf8_are_refused(arguments):
    done = call(*arguments)
    assert done.returncode == 2 and "not UTF-8" in done.stderr and "\\udcb7\\udcbf" in done.stderr


@pytest.mark.parametrize("place", ["nowhere/answers.jsonl", "."])
def test_predict_says_before_the_work_that_it_cannot_write(tmp_path, place):
    done = call("predict", "no-bundle", "text", "--output", str(tmp_path / place))
    assert done.returncode == 2 and str(tmp_path) in done.stderr and "no-bundle" not in done.stderr


TEXTS = 'print("房间 é 😀 \\ud83d"); import sys; print("错误 é", file=sys.stderr)'


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "gbk"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_output_is_utf8_whatever_the_locale(environment):
    program = f"from paddle_ernie_tiny import cli\ndef app(**_): {TEXTS}\ncli.app = app; cli.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == "房间 é 😀 \\ud83d\n" and done.stderr.decode() == "错误 é\n"


def test_a_terminal_gets_its_own_encoding_and_escapes_for_what_it_lacks(monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    from paddle_ernie_tiny.cli_options import set_output_encoding
    from paddle_ernie_tiny.deploy.answers import AnswerLines
    from paddle_ernie_tiny.files import growing_text
    from paddle_ernie_tiny.kinds import KINDS

    screen = Terminal(io.BytesIO(), encoding="gbk")
    monkeypatch.setattr(sys, "stdout", screen)
    set_output_encoding()
    print("房间 é 😀")
    answers = [{"text": "房间"}, {"text": "é 😀"}]
    predictor = SimpleNamespace(kind=KINDS["classification"], labels=["a", "b"], manifest=SimpleNamespace(pair=False))
    with growing_text(None) as write:
        write(AnswerLines(predictor, "jsonl", None, screen.encoding).text(answers))
    screen.flush()
    first, *rest = screen.buffer.getvalue().decode("gbk").splitlines()
    assert first == "房间 é \\U0001f600"
    assert rest[0] == '{"text": "房间"}' and [json.loads(line) for line in rest] == answers


def test_the_debug_variable_shows_the_traceback():
    program = "from paddle_ernie_tiny import cli\ndef app(**_): raise RuntimeError('boom')\ncli.app = app; cli.main()"
    done = call(code=program, ERNIE_TINY_DEBUG="1")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_a_home_is_written_out_in_arguments(tmp_path):
    """A shell leaves `~` in `--output=~/x`, and in quotes."""
    done = call("predict", "~/no-bundle", "a ~ text", "--output=~/answers.jsonl", HOME=str(tmp_path))
    assert done.returncode == 2 and f"error: {tmp_path}/no-bundle" in done.stderr, done.stderr
    done = call("predict", "no-bundle", "text", "--output=~/nowhere/a.jsonl", HOME=str(tmp_path))
    assert f"error: {tmp_path}/nowhere: no such folder" in done.stderr


def test_a_full_disk_and_used_up_memory_are_explained():
    program = "from paddle_ernie_tiny import cli\ndef app(**_): {}\ncli.app = app; cli.main()"
    full = call(code=program.format("import os; os.write(os.open('/dev/full', os.O_WRONLY), b'a')"))
    memory = call(code=program.format("bytes(1 << 62)"))
    assert (full.returncode, memory.returncode) == (1, 1)
    assert "error: the disk is full\n  remedy: make room" in full.stderr and "the memory is used up" in memory.stderr

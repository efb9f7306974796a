"""Set-up: what it decides before it installs, what it says when it cannot, and what make calls."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12")
sys.path.insert(0, str(ROOT / "tools"))

import bootstrap  # noqa: E402
import setup_env  # noqa: E402
from pip_failure import SetupError, explain  # noqa: E402


@pytest.fixture
def tree(tmp_path) -> Path:
    """A copy of what set-up needs, without a .venv."""
    root = tmp_path / "tree"
    root.mkdir()
    for name in ("Makefile", "requirements.lock", "requirements.in", "setup.py"):
        shutil.copy(ROOT / name, root)
    for name in ("tools", ".ci"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def layout(tree):
    return setup_env.Layout(tree)


def clean_environment(**changes: str) -> dict[str, str]:
    """The environment without what a make around the tests passes on to a make inside them."""
    makes = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "PYTHON", "ARGS", "PYTEST_EXIT_FILE")
    return {name: value for name, value in os.environ.items() if name not in makes} | changes


def run(*command, cwd: Path, **changes: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environment(**changes),
        capture_output=True,
        text=True,
    )


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def finish(layout) -> None:
    """Makes `.venv` look finished."""
    script(layout.python, "exit 0")
    layout.log.write_text("log\n")
    layout.stamp.write_text(setup_env.expected_stamp(layout))


class TestPythonChoice:
    @pytest.mark.parametrize("version", [(2, 7, 18), (3, 9, 18), (3, 13, 0), (4, 0, 0)])
    def test_other_pythons_are_refused_with_the_remedy(self, version):
        message = bootstrap.version_problem(version, "/usr/bin/python3")
        assert f"3.10, 3.11 or 3.12 is needed; this is {version[0]}.{version[1]}" in message
        assert "/usr/bin/python3" in message and "make setup PYTHON=" in message

    @pytest.mark.parametrize("version", [(3, 10, 0), (3, 11, 7), (3, 12, 99)])
    def test_supported_pythons_are_taken(self, version):
        assert bootstrap.version_problem(version, "/usr/bin/python3") is None

    def test_bootstrap_parses_on_python_2(self):
        source = (ROOT / "tools" / "bootstrap.py").read_text()
        assert not re.search(r"\bf[\"']|->|: (str|int|bool|tuple)\b", source)
        source.encode("ascii")  # Python 2 refuses anything else without a coding line

    @pytest.fixture
    def find(self, tree, tmp_path):
        """Runs find_python.sh with a PATH that holds nothing but the given names."""
        folder = tmp_path / "bin"
        folder.mkdir()
        for tool in ("sh", "sed", "dirname"):
            (folder / tool).symlink_to(shutil.which(tool))

        def find(**bodies: str) -> str:
            for name, body in bodies.items():
                script(folder / name.replace("_", "."), body)
            result = run("sh", "tools/find_python.sh", cwd=tree, PATH=str(folder))
            assert result.returncode == 0, result.stderr
            return result.stdout.strip()

        return find

    this_python = f'exec {sys.executable} "$@"'

    def test_a_shim_that_fails_is_skipped(self, find):
        assert find(python3_11="exit 127", python3_12="exit 127", python3=self.this_python) == "python3"

    def test_the_order_is_3_11_then_3_12_then_3_10(self, find):
        assert find(python3_10=self.this_python) == "python3.10"
        assert find(python3_12=self.this_python) == "python3.12"
        assert find(python3_11=self.this_python) == "python3.11"

    def test_an_unfit_python_is_named_so_that_bootstrap_can_say_why(self, find):
        old = 'case "$2" in *assert*) exit 1;; esac'
        assert find(python3=old) == "python3"

    def test_no_python_at_all(self, find, tree):
        assert find() == ""
        result = run("make", "setup", "PYTHON=", cwd=tree)
        assert result.returncode == 2
        assert "no Python was found: none on the PATH" in result.stderr and "remedy" in result.stderr
        result = run("make", "setup", "PYTHON=python9.9", cwd=tree)
        assert result.returncode == 2
        assert "no Python was found: python9.9" in result.stderr

    def test_the_python_that_made_the_environment_is_kept(self, find, tree, tmp_path):
        own = script(tmp_path / "own" / "python", self.this_python)
        (tree / ".venv").mkdir()
        (tree / ".venv" / "complete").write_text(f"base {own}\n")
        assert find(python3_11=self.this_python) == str(own)


class TestDecision:
    def test_finished_is_left_alone_and_says_nothing(self, layout, capsys):
        finish(layout)
        setup_env.set_up(layout)
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("name", ["requirements.lock", "setup.py"])
    def test_a_changed_lock_or_setup_is_an_update(self, layout, name):
        finish(layout)
        with open(layout.root / name, "a") as file:
            file.write("# changed\n")
        assert not setup_env.is_complete(layout)
        assert setup_env.can_be_updated(layout)

    def test_a_moved_folder_is_made_again(self, layout, tmp_path):
        finish(layout)
        moved = setup_env.Layout(layout.root.rename(tmp_path / "moved"))
        assert not setup_env.is_complete(moved)
        assert not setup_env.can_be_updated(moved)

    def test_unfinished_or_without_its_python_is_made_again(self, layout):
        finish(layout)
        layout.python.unlink()
        assert not setup_env.is_complete(layout) and not setup_env.can_be_updated(layout)
        finish(layout)
        layout.stamp.unlink()
        assert not setup_env.is_complete(layout) and not setup_env.can_be_updated(layout)

    def test_a_second_set_up_waits_for_the_first(self, tree):
        with open(tree / "requirements.lock") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            second = subprocess.Popen(
                [sys.executable, "tools/bootstrap.py"],
                cwd=tree,
                env=clean_environment(ERNIE_TINY_SETUP_GB="1e9"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert "another set-up" in second.stdout.readline()
            assert second.poll() is None
        assert "not enough disk" in second.communicate(timeout=20)[1]

    def test_settings_that_send_packages_elsewhere_are_not_passed_on(self, layout, monkeypatch):
        monkeypatch.setenv("PIP_TARGET", "/elsewhere")
        monkeypatch.setenv("PIP_USER", "1")
        monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
        environment = setup_env.Installer(layout, guard=0).environment
        assert "PIP_TARGET" not in environment and environment["PIP_USER"] == "0"
        assert environment["PIP_INDEX_URL"] == "https://mirror.example/simple"


class TestFaults:
    def test_no_disk(self, tree):
        result = run("make", "setup", f"PYTHON={sys.executable}", cwd=tree, ERNIE_TINY_SETUP_GB="1000000")
        assert result.returncode == 2
        assert "not enough disk" in result.stderr and "1000000.0 GB needed" in result.stderr
        assert str(tree) in result.stderr and "remedy" in result.stderr
        assert not (tree / ".venv").exists()

    @pytest.mark.e2e
    def test_no_network_leaves_only_the_log(self, tree):
        nowhere = "http://127.0.0.1:9/simple"
        pip = {
            "PIP_INDEX_URL": nowhere,
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
            "NO_PROXY": "127.0.0.1",
        }
        result = run(sys.executable, "tools/bootstrap.py", cwd=tree, PIP_CONFIG_FILE="/dev/null", **pip)
        assert result.returncode == 2, result.stdout
        assert "the package index could not be reached (build tools)" in result.stderr
        assert re.search(r"said: .*Connection refused", result.stderr)
        assert "where: " in result.stderr and "remedy: check the network" in result.stderr
        assert "Traceback" not in result.stderr
        assert [path.name for path in (tree / ".venv").iterdir()] == ["setup.log"]
        assert "127.0.0.1" in (tree / ".venv" / "setup.log").read_text()

    def test_a_python_without_venv(self, layout, monkeypatch):
        monkeypatch.setattr(setup_env.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(SetupError, match=r"(?s)virtual environments.*where: .*apt install python3\.\d+-venv"):
            setup_env.check_machine(layout)

    def test_another_system(self, layout):
        with pytest.raises(SetupError, match=r"(?s)Linux only; this is darwin.*remedy"):
            setup_env.check_machine(layout, platform="darwin")

    def test_a_full_temporary_folder_is_told_from_a_full_project_folder(self, layout, monkeypatch):
        temporary = layout.root / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(setup_env.tempfile, "gettempdir", lambda: str(temporary))
        monkeypatch.setattr(
            setup_env.shutil,
            "disk_usage",
            lambda path: SimpleNamespace(free=0 if Path(path) == temporary else 10**12),
        )
        with pytest.raises(SetupError, match=r"(?s)not enough disk: 0\.0 GB.*where: .*temporary.*TMPDIR"):
            setup_env.check_machine(layout)

    def test_an_environment_made_by_someone_else_is_not_replaced(self, layout):
        (layout.venv / "bin").mkdir(parents=True)
        (layout.venv / "pyvenv.cfg").touch()
        with pytest.raises(SetupError, match=r"(?s)not made by this set-up.*rm -rf"):
            setup_env.set_up(layout)
        assert (layout.venv / "pyvenv.cfg").exists()

    def test_a_failed_phase_leaves_only_the_log_and_what_a_link_points_to(self, layout, tmp_path, monkeypatch):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        layout.venv.symlink_to(elsewhere)
        broken = [("virtual environment", ["sh", "-c", "mkdir .venv/bin; echo 'Errno 28' >&2; exit 1"])]
        monkeypatch.setattr(setup_env.Installer, "phases", lambda self: broken)
        monkeypatch.setenv("ERNIE_TINY_SETUP_GB", "0")
        with pytest.raises(SetupError, match="the disk is full"):
            setup_env.set_up(layout)
        assert [path.name for path in elsewhere.iterdir()] == ["setup.log"]
        assert "Errno 28" in layout.log.read_text()

    @pytest.mark.parametrize(
        ("output", "what", "said"),
        [
            (
                "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n\n"
                "[notice] A new release of pip is available: 23.0 -> 25.0",
                "the disk is full",
                "Errno 28",
            ),
            (
                "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)'\n"
                "ERROR: Could not find a version that satisfies the requirement wheel (from versions: none)\n"
                "ERROR: No matching distribution found for wheel==1.0",
                "the package index could not be reached",
                "NewConnectionError",
            ),
            (
                "WARNING: Retrying (Retry(total=0)) after connection broken by 'ReadTimeoutError(...)'\n"
                "ERROR: Could not find a version that satisfies the requirement a==2 (from versions: 1.0)\n"
                "ERROR: No matching distribution found for a==2",
                "the package index has no a==2 for this machine",
                "No matching distribution",
            ),
            (
                "Looking in links: /wheels\n"
                "ERROR: Could not find a version that satisfies the requirement a==2 (from versions: none)\n"
                "ERROR: No matching distribution found for a==2",
                "the package index has no a==2 for this machine",
                "No matching distribution",
            ),
            (
                "Building\nerror: command 'gcc' failed\n",
                "an installation step failed",
                "command 'gcc' failed",
            ),
            ("", "an installation step failed", "(no output)"),
        ],
    )
    def test_causes_are_told_apart(self, output, what, said):
        message = str(explain("locked dependencies", output.splitlines(), ".venv/setup.log"))
        first, second, third, fourth = message.splitlines()
        assert first == f"{what} (locked dependencies)"
        assert said in second
        assert third == "  where: .venv/setup.log"
        assert fourth.startswith("  remedy: ")


class TestMake:
    def test_help_is_the_default_and_lists_every_target(self):
        shown = run("make", cwd=ROOT).stdout
        text = (ROOT / "Makefile").read_text()
        targets = re.search(r"^\.PHONY: (.+)$", text, flags=re.MULTILINE).group(1).split()
        tested = {"quick", "test", "faults", "lint"}
        assert set(targets) == {"help", "setup", "demo", "bench", "wheel", "lock", "clean"} | tested
        for target in targets:
            assert re.search(rf"^  make {target} ", shown, flags=re.MULTILINE)

    def test_quick_is_the_unit_tests_and_test_is_all(self):
        text = (ROOT / "Makefile").read_text()
        assert re.search(r"^quick: .*\n\t\.venv/bin/python -m pytest -q -m unit \$\(ARGS\)$", text, flags=re.MULTILINE)
        assert re.search(
            r"^test: .*\n\t.*pytest -q -n \$\(WORKERS\) .*--dist loadfile --durations=15 \$\(ARGS\)",
            text,
            flags=re.MULTILINE,
        )

    def test_hooks_and_lint_check_the_same(self):
        hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
        linted = re.search(r"^lint: .*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE).group(1)
        entries = [hook["entry"].removesuffix(" --force-exclude") for hook in hooks]
        assert entries == [line.strip().removesuffix(" .") for line in linted.splitlines()]

    def test_the_workflow_runs_every_python_that_is_supported(self):
        jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
        assert tuple(jobs["quick"]["strategy"]["matrix"]["python"]) == PYTHONS
        commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
        assert commands == [f"make {target} PYTHON=python" for target in ("quick", "lint", "wheel", "test")]

    @pytest.mark.parametrize("code", [0, 1, 5])
    def test_ci_exits_with_the_code_of_pytest(self, tree, code):
        script(tree / ".venv" / "bin" / "python", f"exit {code}")
        assert run("bash", ".ci/run", "PYTHON=true", cwd=tree).returncode == code

    def test_ci_fails_where_set_up_fails(self, tree):
        assert run("bash", ".ci/run", "PYTHON=false", cwd=tree).returncode == 2

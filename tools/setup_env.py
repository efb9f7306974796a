"""Makes `.venv` with the locked dependencies and this package; does nothing where that is done already.

The file `.venv/complete` is written last. A `.venv` without it is unfinished and is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pip_failure import SetupError, explain

ROOT = Path(__file__).resolve().parents[1]
# A finished .venv takes NEEDED_GB less some reserve; pip unpacks and builds in the temporary folder.
NEEDED_GB, NEEDED_TEMP_GB, UPDATE_GB = 4.0, 1.0, 1.0
# Settings of pip and Python that would send packages elsewhere than into .venv. Index settings stay.
REDIRECTIONS = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PYTHONHOME", "PYTHONPATH")


@dataclass(frozen=True)
class Layout:
    """Where set-up reads and writes."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def log(self) -> Path:
        return self.venv / "setup.log"

    @property
    def stamp(self) -> Path:
        return self.venv / "complete"

    @property
    def lock(self) -> Path:
        return self.root / "requirements.lock"


def expected_stamp(layout: Layout) -> str:
    """What `.venv/complete` says when nothing has changed since: Python, place, and what was installed."""
    digest = hashlib.sha256(layout.lock.read_bytes() + (layout.root / "setup.py").read_bytes()).hexdigest()
    base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    version = ".".join(str(part) for part in sys.version_info[:2])
    return f"base {base}\npython {version}\nroot {layout.root}\nrequirements {digest}\n"


def read_stamp(layout: Layout) -> str:
    """`.venv/complete` as it stands; empty where `.venv` is missing, unfinished or has lost its Python."""
    try:
        return layout.stamp.read_text() if layout.python.exists() else ""
    except OSError:
        return ""


def is_complete(layout: Layout) -> bool:
    """True where `.venv` is finished, for this Python and this place, from the present lock and setup.py."""
    return read_stamp(layout) == expected_stamp(layout)


def can_be_updated(layout: Layout) -> bool:
    """True where `.venv` is finished for this Python and this place, but from another lock or setup.py."""
    return read_stamp(layout).splitlines()[:3] == expected_stamp(layout).splitlines()[:3]


def check_machine(layout: Layout, needed_gb: float = NEEDED_GB, platform: str = sys.platform) -> None:
    """Raises SetupError for what would fail later and less clearly: system, venv module, space."""
    if platform != "linux":
        raise SetupError(
            f"PaddleNLP's dependencies have builds for Linux only; this is {platform}",
            remedy="use Linux, or a Linux container",
        )
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        minor = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetupError(
            "this Python cannot make virtual environments (its module venv or ensurepip is missing)",
            where=sys.executable,
            remedy=f"apt install {minor}-venv, or name another Python: make setup PYTHON=/path/to/python3",
        )
    if layout.venv.exists() and not layout.log.exists() and any(layout.venv.iterdir()):
        raise SetupError(
            "this folder was not made by this set-up, which would have to replace it",
            where=layout.venv,
            remedy=f"rm -rf {layout.venv}, then the same command again",
        )
    needed = float(os.environ.get("ERNIE_TINY_SETUP_GB", needed_gb))
    check_space(layout.venv if layout.venv.exists() else layout.root, needed)
    check_space(Path(tempfile.gettempdir()), min(needed, NEEDED_TEMP_GB), "TMPDIR=/path/to/another/disk, or ")


def check_space(folder: Path, needed_gb: float, other_remedy: str = "") -> None:
    """Raises SetupError where `folder` cannot be written or has less than `needed_gb` (10^9 bytes) free."""
    if not os.access(folder, os.W_OK):
        raise SetupError("this folder cannot be written", where=folder, remedy="take a folder of your own")
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        raise SetupError(
            f"not enough disk: {free_gb:.1f} GB free, {needed_gb:.1f} GB needed",
            where=folder,
            remedy=f"{other_remedy}make room there, then the same command again",
        )


def empty(folder: Path, keep: Iterable[str] = ()) -> None:
    """Removes what lies in `folder`, but for the names in `keep`; the folder itself may be a link."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.name in keep:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


class Installer:
    """Runs the phases one after another, each shown as one line with its seconds."""

    def __init__(self, layout: Layout, guard: int, out=sys.stdout):
        self.layout, self.guard, self.out = layout, guard, out
        self.environment = {k: v for k, v in os.environ.items() if k not in REDIRECTIONS}
        # A configuration file may say `user = true`; the progress bars of pip are no use in a log.
        self.environment.update(PIP_USER="0", PIP_PROGRESS_BAR="off", PIP_DISABLE_PIP_VERSION_CHECK="1")

    def phases(self) -> list[tuple[str, list[str]]]:
        lock, build = str(self.layout.lock), str(self.layout.root / "requirements.in")
        # No --build-isolation: it would fetch build tools that the lock does not name.
        install = [str(self.layout.python), "-m", "pip", "install", "--no-input"]
        return [
            ("virtual environment", [sys.executable, "-m", "venv", str(self.layout.venv)]),
            # Small and first, with fewer retries: where there is no network it shows here, soon.
            ("build tools", [*install, "--retries", "1", "-c", lock, "-r", build]),
            ("locked dependencies", [*install, "--no-build-isolation", "-r", lock]),
            ("this package", [*install, "--no-build-isolation", "--no-deps", "-e", str(self.layout.root)]),
        ]

    def run(self, update: bool) -> None:
        phases = self.phases()[1:] if update else self.phases()
        for number, (name, command) in enumerate(phases, 1):
            self._run_phase(f"set-up {number}/{len(phases)}: {name}", name, command)

    def _run_phase(self, title: str, name: str, command: list[str]) -> None:
        started = time.monotonic()
        self._show(f"{title} ...", end="" if self.out.isatty() else "\n")
        lines: list[str] = []
        with open(self.layout.log, "a", encoding="utf-8") as log:
            log.write(f"\n== {name}: {' '.join(command)}\n")
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=self.environment,
                cwd=self.layout.root,
                pass_fds=(self.guard,),  # an orphan keeps the guard: no second set-up beside it
            )
            try:
                self._follow(process, title, started, lines, log.write)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if process.returncode != 0:
            if self.out.isatty():
                self._show("")
            raise explain(name, lines, self.layout.log)
        self._show(f"{title}, {time.monotonic() - started:.0f} s", overwrite=True)

    def _follow(self, process, title: str, started: float, lines: list[str], write: Callable[[str], object]) -> None:
        """Copies the output to the log; on a terminal, shows how many packages have been looked at."""
        seen = 0
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            write(line)
            seen += line.startswith(("Collecting ", "Requirement already satisfied"))
            if self.out.isatty():
                doing = "installing" if line.startswith("Installing collected") else f"{seen} packages"
                seconds = time.monotonic() - started
                self._show(f"{title} ... {doing}, {seconds:.0f} s", end="", overwrite=True)
        process.wait()

    def _show(self, text: str, end: str = "\n", overwrite: bool = False) -> None:
        start = "\r\033[K" if overwrite and self.out.isatty() else ""
        self.out.write(start + text + end)
        self.out.flush()


def set_up(layout: Layout, out=sys.stdout) -> None:
    """Makes `.venv` unless it is complete. Raises SetupError; `.venv` then holds nothing but the log."""
    with open(layout.lock, encoding="utf-8") as guard:  # two makes at once: the second waits for the first
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another set-up is active here; waiting for it", file=out, flush=True)
            fcntl.flock(guard, fcntl.LOCK_EX)
        if is_complete(layout):
            return
        update = can_be_updated(layout)
        check_machine(layout, UPDATE_GB if update else NEEDED_GB)
        started = time.monotonic()
        if update:
            layout.stamp.unlink()
        else:
            if layout.venv.exists():
                print(f"set-up: removing the old or unfinished {layout.venv}", file=out, flush=True)
            empty(layout.venv)
            layout.venv.mkdir(exist_ok=True)
        layout.log.write_text(f"python {sys.version}\n")
        try:
            Installer(layout, guard.fileno(), out).run(update)
        except BaseException:  # Ctrl-C too
            empty(layout.venv, keep=[layout.log.name])
            raise
        unfinished = layout.stamp.with_suffix(".new")
        unfinished.write_text(expected_stamp(layout))
        unfinished.replace(layout.stamp)
        print(f"set-up done in {time.monotonic() - started:.0f} s: {layout.venv}", file=out, flush=True)


def main() -> int:
    try:
        set_up(Layout(ROOT))
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"set-up failed: {explain('files', [str(error)], error.filename)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("set-up interrupted; the same command begins it again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

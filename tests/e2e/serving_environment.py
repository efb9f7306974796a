"""A Python environment for Paddle Serving, made once and kept: its packages do not fit the toolkit's."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PYTHONS = ("3.9", "3.11")  # what requirements.txt is written for
_NO_INDEX = re.compile(r"NewConnectionError|Max retries exceeded|name resolution|Network is unreachable|timed out")


def find_python() -> tuple[Path, str] | None:
    """A Python that can make environments, and its version, of those that Paddle Serving installs on."""
    for version in PYTHONS:
        candidates = [sys.executable, f"python{version}"]
        if shutil.which("pyenv"):
            prefix = subprocess.run(["pyenv", "prefix", version], capture_output=True, text=True).stdout.strip()
            candidates.append(f"{prefix}/bin/python")
        for candidate in candidates:
            code = "import sys, venv, ensurepip; print(sys.executable); print('%d.%d' % sys.version_info[:2])"
            try:
                done = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
            except OSError:
                continue
            if done.returncode == 0 and done.stdout.split("\n")[1] == version:
                return Path(done.stdout.split("\n")[0]), version
    return None


def serving_python(requirements: Path) -> Path:
    """The Python of an environment with these requirements; skips where none can be made."""
    found = find_python()
    if found is None:
        pytest.skip(f"Paddle Serving needs Python {' or '.join(PYTHONS)}, and none was found")
    python, version = found
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paddle_ernie_tiny"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"paddle-serving-{version}-{digest}"
    done = folder / "complete"
    with open(cache / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([python, "-m", "venv", folder], check=True)
            install = [folder / "bin" / "pip", "install", "--no-deps", "-r", requirements]
            result = subprocess.run(install, capture_output=True, text=True)
            output = result.stdout + result.stderr
            if result.returncode != 0 and _NO_INDEX.search(output):
                pytest.skip("the package index cannot be reached")
            assert result.returncode == 0, output[-3000:]
            done.write_text("")
    return folder / "bin" / "python"

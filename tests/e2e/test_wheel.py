"""The wheel holds the whole package, with its types, and works where it is unpacked."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def unpacked(project_root, tmp_path_factory) -> Path:
    """The content of a wheel that was built from a copy of the sources."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(project_root / name, source)
    package = project_root / "paddle_ernie_tiny"
    shutil.copytree(package, source / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, "."]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "content")
    return folder / "content"


def test_every_file_of_the_package_is_in_the_wheel(unpacked, project_root):
    def files(package: Path) -> set[Path]:
        found = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}
        return {path for path in found if path.suffix != ".pyc"}

    held = files(unpacked / "paddle_ernie_tiny")
    assert held == files(project_root / "paddle_ernie_tiny")
    assert {Path("py.typed"), Path("__init__.pyi"), Path("config/tasks.yaml")} <= held


def test_nothing_else_is_in_the_wheel(unpacked):
    package, metadata = sorted(unpacked.iterdir())
    assert package.name == "paddle_ernie_tiny" and metadata.suffix == ".dist-info"
    assert "ernie-tiny = paddle_ernie_tiny.cli:main" in (metadata / "entry_points.txt").read_text(encoding="utf-8")


def test_the_unpacked_wheel_works(unpacked, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    code = "import paddle_ernie_tiny as et; print(et.__file__); print(et.load_config)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(unpacked))

"""What requirements.lock and setup.py hold: every version pinned, closed, and fitting on every Python."""

import importlib.metadata
import re
import runpy
import sys
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12")


@pytest.fixture(scope="module")
def metadata() -> dict:
    """What setup.py passes to setuptools."""
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", seen.update)
        runpy.run_path(str(ROOT / "setup.py"))
    return seen


@pytest.fixture(scope="module")
def lines() -> list[str]:
    text = (ROOT / "requirements.lock").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def locked(lines: list[str], python: str) -> dict[str, str]:
    """name -> version of what the lock installs on a Python; fails where a name comes twice."""
    versions = {}
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or marker.evaluate({"python_version": python, "python_full_version": f"{python}.5"}):
            name = canonicalize_name(requirement.name)
            assert name not in versions, f"{name} twice on Python {python}"
            versions[name] = str(requirement.specifier).removeprefix("==")
    return versions


class TestLock:
    def test_every_line_pins_one_version(self, lines):
        assert len(lines) > 100
        for line in lines:
            assert re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+( ; python_full_version [<>=]+ '3\.1\d(\.\*)?')?", line)

    @pytest.mark.parametrize("python", PYTHONS)
    def test_the_lock_satisfies_setup_py(self, lines, metadata, python):
        versions = locked(lines, python)
        extras = metadata["extras_require"]
        asked = metadata["install_requires"] + extras["cpu"] + extras["serving"] + extras["dev"]
        for requirement in map(Requirement, asked):
            version = versions.get(canonicalize_name(requirement.name))
            assert version, f"{requirement} is not in requirements.lock: make lock"
            assert requirement.specifier.contains(version), f"{requirement}: locked {version}: make lock"

    @pytest.mark.parametrize("python", PYTHONS)
    def test_the_lock_holds_what_building_needs(self, lines, python):
        text = (ROOT / "requirements.in").read_text()
        names = re.findall(r"^[a-z][a-z0-9-]*", text, flags=re.MULTILINE)
        assert {"setuptools", "wheel"} <= set(names) <= set(locked(lines, python))

    def test_the_lock_is_closed(self, lines):
        """What the installed packages require is locked too."""
        versions = locked(lines, f"{sys.version_info[0]}.{sys.version_info[1]}")
        for name in versions:
            try:
                required = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue
            for requirement in map(Requirement, required):
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    assert canonicalize_name(requirement.name) in versions, f"{name} requires {requirement}"

    def test_either_paddle_satisfies_the_toolkit(self, metadata):
        extras = metadata["extras_require"]
        serving = {"serving", "serving-onnx", "serving-openvino"}
        assert set(extras) == {"cpu", "gpu", "onnx", "bench", "dev", *serving, "evaluate"}
        assert not [line for line in metadata["install_requires"] if line.startswith("paddle")]
        cpu, gpu = Requirement(extras["cpu"][0]), Requirement(extras["gpu"][0])
        assert (cpu.name, gpu.name) == ("paddlepaddle", "paddlepaddle-gpu")
        assert cpu.specifier == gpu.specifier
        assert extras["cpu"][1:] == extras["gpu"][1:]
        assert extras["serving"] == [extras["cpu"][0], *extras["evaluate"]], "Paddle, scores, nothing of the training"
        for extra, engine in (("serving-onnx", "onnxruntime"), ("serving-openvino", "openvino")):
            assert [Requirement(line).name for line in extras[extra]] == [engine], "and no Paddle"

    def test_what_serves_needs_nothing_of_the_training(self, metadata):
        """The base requirements leave NumPy 2 open; what PaddleNLP cannot have is bound where PaddleNLP is."""
        base = {canonicalize_name(r.name): r.specifier for r in map(Requirement, metadata["install_requires"])}
        assert {"psutil", "pyyaml", "pydantic", "numpy", "tokenizers", "uvicorn"} <= set(base)
        assert not {"paddlenlp", "datasets", "visualdl", "tqdm", "matplotlib"} & set(base)
        assert not {"scikit-learn", "scipy", "seqeval"} & set(base), "predict and serve compute no scores"
        assert "jinja2" in base, "quantize and onnx write a model card, and both run where a bundle is served"
        assert base["numpy"].contains("2.3.0") and base["numpy"].contains("1.26.4")
        assert base["uvicorn"].contains("0.34.0") and not base["uvicorn"].contains("1.0.0"), "its class is subclassed"
        assert not base["pydantic"].contains("3.0.0")
        for extra in ("cpu", "gpu"):
            bounds = [r for r in map(Requirement, metadata["extras_require"][extra]) if r.name == "numpy"]
            assert [str(bound.specifier) for bound in bounds] == ["<2"]
        assert not [line for line in metadata["extras_require"]["serving"] if line.startswith("numpy")]

    def test_developers_get_every_tool_that_make_calls(self, metadata):
        tools = {canonicalize_name(Requirement(line).name) for line in metadata["extras_require"]["dev"]}
        assert {"pytest", "hypothesis", "httpx", "schemathesis", "ruff", "mypy", "pre-commit"} <= tools
        assert {"types-pyyaml", "types-psutil", "types-tqdm"} <= tools, "the types that mypy reads"

    def test_the_command_is_the_package_s(self, metadata):
        assert metadata["entry_points"] == {"console_scripts": ["ernie-tiny = paddle_ernie_tiny.cli:main"]}
        assert metadata["python_requires"] == ">=3.10,<3.13"

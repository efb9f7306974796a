"""Process settings before Paddle is imported, the tiers of the tests, and what several test folders share."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest

from paddle_ernie_tiny.machine import cpu_cores, tune_process

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # workers side by side share the cores, as do the commands they start
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpu_cores() // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))))
tune_process()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a job that a shell started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # commands that tests interrupt would inherit it

ROOT = Path(__file__).resolve().parents[1]
TIERS = ("unit", "slow", "e2e")  # in the order in which one process runs them: a broken unit should fail first
# The tier of a test is the one that it is marked with; else that of the first line here that its path starts with.
TIER_OF_PATH = {
    "e2e/": "e2e",
    "deploy/test_onnx": "slow",
    "deploy/test_quantize": "slow",
    "deploy/test_server": "slow",
    "": "unit",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Gives each test its tier, before `-m` selects by it, and sorts by tier."""
    for item in items:
        if not any(item.get_closest_marker(tier) for tier in TIERS):
            path = item.path.relative_to(ROOT / "tests").as_posix()
            item.add_marker(next(tier for start, tier in TIER_OF_PATH.items() if path.startswith(start)))
    items.sort(key=lambda item: next(place for place, tier in enumerate(TIERS) if item.get_closest_marker(tier)))


def pytest_make_parametrize_id(config, val, argname):
    """Bytes have no part in a test's name: they may hold a time of day, and workers must collect the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


def _real_data() -> Path | None:
    """The folder that ERNIE_TINY_REAL_DATA names, or one beside the checkout with the same content."""
    named = os.environ.get("ERNIE_TINY_REAL_DATA")
    folders = [Path(named)] if named else sorted(ROOT.parent.iterdir())
    return next((folder for folder in folders if os.path.isdir(folder / "data" / "chnsenticorp")), None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Public data sets (data/) and a teacher (models/); tests that need them skip without."""
    folder = _real_data()
    if folder is None:
        pytest.skip("real data and a real teacher are not here: ERNIE_TINY_REAL_DATA names no folder with them")
    return folder


@pytest.fixture(scope="session")
def torch_interpreter() -> str:
    """A Python with torch and transformers: ERNIE_TINY_TORCH_PYTHON names one, or this one has them."""
    named = os.environ.get("ERNIE_TINY_TORCH_PYTHON")
    if named:
        return named
    if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        pytest.skip("torch and transformers are not here: ERNIE_TINY_TORCH_PYTHON names no Python that has them")
    return sys.executable

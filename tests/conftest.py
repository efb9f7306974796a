"""Process settings before Paddle is imported, and what several test folders share."""

from pathlib import Path

import pytest

from paddle_ernie_tiny.runtime import tune_process

tune_process()

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items):
    """Whole runs last: a broken unit should fail first."""
    items.sort(key=lambda item: "e2e" in str(item.path))


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and a real teacher beside the checkout; tests that need them skip without."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with real data and a real teacher is not here")
    return SHARED

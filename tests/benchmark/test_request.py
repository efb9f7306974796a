"""The request of a benchmark: its options, its defaults, and that it stays light."""

import subprocess
import sys
from dataclasses import fields

import pytest

from paddle_ernie_tiny.benchmark.request import BenchRequest


def test_every_field_but_the_texts_of_a_caller_is_an_option():
    assert [field.name for field in fields(BenchRequest) if not field.metadata.get("help")] == ["texts"]
    with pytest.raises(TypeError, match="models"):
        BenchRequest()


def test_requests_do_not_share_their_lists():
    first = BenchRequest(["bert-base"])
    first.batches.append(32)
    assert BenchRequest(["bert-base"]).batches == [1]


def test_the_request_imports_nothing_heavy():
    code = (
        "import sys, paddle_ernie_tiny.benchmark.request; "
        "bad = [m for m in ('numpy', 'paddle', 'pydantic', 'psutil') if m in sys.modules]; "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""The request of a benchmark: lists as they are typed, defaults, and that it stays light."""

import subprocess
import sys
from dataclasses import fields

import pytest

from paddle_ernie_tiny.benchmark.request import BenchRequest, listed
from paddle_ernie_tiny.errors import InputError


def test_lists_are_typed_with_commas():
    assert listed("1,32", "--batch", int) == [1, 32]
    assert listed("fp32, int8,", "--precision", str) == ["fp32", "int8"]
    with pytest.raises(InputError, match="--batch: not a list of numbers: '1,x'"):
        listed("1,x", "--batch", int)


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

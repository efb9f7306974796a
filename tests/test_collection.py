"""Workers side by side run only what each of them collected under the same names."""

import gzip

import pytest

from tests.data.files_as_they_are import zipped


@pytest.mark.parametrize("content", [gzip.compress(b"holds the time of day"), b"plain"])
def test_bytes_have_no_part_in_a_test_s_name(request, content):
    assert request.node.callspec.id in ("content0", "content1")


def test_an_archive_of_the_tests_holds_no_time_of_day():
    assert zipped("text")[4:8] == bytes(4)  # RFC 1952, MTIME

"""What the system or a library refuses becomes a message with path and remedy."""

import errno
import os

import numpy as np
import pytest

from paddle_ernie_tiny.errors import ErnieTinyError, InputError, Interrupted, explained
from paddle_ernie_tiny.files import at, require_folder, write_text


class Foreign(Exception):
    """Stands for a library's own exception, such as that of safetensors."""


@pytest.mark.parametrize("number, code, what, remedy", [
    (errno.ENOSPC, 1, "the disk is full", "make room"),
    (errno.EDQUOT, 1, "quota", "make room"),
    (errno.EFBIG, 1, "larger than is allowed", "ulimit -f"),
    (errno.EMFILE, 1, "too many open files", "ulimit -n"),
    (errno.EIO, 1, "the disk reports an error", "check the disk"),
    (errno.EROFS, 2, "read-only", "another place"),
    (errno.EACCES, 2, "no permission", "permissions"),
    (errno.ENOENT, 2, "no such file or folder", "check the path"),
    (errno.ENOTDIR, 2, "a part of the path is a file", "check the path"),
    (errno.EXDEV, 1, os.strerror(errno.EXDEV), "check the path"),
])  # fmt: skip
def test_what_the_system_refuses_has_path_and_remedy(number, code, what, remedy):
    found = explained(OSError(number, os.strerror(number), "/runs/x"))
    assert (found.exit_code, found.where) == (code, "/runs/x") and what in found.what and remedy in found.remedy


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),  # of a write to an open file
    Foreign('Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })'),
    Foreign("No space left on device (os error 28)"),
])  # fmt: skip
def test_a_full_disk_is_known_from_every_library_and_named(error):
    with pytest.raises(OSError) as raised, at("/runs/x"):
        raise error
    assert str(explained(raised.value)).startswith("/runs/x: the disk is full\n  remedy: make room")


def test_a_place_is_not_put_on_what_has_one_or_is_no_refusal():
    with pytest.raises(FileNotFoundError, match="missing.txt"), at("/runs/x"):
        open("missing.txt").close()
    with pytest.raises(KeyError), at("/runs/x"):
        raise KeyError("a")
    with pytest.raises(InputError, match="^wrong: os error 28$"), at("/runs/x"):
        raise InputError("wrong: os error 28")


def test_used_up_memory_is_explained_whoever_found_it():
    import paddle

    for use_up in (lambda: np.zeros(1 << 60, np.uint8), lambda: paddle.empty([1 << 50])):
        with pytest.raises(MemoryError) as raised:
            use_up()
        found = explained(raised.value)
        assert found.exit_code == 1 and "the memory is used up" in found.what and "batch" in found.remedy
    gpu = RuntimeError("\n(ResourceExhausted) Out of memory error on GPU 0. Cannot allocate 2GB")
    assert "the memory is used up" in explained(gpu).what


def test_what_is_not_known_is_named_and_the_toolkits_own_errors_stay():
    found = explained(RuntimeError("boom"))
    assert found.what == "RuntimeError: boom" and found.exit_code == 1
    for error in (InputError("a"), Interrupted(), ErnieTinyError("b")):
        assert explained(error) is error


def test_a_full_device_is_named_and_a_place_is_refused_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(OSError) as raised:
        write_text("/dev/full", "a")
    assert explained(raised.value).where == "/dev/full"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="this is a file") as refused:
        require_folder(tmp_path / "file" / "new" / "folder")
    assert refused.value.where == str(tmp_path / "file")
    require_folder(tmp_path / "new" / "folder")
    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as one who may write anywhere
    with pytest.raises(InputError, match="no permission to write there"):
        require_folder(tmp_path / "new" / "folder")

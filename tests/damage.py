"""What happens to files on disks: each function damages one; `DAMAGES` names them for parametrised tests."""

from pathlib import Path


def flip(file: Path) -> None:
    """One byte is another one."""
    content = bytearray(file.read_bytes())
    content[len(content) * 6 // 10] ^= 0x41
    file.write_bytes(content)


def halve(file: Path) -> None:
    """The second half is not there."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    """There are no bytes."""
    file.write_bytes(b"")


def delete(file: Path) -> None:
    """There is no file."""
    file.unlink()


DAMAGES = [flip, halve, empty, delete]

"""What went wrong in set-up, told in one message: what, where, remedy."""

from __future__ import annotations

import re
from pathlib import Path

DISK = re.compile(r"No space left on device|Disk quota exceeded|Errno 28\b|Errno 122\b")
NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|Max retries exceeded|Name or service not known|ProxyError"
    r"|Temporary failure in name resolution|Network is unreachable|Connection (?:refused|reset|aborted)"
    r"|Read timed out|ReadTimeout|SSLError|ProtocolError|IncompleteRead|RemoteDisconnected"
)
# Under a constraint, pip reports a version that it cannot get as a conflict; a lock has no conflicts.
NO_MATCH = re.compile(r"No matching distribution found for (\S+)|The user requested \(constraint\) (\S+)")
# pip prints these after the cause, or beside it.
NOISE = re.compile(
    r"^\s*($|\[notice\]|note:|hint:|╰─>|\[end of output\]|WARNING: Retrying|ERROR: ResolutionImp)", re.IGNORECASE
)


class SetupError(Exception):
    """Set-up cannot go on; the message names what, where and the remedy."""

    def __init__(self, what: str, where: str | Path | None = None, remedy: str | None = None):
        parts = [what]
        if where:
            parts.append(f"  where: {where}")
        if remedy:
            parts.append(f"  remedy: {remedy}")
        super().__init__("\n".join(parts))


def last_meaningful(lines: list[str]) -> str:
    """The last line that states a cause: pip's last ERROR, else the last line that says something."""
    said = [line.strip() for line in lines if not NOISE.search(line)]
    errors = [line for line in said if line.startswith(("ERROR:", "error:"))]
    return (errors or said or ["(no output)"])[-1]


def explain(phase: str, lines: list[str], log: str | Path | None) -> SetupError:
    """The cause of a failed phase, told apart from its output: disk, network, no matching build, other."""
    text = "\n".join(lines)
    again = "then the same command again"
    said = last_meaningful(lines)
    missing = NO_MATCH.search(text)
    index_answered = missing and re.search(r"\(from versions: (?!none)", text)
    unreached = [line.strip() for line in lines if NETWORK.search(line)]
    if DISK.search(text):
        what = "the disk is full"
        remedy = f"make room (about 4 GB beside this folder, 1 GB in the temporary folder), {again}"
    elif unreached and not index_answered:
        what = "the package index could not be reached"
        said = unreached[-1]
        remedy = f"check the network, the proxy (HTTPS_PROXY) and pip's index (pip config list), {again}"
    elif missing:
        what = f"the package index has no {missing.group(1) or missing.group(2)} for this machine"
        remedy = (
            "the lock needs 64-bit x86 Linux with glibc and an index that mirrors PyPI; "
            f"check pip's index (pip config list; PIP_NO_INDEX), {again}"
        )
    else:
        what, remedy = "an installation step failed", f"read the log, repair the cause, {again}"
    return SetupError(f"{what} ({phase})\n  said: {said}", where=log, remedy=remedy)

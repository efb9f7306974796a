"""Connections never use up the open files, and none can keep the server waiting for ever."""

import logging
import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from paddle_ernie_tiny.deploy.server import connections
from paddle_ernie_tiny.deploy.server.connections import connections_possible
from paddle_ernie_tiny.errors import InputError
from tests.browser import until
from tests.serving import serving

BESIDE = 20 + 32 + 4 * 16 + 16  # files that are open, spare connections, bursts under way, files opened later


@pytest.mark.parametrize(
    ("soft", "hard", "possible", "raised_to"),
    [
        (4096, 4096, 2048, None),
        (1024, 8192, 2048, 2048 + BESIDE),
        (1024, resource.RLIM_INFINITY, 2048, 2048 + BESIDE),
        (1024, 1024, 1024 - BESIDE, 1024),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 2048, None),
    ],
)
def test_the_soft_limit_of_open_files_is_raised_as_far_as_needed(monkeypatch, caplog, soft, hard, possible, raised_to):
    raised = []
    monkeypatch.setattr(connections.psutil, "Process", lambda: SimpleNamespace(num_fds=lambda: 20))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: raised.append(limits[0]))
    with caplog.at_level(logging.WARNING):
        assert connections_possible(2048) == possible
    assert raised == ([] if raised_to is None else [raised_to])
    assert [record.message for record in caplog.records] == (["fewer_connections"] if possible < 2048 else [])


def test_too_few_open_files_are_refused(monkeypatch):
    monkeypatch.setattr(connections.psutil, "Process", lambda: SimpleNamespace(num_fds=lambda: 20))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (BESIDE, BESIDE))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: None)
    with pytest.raises(InputError, match="ulimit -n: 132 files may be open, too few") as refused:
        connections_possible(2048)
    assert str(2048 + BESIDE) in refused.value.remedy


def test_idle_connections_beyond_the_limit_of_open_files(bundles, tmp_path):
    limits = ["--idle-seconds", "2"]
    with serving(tmp_path, bundles["classification"], *limits, open_files=(200, 220)) as server, ExitStack() as stack:
        (warning,) = [entry for entry in server.logs() if entry["event"] == "fewer_connections"]
        assert warning["asked"] == 2048 and 0 < warning["possible"] < 220 and warning["open_files"] == 220
        for _ in range(400):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        folder = Path(f"/proc/{server.process.pid}/fd")
        until(lambda: len(list(folder.iterdir())) <= warning["possible"] + 32 + 20, "too many are kept open")
        until(lambda: _alive(server) and _metric(server, "ernie_tiny_connections") == 1, "idle ones are not closed")
        assert _metric(server, "ernie_tiny_connections_dropped_total") > 100
        assert len(server.log_file.read_bytes()) < 10_000, "no error for each connection"
        assert not (tmp_path / "server.err").read_bytes()


def _alive(server):
    try:
        return server.ask("/healthz").status == 200
    except OSError:
        return False


def _metric(server, name):
    lines = server.ask("/metrics").body.decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


@pytest.fixture(scope="module")
def impatient(bundles, tmp_path_factory):
    limits = ["--idle-seconds", "1", "--body-seconds", "0.5", "--request-seconds", "0.5"]
    with serving(tmp_path_factory.mktemp("impatient"), bundles["classification"], *limits) as running:
        yield running
        assert not any("traceback" in entry for entry in running.logs())


GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
UNREAD = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "then", "statuses"),
    [
        (b"", b"", []),
        (b"GET /hea", b"", [b"408"]),
        (b"GET /healthz HTTP/1.1\r\nX: ", b"a", [b"408"]),  # a byte now and then does not prolong it
        (GET, b"", [b"200"]),
        (UNREAD, b"a", [b"404", b"408"]),  # the rest of a body that was answered already
    ],
)
def test_a_client_that_does_not_go_on_is_closed(impatient, first, then, statuses):
    start, answer = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", impatient.port)) as connection:
        connection.sendall(first)
        connection.settimeout(0.2)
        while time.monotonic() - start < 10:
            try:
                connection.send(then)
                if not (block := connection.recv(65536)):
                    break
                answer += block
            except TimeoutError:
                continue
            except OSError:
                break
    assert 0.8 < time.monotonic() - start < 4
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == statuses


def test_a_client_that_does_not_take_its_answers_is_closed(impatient):
    before = _metric(impatient, "ernie_tiny_connections")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", impatient.port))
        connection.setblocking(False)
        for _ in range(20):  # more answers than the system's buffers hold
            try:
                connection.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
            except BlockingIOError:
                break
        assert _metric(impatient, "ernie_tiny_connections") == before + 1
        until(lambda: _metric(impatient, "ernie_tiny_connections") == before, "it is kept for ever")

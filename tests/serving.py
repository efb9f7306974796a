"""A real server process for tests, and a bare way to talk to it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from tests.e2e.conftest import command


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


@dataclass
class RunningServer:
    process: subprocess.Popen
    port: int
    log_file: Path

    def logs(self) -> list[dict]:
        whole, _, _ = self.log_file.read_text(encoding="utf-8").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def answer_schemathesis(self, folder: Path) -> set[tuple[str, int]]:
        """(path, status) of all requests; no 5xx, no undocumented status, content type or shape, within the schema and
        beside it."""
        tool = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
        assert tool, "the dev extra brings schemathesis"
        command = [tool, "run", f"http://127.0.0.1:{self.port}/openapi.json", "--max-examples", "10", "--seed", "1"]
        command += ["--checks", "all", "--no-color", "--generation-deterministic"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
        answered = {(entry["path"], entry["status"]) for entry in self.logs() if entry["event"] == "request"}
        assert not any(status >= 500 for _, status in answered)
        return answered

    def ask(self, path="/v1/predict", body=None, method=None, **headers) -> Reply:
        """`body`: bytes as they are, anything else as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body, ensure_ascii=False).encode()
        given = {"Content-Type": "application/json"} if body is not None else {}
        given |= {key.replace("_", "-"): value for key, value in headers.items()}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, given)
            return _reply(connection.getresponse())
        finally:
            connection.close()

    def raw(self, *pieces: bytes, pause: float = 0, ends: bool = False) -> bytes:
        """Sends bytes as they are, `pause` seconds apart, then perhaps ends its side; reads until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            for piece in pieces:
                try:
                    connection.sendall(piece)
                except OSError:  # the server has seen enough
                    break
                time.sleep(pause)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            with suppress(ConnectionResetError):
                while block := connection.recv(65536):
                    answer += block
            return answer

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def _reply(response) -> Reply:
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@contextmanager
def serving(folder: Path, *arguments, blocked=(), open_files=None, **environment):
    """`ernie-tiny serve ARGUMENTS` on a free port; ready when the block is entered. open_files: soft and hard limit."""
    log_file = folder / "server.log"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    with open(log_file, "w", encoding="utf-8") as log, open(folder / "server.err", "w", encoding="utf-8") as errors:
        line = command("serve", *arguments, "--port", "0", blocked=blocked)
        if open_files:
            line = ["sh", "-c", f'ulimit -Sn {open_files[0]} && ulimit -Hn {open_files[1]} && exec "$@"', "sh", *line]
        process = subprocess.Popen(line, stdout=log, stderr=errors, env=environment)
    server = RunningServer(process, 0, log_file)
    try:
        while not server.port:
            assert process.poll() is None, (folder / "server.err").read_text(encoding="utf-8")
            for entry in server.logs():
                if entry["event"] == "listening":
                    server.port = int(entry["url"].rsplit(":", 1)[1])
            time.sleep(0.02)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()

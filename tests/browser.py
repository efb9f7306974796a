"""Headless Chromium over chromedriver's WebDriver protocol: JSON over HTTP, so no client library is needed."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id, from the WebDriver standard


def missing() -> str | None:
    """Why no browser can be driven here, or None."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not found" if absent else None


@contextmanager
def browser(profile: Path, size: tuple[int, int] = (1100, 1000), dark: bool = False):
    """A Page in a new browser with an empty profile."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
    arguments += ["--blink-settings=preferredColorScheme=0"] if dark else []
    options = {"binary": shutil.which("chromium"), "args": arguments}
    wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    driver = subprocess.Popen([shutil.which("chromedriver"), f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        root = f"http://127.0.0.1:{port}"
        until(lambda: _answers(root), "chromedriver does not start")
        session = _call(f"{root}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            yield Page(f"{root}/session/{session}")
        finally:
            _call(f"{root}/session/{session}", method="DELETE")
    finally:
        driver.terminate()
        driver.wait()


class Page:
    """What a user sees and does."""

    def __init__(self, session: str):
        self._session = session

    def open(self, url: str) -> None:
        _call(f"{self._session}/url", {"url": url})

    def run(self, script: str):
        """The value that a piece of JavaScript returns."""
        return _call(f"{self._session}/execute/sync", {"script": script, "args": []})

    def click(self, selector: str) -> None:
        _call(f"{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        _call(f"{self._find(selector)}/value", {"text": text})

    def text(self, selector: str = "body") -> str:
        """Visible text."""
        return _call(f"{self._find(selector)}/text")

    def complaints(self) -> list[str]:
        """What stands in the console, such as breaches of the content security policy."""
        return [entry["message"] for entry in _call(f"{self._session}/se/log", {"type": "browser"})]

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(_call(f"{self._session}/screenshot")))

    def _find(self, selector: str) -> str:
        found = _call(f"{self._session}/element", {"using": "css selector", "value": selector})
        return f"{self._session}/element/{found[ELEMENT]}"


def until(condition, otherwise: str, seconds: float = 30):
    """Waits for a condition and returns its value; AssertionError when it does not come."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
    return value


def _answers(root: str) -> bool:
    try:
        return _call(f"{root}/status")["ready"]
    except OSError:
        return False


def _call(url: str, values: dict | None = None, method: str | None = None):
    body = None if values is None else json.dumps(values).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from None

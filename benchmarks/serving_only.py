"""Does a bundle serve where only the `serving` extra is installed, and how long does the first answer take?

A throw-away environment is made with this checkout and that extra (about 200 MB to download); there `predict`,
`evaluate` and `serve` run on the bundle alone. The time of the first answer is from the start of the process to the
end of the first response, several times over; what is not yet in the page cache makes the first one slower.

    python benchmarks/serving_only.py BUNDLE --file test.tsv --text text_a --label label --json result.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRAINING = ("paddlenlp", "datasets", "visualdl")  # what must not be needed


def main() -> None:
    """Parses the arguments, measures, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--file", type=Path, required=True, help="labelled tsv file with a header")
    parser.add_argument("--text", required=True, help="its column of texts")
    parser.add_argument("--label", required=True, help="its column of labels")
    parser.add_argument("--starts", type=int, default=5, help="of the server (default: %(default)s)")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(given, Path(folder))
    print(json.dumps(result, indent=1, ensure_ascii=False))
    given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(given: argparse.Namespace, folder: Path) -> dict:
    """Installs, runs the three verbs, and returns what they said."""
    venv.create(folder / "env", with_pip=True)
    python, program = folder / "env" / "bin" / "python", folder / "env" / "bin" / "ernie-tiny"
    lock = ROOT / "requirements.lock"
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", lock, f"{ROOT}[serving]"], check=True)
    installed = json.loads(output([python, "-m", "pip", "list", "--format", "json"]))
    versions = {entry["name"].lower(): entry["version"] for entry in installed}
    found = [name for name in TRAINING if name in versions]
    if found:
        raise RuntimeError(f"the serving extra brought {', '.join(found)}")
    bundle = given.bundle.resolve()
    header, first = given.file.read_text(encoding="utf-8").splitlines()[:2]
    text = first.split("\t")[header.split("\t").index(given.text)]
    rows = folder / "rows.txt"
    rows.write_text(text + "\n", encoding="utf-8")
    predicted = output([program, "predict", bundle, "--input", rows])
    columns = ["--text", given.text, "--label", given.label]
    evaluated = json.loads(output([program, "evaluate", bundle, given.file.resolve(), *columns]))
    seconds = [first_answer(program, bundle, text) for _ in range(given.starts)]
    return {
        "packages": len(versions),
        "versions": {name: versions[name] for name in ("paddlepaddle", "numpy", "tokenizers", "fastapi", "uvicorn")},
        "predict": json.loads(predicted.splitlines()[0]),
        "evaluate": evaluated,
        "seconds_to_first_answer": seconds,
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()},
    }


def output(command: list) -> str:
    """What the command prints; its errors pass through, and end this program."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd="/").stdout


def first_answer(program: Path, bundle: Path, text: str) -> float:
    """Seconds from the start of `serve` to the end of its first answer."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    body = json.dumps({"text": text}).encode()
    ask = urllib.request.Request(f"http://127.0.0.1:{port}/v1/predict", body, {"Content-Type": "application/json"})
    start = time.perf_counter()
    server = subprocess.Popen(
        [program, "serve", bundle, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
    )
    try:
        while server.poll() is None:
            try:
                with urllib.request.urlopen(ask, timeout=30) as response:
                    json.load(response)
                return round(time.perf_counter() - start, 2)
            except urllib.error.URLError:  # not listening yet
                time.sleep(0.02)
        raise RuntimeError(f"`ernie-tiny serve` ended with exit code {server.returncode}")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


if __name__ == "__main__":
    main()

"""Does a bundle serve where only one engine is installed, how large is that, and when does its first answer come?

For each engine a throw-away environment is made with this checkout and the extra that serves by it; there `predict` and
`serve` run on the bundle, which has to be compared in all of the engines. The labels of every row of the file must be
those of Paddle. The time of the first answer is from the start of the process to the end of the first response, several
times over; what is not yet in the page cache makes the first one slower.

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
EXTRAS = {"paddle": "serving", "onnxruntime": "serving-onnx", "openvino": "serving-openvino"}
NOT_NEEDED = {"paddlenlp", "datasets", "visualdl"}  # by any of them; and Paddle by itself alone


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
    header, *lines = [line.split("\t") for line in given.file.read_text(encoding="utf-8").splitlines()]
    text, label = header.index(given.text), header.index(given.label)
    texts, gold = [line[text] for line in lines], [line[label] for line in lines]
    result, answers = {}, {}
    for engine in EXTRAS:
        with tempfile.TemporaryDirectory() as folder:
            result[engine], answers[engine] = measure(engine, given.bundle.resolve(), texts, given.starts, Path(folder))
        result[engine]["labels_other_than_paddle's"] = sum(
            own != other for own, other in zip(answers[engine], answers["paddle"], strict=True)
        )
        result[engine]["accuracy"] = sum(a == b for a, b in zip(answers[engine], gold, strict=True)) / len(gold)
        print(engine, json.dumps(result[engine]), flush=True)
    result["machine"] = {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()}
    given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(engine: str, bundle: Path, texts: list[str], starts: int, folder: Path) -> tuple[dict, list[str]]:
    """Installs the extra, answers every text, and starts the server several times: the figures, and the labels."""
    venv.create(folder / "env", with_pip=True)
    python, program = folder / "env" / "bin" / "python", folder / "env" / "bin" / "ernie-tiny"
    locked = ["-c", ROOT / "requirements.lock"] if engine == "paddle" else []  # the others take any NumPy
    before = megabytes(folder / "env")
    subprocess.run([python, "-m", "pip", "install", "-q", *locked, f"{ROOT}[{EXTRAS[engine]}]"], check=True)
    installed = json.loads(output([python, "-m", "pip", "list", "--format", "json"]))
    versions = {entry["name"].lower(): entry["version"] for entry in installed}
    found = (NOT_NEEDED | ({"paddlepaddle"} if engine != "paddle" else set())) & set(versions)
    if found:
        raise RuntimeError(f"the extra {EXTRAS[engine]} brought {', '.join(found)}")
    rows = folder / "rows.txt"
    rows.write_text("\n".join(texts) + "\n", encoding="utf-8")
    how = ["--engine", engine]
    predicted = output([program, "predict", bundle, "--input", rows, *how]).splitlines()
    names = ("paddlepaddle", "onnxruntime", "openvino", "numpy", "tokenizers", "fastapi", "uvicorn")
    figures = {
        "extra": EXTRAS[engine],
        "environment_mb": megabytes(folder / "env"),
        "of_which_pip_mb": before,
        "packages": len(versions),
        "versions": {name: versions[name] for name in names if name in versions},
        "rows": len(texts),
        "seconds_to_first_answer": [first_answer(program, bundle, texts[0], how) for _ in range(starts)],
    }
    return figures, [json.loads(line)["label"] for line in predicted]


def megabytes(folder: Path) -> float:
    """Size of all files below a folder, in 1e6 bytes; compiled Python files are among them."""
    return round(sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir()) / 1e6, 1)


def output(command: list) -> str:
    """What a program prints; it sees nothing of this checkout."""
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout


def first_answer(program: Path, bundle: Path, text: str, how: list[str]) -> float:
    """Seconds from the start of `serve` to the end of its first answer."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    body = json.dumps({"text": text}).encode()
    ask = urllib.request.Request(f"http://127.0.0.1:{port}/v1/predict", body, {"Content-Type": "application/json"})
    start = time.perf_counter()
    server = subprocess.Popen(
        [program, "serve", bundle, "--port", str(port), *how],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
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

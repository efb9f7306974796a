"""Work on static graphs, in a process of its own.

`.pdmodel` needs `FLAGS_enable_pir_api=0` in the environment before Paddle is imported, and what is gated should be
what a fresh process sees. The child writes into a temporary folder, which its caller publishes or throws away.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from ..errors import ErnieTinyError, InputError
from .bundle import MANIFEST

RESULT = "result.json"


def run_child(module: str, request, out: Path, what: str, marker: str = MANIFEST) -> tuple[Path, dict, Path]:
    """Runs `python -m module FOLDER` with the request (a dataclass) as JSON on its standard input.

    Returns the temporary folder beside `out`, what the child left in its result.json, and the log file, which the
    caller removes when all went well. Raises InputError when `out` holds something else than such work (its
    `marker` file is missing), ErnieTinyError when the child fails; the folder is then gone.
    """
    if out.exists() and not (out / marker).is_file() and any(out.iterdir()):
        raise InputError(f"the folder is not empty and holds no {marker}", str(out), "choose another folder")
    temporary = out.with_name(out.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    child = subprocess.run(
        [sys.executable, "-m", module, str(temporary)],
        input=json.dumps(asdict(request)),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "FLAGS_enable_pir_api": "0"},
    )
    log = out.with_name(f"{out.name}.{what}.log")
    log.write_text(child.stdout + child.stderr, encoding="utf-8")
    result_file = temporary / RESULT
    if child.returncode != 0 or not result_file.is_file():
        last = (child.stderr.strip().splitlines() or ["no output"])[-1]
        shutil.rmtree(temporary)
        raise ErnieTinyError(f"the {what} process failed: {last}", str(log), "the log holds the whole output")
    result = json.loads(result_file.read_text(encoding="utf-8"))
    result_file.unlink()
    return temporary, result, log

"""Damaged and forged bundles, loaded and asked as `predict` and `serve` do."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bundles import bundles_in

from .generated import HOSTILE
from .harness import Outcome, Part
from .sandbox import sandboxes

FILES = ("model.pdmodel", "model.pdiparams", "tokenizer.json", "vocab.txt")
_DAMAGES = ("flip", "cut", "empty", "random", "delete", "another bundle's", "zeros")
_MUST_FIT = ("labels", "task_type", "max_length_tokens", "unit")
_SPECIAL = {  # of these keys: values of the right type that make no sense (True) or do (False)
    "labels": [([], True), (["a"], True), (["a", "b", "c"], True), (["a", "a"], True), (["", "b"], True)],
    "task_type": [("nonsense", True), ("", True), ("regression", True), ("token_classification", True)],
    "max_length_tokens": [(0, True), (-1, True), (1, True), (10**9, True), (30, False)],
    "precision": [("fp64", True), ("", True)],
    "format_version": [(2, True), (0, True)],
}
_RAW = {
    "empty": b"",
    "{}": b"{}",
    "[]": b"[]",
    "null": b"null",
    "a number": b"3",
    "a text": b'"x"',
    "not UTF-8": b'{"format_version": "\xff"}',
    "deep": b"[" * 200_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "huge number": b'{"format_version": ' + b"9" * 5000 + b"}",
    "NaN": b'{"format_version": NaN}',
}
_FORGED_FILES = {
    "a path upwards": {"../outside.txt": "0" * 64},
    "an absolute path": {"/etc/hostname": "0" * 64},
    "a NUL": {"a\0b": "0" * 64},
    "no name": {"": "0" * 64},
    "a name of 5,000": {"x" * 5000: "0" * 64},
    "a dot": {".": "0" * 64},
}
_REPLACED = ("folder", "fifo", "link to nothing", "link to itself", "link to /dev/zero")


class Bundles(Part):
    """A case is a kind of bundle and what was done to it."""

    name, unit, whole = "bundle", "bundles", 400
    bar = "400 bundles: no traceback or bare error, none over 5 s or 1 GB, no nonsense taken"

    def cases(self, count: int) -> list[dict[str, Any]]:
        """Those by hand first, in an order of the seed; then draws of damages and values."""
        made: list[dict[str, Any]] = [{"manifest is": name} for name in _RAW]
        made += [{"files": name} for name in _FORGED_FILES]
        made += [{"replace": file, "by": how} for file in (*FILES, "manifest.json") for how in _REPLACED]
        made += [{"key": key, "special": n} for key, values in _SPECIAL.items() for n in range(len(values))]
        made += [{"damage": how, "file": file, "signed": s} for how in _DAMAGES for file in FILES for s in (0, 1)]
        made += [{"beside": name} for name in ("evil.py", "sub/", "model.onnx")]
        random.Random(f"bundle {self.seed}").shuffle(made)
        return [made[n] if n < len(made) else {"draw": f"{self.seed}-{n}"} for n in range(count)]

    @contextmanager
    def opened(self) -> Iterator[None]:
        """One bundle of each kind of task, with random weights."""
        self.bundles = bundles_in(self.work / "bundles")
        with sandboxes(self.workers, __name__) as self.sandboxes:
            yield

    def attack(self, case: dict[str, Any]) -> Outcome:
        """Loads one forged copy in a sandbox, and asks it."""
        rng = random.Random(f"bundle {self.seed} {case['id']}")
        kind = rng.choice(list(self.bundles))
        folder = self.work / f"bundle-{case['id']}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.bundles[kind], folder)
        done, refuse = self._forge(folder, case, kind, rng)
        sandbox = self.sandboxes.get()
        try:
            outcome = sandbox.attempt(str(folder))
        finally:
            self.sandboxes.put(sandbox)
        if outcome.verdict == "accepted" and refuse:
            outcome = Outcome("nonsense", "taken", facts=outcome.facts)
        outcome.detail = f"{kind}, {done}: {outcome.detail}"[:500]
        if outcome.good:
            shutil.rmtree(folder)
        return outcome

    def _forge(self, folder: Path, case: dict[str, Any], kind: str, rng: random.Random) -> tuple[str, bool]:
        """(what was done to the bundle, whether it has to be refused)"""
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if "draw" in case:
            drawn: dict[str, Any] = {
                "damage": rng.choice(_DAMAGES),
                "file": rng.choice(FILES),
                "signed": rng.random() < 0.5,
            }
            case = drawn if rng.random() < 0.4 else {"key": rng.choice(list(manifest))}
        if "manifest is" in case:
            path.write_bytes(_RAW[case["manifest is"]])
            return f"manifest.json is {case['manifest is']}", True
        if "files" in case:
            manifest["files"].update(_FORGED_FILES[case["files"]])
        elif "replace" in case:
            _replace(folder / case["replace"], case["by"])
            return f"{case['replace']} is a {case['by']}", True
        elif "beside" in case:
            beside = folder / case["beside"]
            beside.mkdir() if case["beside"].endswith("/") else beside.write_text("x", encoding="utf-8")
            return f"{case['beside']} beside it", True
        elif "damage" in case:
            return self._damage(folder, case, kind, rng, manifest)
        else:
            return _set_key(path, manifest, case, rng)
        path.write_text(json.dumps(manifest), encoding="utf-8")
        return f"files with {case['files']}", True

    def _damage(
        self, folder: Path, case: dict[str, Any], kind: str, rng: random.Random, manifest: dict[str, Any]
    ) -> tuple[str, bool]:
        from paddle_ernie_tiny.files import sha256

        path, how = folder / case["file"], case["damage"]
        content = path.read_bytes()
        if how == "delete":
            path.unlink()
        elif how == "flip":
            place = rng.randrange(len(content))
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :])
        elif how == "another bundle's":
            other = next(name for name in self.bundles if name != kind)
            path.write_bytes((self.bundles[other] / case["file"]).read_bytes())
        else:
            new = {"cut": content[: rng.randrange(len(content))], "empty": b"", "zeros": b"\0" * len(content)}
            path.write_bytes(new.get(how, rng.randbytes(len(content))))
        same = path.is_file() and path.read_bytes() == content
        if case["signed"]:
            manifest["files"] = {name: sha256(folder / name) for name in manifest["files"] if (folder / name).is_file()}
            (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        what = f"{how} {case['file']}{', signed' if case['signed'] else ''}"
        return what, not case["signed"] and not same


def _replace(path: Path, how: str) -> None:
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to({"link to nothing": "/nonexistent", "link to itself": path.name}.get(how, "/dev/zero"))


def _set_key(path: Path, manifest: dict[str, Any], case: dict[str, Any], rng: random.Random) -> tuple[str, bool]:
    key = case["key"]
    before = manifest[key]
    if "special" in case:
        value, refuse = _SPECIAL[key][case["special"]]
        if key == "labels" and len(before) == len(value) == len(set(value)) and all(value):
            refuse = False
        if key == "task_type":
            refuse = value != before
    else:
        value = rng.choice(HOSTILE)
        right_type = isinstance(value, type(before)) and not isinstance(value, bool) or before is None and value is None
        refuse = not right_type or (key in (*_MUST_FIT, "files", "format_version") and value != before)
        if before is None and isinstance(value, dict if key == "quantization" else str):
            refuse = False
    if rng.random() < 0.2 and "special" not in case:
        manifest.pop(key)
        path.write_text(json.dumps(manifest), encoding="utf-8")
        return f"without {key}", key in (*_MUST_FIT[:3], "files", "format_version")
    manifest[key] = value
    try:
        text = json.dumps(manifest)
    except TypeError:
        text = json.dumps({**manifest, key: None})
        refuse = before is not None
    path.write_text(text, encoding="utf-8")
    return f"{key} = {str(value)[:60]!r}", refuse


def prepare(setup: None) -> Callable[[str], Outcome]:
    """In the sandbox: loads a bundle, asks it, and judges the answers."""
    from paddle_ernie_tiny.machine import import_paddle

    import_paddle()
    from paddle_ernie_tiny.deploy.predictor import Predictor

    texts = ["房间很宽敞", "x" * 3000, "💥 a", "服务不好"]

    def attempt(folder: str) -> Outcome:
        predictor = Predictor(folder)
        answers = predictor.predict(texts, texts[::-1] if predictor.manifest.pair else None)
        wrong = _wrong(answers)
        if len(answers) != len(texts):
            wrong = f"{len(answers)} answers to {len(texts)} texts"
        return Outcome("nonsense", wrong) if wrong else Outcome("accepted")

    return attempt


def _wrong(value: Any) -> str:
    """What is no number in an answer; "" if all are."""
    if hasattr(value, "__dict__"):
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return next(filter(None, map(_wrong, value)), "")
    return f"the answer holds {value}" if isinstance(value, float) and not math.isfinite(value) else ""

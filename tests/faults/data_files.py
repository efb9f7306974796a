"""Hostile data files: tables, tagged words, text of a corpus, and what `predict` reads."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from .generated import draw, edited
from .harness import Outcome, Part
from .sandbox import sandboxes

_ROWS = [("房间很宽敞，不过隔音太差", "negative"), ("早餐不错", "positive"), ("plain, with comma", "negative")] * 7
_TAGGED = "".join(f"{c} {t}\n" for c, t in zip("北京很大", ["B-LOC", "I-LOC", "O", "O"], strict=True)) + "\n"
BASES: dict[str, bytes] = {
    "tsv": ("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in _ROWS)).encode(),
    "csv": ("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in _ROWS)).encode(),
    "jsonl": "".join(json.dumps({"text": t, "label": n}, ensure_ascii=False) + "\n" for t, n in _ROWS).encode(),
    "conll": _TAGGED.encode() * 8,
    "corpus": "".join(f"{text}\n" for text, _ in _ROWS).encode(),
    "predict": "".join(f"{text}\n" for text, _ in _ROWS).encode(),
}


def by_hand(kind: str) -> dict[str, tuple[bytes, str]]:
    """(content, "same" rows as the base | "refuse" | "" for either) by name."""
    base, half = BASES[kind], len(BASES[kind]) // 2
    half = base.index(b"\n", half) + 1
    first = {"conll": "北"}.get(kind, "早").encode()
    separator = {"tsv": b"\t", "csv": b","}.get(kind, b" ")
    rng = random.Random(kind)
    made = {
        "empty": (b"", "refuse"),
        "one line end": (b"\n", "refuse"),
        "blanks": (b"   \n  \n", "refuse"),
        "NULs": (b"\0" * 100, "refuse"),
        "UTF-16": (base.decode().encode("utf-16"), "" if kind == "corpus" else "same"),
        "UTF-16 without mark": (base.decode().encode("utf-16-le"), "refuse"),
        "UTF-32": (base.decode().encode("utf-32"), "refuse"),
        "gzip": (b"\x1f\x8b\x08" + rng.randbytes(200), "refuse"),
        "random bytes": (rng.randbytes(4000), "refuse"),
        "CRLF": (base.replace(b"\n", b"\r\n"), "same"),
        "no last line end": (base.rstrip(b"\n"), "same"),
        "byte order mark": (b"\xef\xbb\xbf" + base, "same"),
        "CR": (base.replace(b"\n", b"\r"), ""),
        "LF CR": (base.replace(b"\n", b"\n\r"), ""),
        "U+2028": (base.replace(b"\n", "\u2028".encode()), ""),
        "vertical tab": (base.replace(b"\n", b"\x0b", 3), ""),
        "form feed": (base.replace(b"\n", b"\x0c", 3), ""),
        "next line": (base.replace(b"\n", "\x85".encode(), 3), ""),
        "cut in a character": (base[: base.index(first) + 1], "refuse"),
        "NUL inside": (base.replace(first, first + b"\0", 1), "refuse"),
        "escape inside": (
            base.replace(first, b"\x1b[31m" + first, 1),
            "",
        ),  # training data may hold them, see text_rule
        "control characters inside": (base.replace(first, b"\x01\x02" + first, 1), ""),
        "block of NULs": (base[:half] + b"\0" * 4096 + base[half:], "refuse"),
        "another encoding": (base + "早餐".encode("gb18030") + separator + b"positive\n", "refuse"),
        "latin-1": (base + b"caf\xe9" + separator + b"positive\n", "refuse"),
        "surrogate bytes": (base + b"\xed\xa0\x80" + separator + b"positive\n", "refuse"),
        "overlong bytes": (base + b"\xc0\x80" + separator + b"positive\n", "refuse"),
        "lone quote": (base[:half] + b'"' + base[half:], ""),
        "mark inside": (base[:half] + b"\xef\xbb\xbf" + base[half:], ""),
        "bidirectional": (base.replace(first, "\u202e".encode() + first, 1), ""),
        "giant field": (base + b"x" * 20_000_000 + separator + b"positive\n", ""),
        "many columns": (base + separator.join([b"x"] * 100_000) + b"\n", ""),
        "a million line ends": (base + b"\n" * 1_000_000, ""),
        "twice": (base + base, ""),
    }
    if kind in ("tsv", "csv", "jsonl"):
        made |= {
            "unknown label": (base.replace(b"positive", b"Positives", 1), "refuse"),
            "label of 5,000 digits": (base.replace(b"positive", b"9" * 5000, 1), "refuse"),
            "label of another alphabet": (base.replace(b"positive", "²".encode(), 1), "refuse"),
        }
    if kind in ("tsv", "csv"):
        made |= {
            "header alone": (base[: base.index(b"\n") + 1], "refuse"),
            "two columns of one name": (b"text" + separator + base, ""),
            "short row": (base + b"alone\n", "refuse"),
            "empty text": (base + separator + b"positive\n", "refuse"),
        }
    return made | ({"jsonl": _json, "conll": _conll}.get(kind, dict)())


def _json() -> dict[str, tuple[bytes, str]]:
    base, row = BASES["jsonl"], b'{"text": %s, "label": "positive"}\n'
    return {
        "100,000 brackets": (base + row % (b"[" * 100_000 + b"]" * 100_000), "refuse"),
        "open brackets": (base + b'{"text": ' + b"[" * 100_000, "refuse"),
        "open braces": (b'{"text": "a",\n' * 50_000, "refuse"),
        "array": (b'[{"text": "a", "label": "positive"}]', ""),
        "number as text": (base + row % b"5", ""),
        "list as text": (base + row % b'["a", "b"]', ""),  # keywords, which become one text
        "mapping as text": (base + row % b'{"a": 1}', "refuse"),
        "lone surrogate": (base + row % b'"\\ud800"', "refuse"),
        "escaped NUL": (base + row % b'"a\\u0000b"', "refuse"),
        "huge number": (base + b'{"text": "a", "label": ' + b"9" * 5000 + b"}\n", "refuse"),
        "infinite label": (base + b'{"text": "a", "label": 1e400}\n', "refuse"),
        "NaN label": (base + b'{"text": "a", "label": NaN}\n', "refuse"),
        "null label": (base + b'{"text": "a", "label": null}\n', "refuse"),
        "list as label": (base + b'{"text": "a", "label": ["positive", "negative"]}\n', "refuse"),
        "long string over lines": (
            b'{"text": "' + b"a" * 2_000_000 + b'",\n' + b"\n" * 900 + b'"label": "positive"}\n',
            "",
        ),
        "many long objects": ((b'{"x": [' + b"1,\n" * 990) * 30, "refuse"),
    }


def _conll() -> dict[str, tuple[bytes, str]]:
    base = BASES["conll"]
    return {
        "tags alone": (b"O\nO\n", "refuse"),
        "unknown tag": (base + "北 XXX\n".encode(), "refuse"),
        "no blank lines": ("北 O\n".encode() * 20_000, "refuse"),
        "many blank lines": (base.replace(b"\n\n", b"\n\n\n\n"), "same"),
        "NUL in a tag": (base + "北 O\0\n".encode(), "refuse"),
        "ideographic space": (base + "北\u3000O\n".encode(), ""),
        "tag in lower case": (base + "北 b-loc\n".encode(), ""),
    }


class DataFiles(Part):
    """A case is a file by hand, or one of the bases with bytes changed."""

    name, unit, whole = "data", "data files", 1000
    bar = "1,000 data files: no traceback or bare error, none over 5 s or 1 GB, no nonsense taken"

    def cases(self, count: int) -> list[dict[str, Any]]:
        """As many by hand as fill half, then generated ones, the kinds in turn."""
        made = [{"kind": kind, "by hand": name} for kind in BASES for name in by_hand(kind)]
        random.Random(f"data {self.seed}").shuffle(made)
        made = made[: count // 2]
        kinds = list(BASES)
        return made + [{"kind": kinds[n % len(kinds)], "generated": n // len(kinds)} for n in range(count - len(made))]

    @contextmanager
    def opened(self):
        """A folder for each sandbox, and the generated files."""
        folder = self.work / "data"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.generated: dict[tuple[str, int], list[bytes]] = {}
        with sandboxes(self.workers, __name__, str(folder)) as self.sandboxes:
            yield

    def attack(self, case: dict[str, Any]) -> Outcome:
        """Reads one file in a sandbox."""
        kind, expected = case["kind"], ""
        if "by hand" in case:
            content, expected = by_hand(kind)[case["by hand"]]
        else:
            block, place = divmod(case["generated"], 50)
            with self.sandboxes.mutex:
                if (kind, block) not in self.generated:
                    label = f"data {self.seed} {kind} {block}"
                    self.generated[kind, block] = draw(_files(kind), 50, label)
            content = self.generated[kind, block][place]
        sandbox = self.sandboxes.get()
        try:
            outcome = sandbox.attempt((kind, content))
        finally:
            self.sandboxes.put(sandbox)
        rows = outcome.facts.get("rows")
        if expected == "refuse" and outcome.verdict == "accepted" and rows:
            outcome.verdict, outcome.detail = "nonsense", f"taken with {rows} rows"
        if expected == "same" and outcome.good and (outcome.verdict != "accepted" or rows != _BASE_ROWS[kind]):
            outcome.detail = f"{rows} rows in place of {_BASE_ROWS[kind]}: {outcome.verdict}: {outcome.detail}"
            outcome.verdict = "nonsense"
        outcome.detail = f"{kind}, {case.get('by hand', 'generated')}: {outcome.detail}"[:600]
        outcome.keep = {f"file.{kind}": content}
        return outcome


# What no text holds: control characters but tab and line ends, and halves of surrogate pairs.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_DAMAGE = re.compile("[\\x00\\ud800-\\udfff]")  # all that training data must not hold: published sets have others
_BASE_ROWS = {"tsv": 21, "csv": 21, "jsonl": 21, "conll": 8, "corpus": 21, "predict": 21}


def _files(kind: str) -> st.SearchStrategy[bytes]:
    return edited(BASES[kind])


def prepare(folder: str) -> Callable[[tuple[str, bytes]], Outcome]:
    """In the sandbox: what reads a file of each kind, and judges the rows."""
    own = Path(folder) / str(os.getpid())
    own.mkdir()
    os.chdir(own)
    from paddle_ernie_tiny.config import load_config
    from paddle_ernie_tiny.data.corpus import read_lines
    from paddle_ernie_tiny.data.splits import load_task_data
    from paddle_ernie_tiny.deploy.row_files import read_texts

    from .configurations import bases

    def task_rows(kind: str, path: Path) -> list[Any]:
        raw = bases()[4 if kind == "conll" else 0]
        raw["data"] = {"train": str(path), "dev": str(path)}
        if kind != "conll":
            raw["data"]["columns"] = {"text": "text", "label": "label"}
        else:
            raw["task"]["labels"] = ["O", "B-LOC", "I-LOC"]
        return list(load_task_data(load_config(None, (), raw)).train)

    def attempt(value: tuple[str, bytes]) -> Outcome:
        kind, content = value
        path = Path(f"f.{'txt' if kind in ('corpus', 'predict') else kind}")
        path.write_bytes(content)
        if kind == "corpus":
            texts = [line for line in read_lines(path) if line.strip()]
        elif kind == "predict":
            texts = read_texts(path)[0]
        else:
            texts = [row.content for row in task_rows(kind, path)]
        wrong = nonsense(kind, content, texts)
        facts = {"rows": len(texts)}
        if not texts and kind != "corpus":  # the run says that the corpus is empty, when it is tokenised
            return Outcome("nonsense", "no rows, and no word about it", facts=facts)
        return Outcome("nonsense", wrong, facts=facts) if wrong else Outcome("accepted", facts=facts)

    for kind, content in BASES.items():
        rows = attempt((kind, content)).facts["rows"]
        assert rows == _BASE_ROWS[kind], (kind, rows)
    return attempt


def nonsense(kind: str, content: bytes, rows: list[Any]) -> str:
    """Why rows cannot be what the file says; "" if they can."""
    for row in rows:
        for text in [row] if isinstance(row, str) else _flat(row):
            if bad := (_CONTROL if kind == "predict" else _DAMAGE).search(text):
                return f"a text with {bad.group()!r}"
            if not text.strip():
                return "a text of blanks"
            if kind == "conll" and re.search(r"[\r\n\t\u2028\u2029\x85]", text):
                return f"a word with a line end: {text[:40]!r}"
    marked = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    whole = content.decode("utf-16") if marked else content.removeprefix(b"\xef\xbb\xbf").decode()
    lines = [line for line in whole.split("\n") if line.strip()]
    if kind == "tsv" and not re.search(r"\r(?!\n)|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", whole):
        if len(rows) not in (len(lines), len(lines) - 1):
            return f"{len(rows)} rows from {len(lines)} lines"
    if kind == "csv" and len(rows) > len(lines):
        return f"{len(rows)} rows from {len(lines)} lines"
    return ""


def _flat(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for part in value or () for text in _flat(part)]

"""Files of a run folder damaged: a byte flipped, cut, emptied, deleted, or another file's content in their place."""

from __future__ import annotations

import random
import re
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .commands import finish, judge_failure
from .harness import Outcome, Part
from .miniature import Miniature, differences, miniature

DAMAGES = ("flip", "cut", "empty", "delete", "swap")
_LIMIT_SECONDS = 150
_FEW = 10
# Nothing reads these: curves, a lock, what is printed for people.
_LEFT_OUT = re.compile(r"(^|/)(vdl|\.launch)/|\.lock$|preflight\.json$|report\.(html|md)$|\.log$|\.tmp/")
_ONLY_AUGMENTED = re.compile(r"augmented|int8|quantize")


class Damage(Part):
    """A case is a kind of file and a damage by their numbers; which file of which state it is, its own draw decides."""

    name, unit, whole = "damage", "damages", 200
    bar = "200 damages: each exactly right, or one message with path and remedy and exit 2; none silent, bare, hanging"

    def cases(self, count: int) -> list[dict[str, Any]]:
        """Damages in turn, over the kinds of file in an order of the seed."""
        few = count <= _FEW  # states take longer to make than a few damages
        self.variants = {"plain": ("4-task_specific",)} if few else {"plain": None, "augmented": None}
        return [{"draw": f"{self.seed}-{number}"} for number in range(count)]

    @contextmanager
    def opened(self) -> Iterator[None]:
        """States of run folders, cut off inside of every step, and the files in them by kind."""
        self.kinds: dict[str, list[tuple[str, Path, str]]] = defaultdict(list)  # (variant, state, file)
        for name, steps in self.variants.items():
            for folder in miniature(self.work, name, steps).snapshots.values():
                for path in sorted(folder.rglob("*")):
                    file = str(path.relative_to(folder))
                    wanted = name == "plain" or _ONLY_AUGMENTED.search(file)
                    if path.is_file() and wanted and not _LEFT_OUT.search(file):
                        self.kinds[kind_of(file)].append((name, folder, file))
        self.making = threading.Lock()
        self.order = sorted(self.kinds)
        random.Random(f"damage {self.seed}").shuffle(self.order)
        yield

    def attack(self, case: dict[str, Any]) -> Outcome:
        """Damages one file of a copy, runs the same command again, and compares."""
        rng, turn = random.Random(f"damage {case['draw']}"), case["id"]
        kind = self.order[turn % len(self.order)]
        damage = DAMAGES[(turn + turn // len(self.order)) % len(DAMAGES)]
        places = self.kinds[kind]
        unfinished = [place for place in places if place[1].name != "finished"]
        name, state, file = rng.choice(unfinished if unfinished and rng.random() < 0.8 else places)
        made = miniature(self.work, name)
        root, log = self.work / f"damage-{turn}", self.work / "logs" / f"damage-{turn}.log"
        shutil.rmtree(root, ignore_errors=True)
        log.unlink(missing_ok=True)
        shutil.copytree(state, root, symlinks=True)
        done = apply(damage, root, file, rng)
        facts = {"damage": f"{name}, {state.name}: {done}"}
        code, text = finish(made.arguments(root), log, _LIMIT_SECONDS)
        outcome = judge_failure(code, text) if code != 0 else Outcome("right")
        if outcome.verdict == "refused" and "run the same command again" in outcome.detail:
            code, text = finish(made.arguments(root), log, _LIMIT_SECONDS)
            if code != 0:
                outcome = Outcome("unclear", f"what the remedy says does not help: {outcome.detail}")
        if code == 0:
            wrong = differences(root, made.reference)
            if wrong and state.name != "finished":  # is it the damage, or that the run was cut off there?
                wrong = differences(root, self._control(made, state))
            outcome = Outcome("silent", f"differ: {wrong[:4]} of {len(wrong)}") if wrong else outcome
        if outcome.good:
            log.unlink()
        else:
            outcome.detail = f"{facts['damage']}: {outcome.detail}"
        shutil.rmtree(root)
        outcome.facts = facts
        return outcome

    def _control(self, made: Miniature, state: Path) -> Path:
        """The state resumed without any damage."""
        control = made.folder / f"control {state.name}"
        with self.making:
            if not control.is_dir():
                copy = made.folder / "control"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(state, copy, symlinks=True)
                code, text = finish(made.arguments(copy), made.folder / "control.log")
                if code != 0:
                    raise RuntimeError(f"{state.name} cannot be resumed: {text[-500:]}")
                copy.rename(control)
        return control

    def figures(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        """How many of each damage, and which states end in another result even without any (see the part kill)."""
        cut_off = {}
        for control in sorted(self.work.glob("*/control *")):
            wrong = differences(control, control.parent / "reference")
            cut_off |= {f"{control.parent.name}, {control.name}": wrong} if wrong else {}
        kinds = [line["facts"].get("damage", "").partition(": ")[2].partition(" ")[0] for line in lines]
        return {"damages": {damage: kinds.count(damage) for damage in DAMAGES}, "controls_that_differ": cut_off}


def kind_of(file: str) -> str:
    """Files that mean the same in steps of one sort have one name here, such as `stages/final/model.safetensors`."""
    parts = [re.sub(r"^\d+-.*|task-finetuned.*", "", part).rstrip("-0123456789") for part in file.split("/")]
    return "/".join(filter(None, parts))


def apply(damage: str, root: Path, file: str, rng: random.Random) -> str:
    """Damages a file; says what was done."""
    path = root / file
    content = path.read_bytes()
    if damage == "swap":
        others = [
            other
            for other in sorted(root.rglob(f"*{path.suffix}"))
            if other.is_file() and other.name == path.name and other.read_bytes() != content
        ] or [other for other in sorted(root.rglob(f"*{path.suffix}")) if other.is_file() and other != path]
        if others:
            other = rng.choice(others)
            path.write_bytes(other.read_bytes())
            return f"swap {file} for {other.relative_to(root)}"
        damage = "delete"
    if damage == "delete":
        path.unlink()
    elif damage == "empty" or not content:
        path.write_bytes(b"")
    elif damage == "cut":
        length = rng.randrange(1, max(2, len(content)))
        path.write_bytes(content[:length])
        return f"cut {file} to {length} of {len(content)} bytes"
    else:
        place, bit = rng.randrange(len(content)), rng.randrange(8)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        return f"flip {file}, bit {bit} of byte {place} of {len(content)}"
    return f"{damage} {file}"

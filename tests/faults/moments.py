"""Kinds of moment in a run, found by what the run has printed and written: in them it is stopped or its disk fills."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .commands import Command, finish, last_error
from .harness import Outcome
from .miniature import Miniature, differences


@dataclass(frozen=True)
class Moment:
    """When `reached` holds, and `delay` seconds later."""

    name: str
    reached: Callable[[Path, str], bool]  # of the run folder, and what was printed
    delay: float = 0.0
    variant: str = "plain"

    def wait(self, command: Command, root: Path) -> bool:
        """True when the run is there; False if it has ended before."""
        if not command.wait_until(lambda: self.reached(root, command.text), 180):
            return False
        command.wait_until(lambda: False, self.delay)
        return command.alive

    def reach(self, made: Miniature, root: Path, log: Path, piped: bool = False) -> Command:
        """A run in the empty folder `root` that is there now.

        Raises RuntimeError where it has ended before, three times: an attack that did not happen must not look good.
        """
        for _ in range(3):
            shutil.rmtree(root, ignore_errors=True)
            command = Command.start(made.arguments(root), log, piped)
            if self.wait(command, root):
                return command
            command.kill_all()
        raise RuntimeError(f"the run ended before the moment {self.name!r}: {command.text[-300:]}")


def resumed(made: Miniature, root: Path, log: Path, first: Outcome) -> Outcome:
    """`first`, or what is wrong once the same command has run again: it must end in the undisturbed run's result."""
    code, text = finish(made.arguments(root), log)
    wrong = differences(root, made.reference) if code == 0 else []
    if code == 0 and not wrong:
        return first
    verdict = "silent" if wrong else "hang" if code is None else "bare"
    said = f"differ: {wrong[:6]} of {len(wrong)}" if wrong else f"exit {code}: {last_error(text) or text[-500:]}"
    before = "" if first.good else f"{first.verdict}: {first.detail}; "
    return Outcome(verdict, f"{before}resume: {said}", first.weight, first.facts)


def _printed(pattern: str) -> Callable[[Path, str], bool]:
    return lambda root, text: re.search(pattern, text, re.MULTILINE) is not None


def _there(pattern: str) -> Callable[[Path, str], bool]:
    return lambda root, text: any(root.glob(pattern))


MOMENTS = (
    Moment("import", lambda root, text: True, 1.0),
    Moment("preflight", _printed("^preflight: ")),
    Moment("pretrain begins", _printed(r"^\[1/\d+\] pretrain$")),
    Moment("pretrain trains", _there("teacher/pretrained/checkpoint-*")),
    Moment("finetune trains", _there("teacher/finetuned/checkpoint-*")),
    Moment("best model is kept", _there("teacher/finetuned/best")),
    Moment("teacher is measured", _there("teacher/finetuned/done.json")),
    Moment("baseline trains", _there("baseline/checkpoint-*")),
    Moment("general trains", _there("stages/1-general/checkpoint-*")),
    Moment("probe of general", _there("stages/1-general/done.json")),
    Moment("general_enhanced trains", _there("stages/2-general_enhanced/checkpoint-4")),
    Moment("signals are cached", _there("data/signals/*/key.json")),
    Moment("task_specific trains", _there("stages/4-task_specific/checkpoint-4")),
    Moment("student is measured", _there("stages/4-task_specific/done.json")),
    Moment("export begins", _printed(r"^\[8/\d+\] export$")),
    Moment("export's child at work", _printed(r"^\[8/\d+\] export$"), 2.5),
    Moment("export done, report", _printed(r"^\[8/\d+\] export: done")),
    Moment("rows are augmented", _printed(r"^\[6/\d+\] task_adaptive$"), 0.05, "augmented"),
    Moment("int8's child at work", _printed(r"^\[9/\d+\] quantize$"), 2.5, "augmented"),
    Moment("two processes train", _there("stages/1-general/checkpoint-*"), 0.0, "two processes"),
)

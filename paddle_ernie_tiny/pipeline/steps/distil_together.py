"""The step that distils several students by one forward pass of the teacher, in stages on general text."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...distillation.joint import JointDistillation, share_of
from ...terms import Needs
from ..step import Step, StepRecord
from .distil import Distil, train


class DistilStudents(Step):
    """Trains those students together whose own stage is not done; each keeps a record as if it was trained alone.

    `members` are the students' own steps by name. A student that is added later trains alone. `folder` lasts until
    all are trained.
    """

    def __init__(self, members: dict[str, Distil], folder: Path):
        first = next(iter(members.values()))
        super().__init__(first.context, folder)
        self.members, self.name = members, first.name
        self.pending: list[str] = []

    @property
    def title(self) -> str:
        return f"{self.name} of {', '.join(self.pending or self.members)}"

    def state(self) -> tuple[str, list[str]]:
        states = {name: step.state() for name, step in self.members.items()}
        self.pending = [name for name, (state, _) in states.items() if state != "done"]
        if not self.pending:
            return "done", []
        self.record = StepRecord(self.folder, {name: self.members[name].record.inputs for name in self.pending})
        if self.record.state()[0] == "resume":
            return "resume", []
        changed = [f"{name}: {what}" for name, (_, whats) in states.items() for what in whats]
        return ("stale", changed) if changed else ("new", [])

    def begin(self, fresh: bool) -> None:
        super().begin(fresh)
        for name in self.pending:
            self.members[name].begin(fresh=True)

    def run(self) -> dict[str, Any]:
        steps = {name: self.members[name] for name in self.pending}
        first = steps[self.pending[0]]
        model = first.context.load_teacher(first.stage.teacher)
        students = {name: step.load(model) for name, step in steps.items()}
        teacher = first.teacher(model, Needs.union(s.objective.needs("teacher") for s in students.values()))
        for name, step in steps.items():
            step.announce(students[name], f"{name}: ")
        trainer = JointDistillation(students, teacher, first.training(self.folder))
        trained = {"teacher": {"signals": first.signals, **trainer.try_teacher()}, **train(trainer)}
        teacher.sync()
        for name, step in steps.items():
            step.save(students[name])
        results = {}  # each student's share of the training, as its own record keeps it
        for name, student in students.items():
            history = [{"step": entry["step"], **share_of(name, entry)} for entry in trained["history"]]
            others = [other for other in self.pending if other != name]
            results[name] = {
                **trained,
                "history": history,
                "objective": student.objective.equation(),
                "together_with": others,
            }
        return {**trained, "students": results}

    def finish(self, result: dict[str, Any]) -> None:
        for name in self.pending:
            self.members[name].finish(result["students"][name])
        shutil.rmtree(self.folder)

    def seal_old(self) -> None:
        super().seal_old()
        for step in self.members.values():
            step.seal_old()

    def remove(self) -> None:
        super().remove()
        for step in self.members.values():
            step.remove()

    def measure_if_needed(self, say: Callable[[str], None]) -> None:
        for step in self.members.values():
            step.measure_if_needed(say)

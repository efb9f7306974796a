"""A general stage of several students at once: one forward pass of the teacher for all of them."""

from __future__ import annotations

import shutil
from typing import Any

from ...distillation.objective import JointObjective
from ...distillation.students import JointStudents
from ...distributed import is_main
from ...training.trainer import remove_checkpoints
from ..context import RunContext
from ..layout import FINAL
from ..lineage import StepRecord
from ..step import Step
from .distil import Distil, save_student, stage_trainer


class DistilStudents(Step):
    """Trains those students together whose own stage is not done; each keeps a record as if it was trained alone.

    `members` are the students' own steps by name. A student that is added later trains alone.
    """

    def __init__(self, members: dict[str, Distil]):
        first = next(iter(members.values()))
        super().__init__(first.context)
        self.members, self.index, self.name = members, first.index, first.name
        self.folder = first.context.folder.together(first.index, first.settings.stage)
        self.product = first.product
        self.pending: list[str] = []

    @property
    def title(self) -> str:
        return f"{self.name} of {', '.join(self.pending or self.members)}"

    def state(self) -> tuple[str, list[str]]:
        states = {name: step.state() for name, step in self.members.items()}
        self.pending = [name for name, (state, _) in states.items() if state != "done"]
        if not self.pending:
            return "done", []
        records = {name: StepRecord(step.folder, step.inputs()).inputs for name, step in self.members.items()}
        self._record = StepRecord(self.folder, {name: records[name] for name in self.pending})
        changed = [f"{name}: {what}" for name, (_, whats) in states.items() for what in whats]
        if self._record.state()[0] == "resume":
            return "resume", []
        return ("stale", changed) if changed else ("new", [])

    def begin(self, fresh: bool) -> None:
        super().begin(fresh)
        for name in self.pending:
            self.members[name].begin(fresh=True)

    def run(self) -> dict[str, Any]:
        contexts = {name: self.members[name].context for name in self.pending}
        first: RunContext = next(iter(contexts.values()))
        model = first.load_teacher(first.stage(self.index).teacher)
        pairs = {name: c.load_student(self.index, model, c.student_before(self.index)) for name, c in contexts.items()}
        objective = JointObjective({name: pair[0] for name, pair in pairs.items()})
        students = JointStudents({name: pair[1] for name, pair in pairs.items()})
        trainer = stage_trainer(first, self.index, self.folder, model, students, objective)
        trained = trainer.fit()
        trainer.teacher.sync()
        for name, context in contexts.items():
            save_student(context, pairs[name][1], context.stage_folder(self.index) / FINAL)
        remove_checkpoints(self.folder)
        return {**trained, "students": {name: self._result(name, trained, objective) for name in self.pending}}

    def _result(self, name: str, trained: dict[str, Any], objective: JointObjective) -> dict[str, Any]:
        """One student's share of the training, as its own record keeps it."""
        history = [{"step": entry["step"], **objective.of(name, entry)} for entry in trained["history"]]
        others = [other for other in self.pending if other != name]
        equation = objective.objectives[name].equation()
        return {**trained, "history": history, "objective": equation, "together_with": others}

    def finish(self, result: dict[str, Any]) -> None:
        for name in self.pending:
            self.members[name].finish(result["students"][name])
        if is_main():
            shutil.rmtree(self.folder)

    def remove(self) -> None:
        super().remove()
        for step in self.members.values():
            step.remove()

    def measure_if_needed(self) -> list[str]:
        return [line for step in self.members.values() for line in step.measure_if_needed()]

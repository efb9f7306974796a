"""The step between export and int8: the student trains on as it will compute in int8, if int8 loses too much."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ...deploy.quantize import MetricRefused, quantize_bundle
from ...distillation.students import DistilledStudent
from ...distributed import is_main, main_first
from ...models.fake_int8 import as_trained, fake_int8
from ...seals import SEALED, read_seal, whole_or_none, write_seal
from ..context import RunContext
from ..step import FINAL, identity
from .deliver import Quantise
from .distil import Distil


class QuantisationAware(Distil):
    """The last stage again, from its own result, with fake quantisation (models/fake_int8.py).

    First int8 is tried without it. If that passes the gate, `final/` is that int8 bundle, and nothing is trained; else
    it is the trained student, which `quantize` makes int8. Either way `quantize` publishes what is there.
    """

    def __init__(self, context: RunContext):
        last, settings = len(context.config.stages) - 1, context.config.quantization_aware
        assert settings is not None and context.config.export.int8 is not None, "planned only where it is asked for"
        super().__init__(context, last, "quantization_aware")
        self.folder, self.product = context.folder.quantization_aware, context.folder.quantization_aware / FINAL
        self.settings = self.settings.model_copy(update={"training": settings.training})
        self.stage = replace(self.stage, title="quantisation-aware training")
        self.int8 = context.config.export.int8
        self.quantise = Quantise(context, context.folder.record("quantize"), self.int8)
        self.kind_settings = context.config.task.settings

    def inputs(self) -> dict[str, Any]:
        values, tried = super().inputs(), self.quantise.inputs()
        values["upstream"] |= {
            "student": identity(self.context.stage_folder(-1)),
            "export": tried["upstream"]["export"],
        }
        return {**values, "post_training": {key: tried[key] for key in ("int8", "rows", "dev", "metric")}}

    def run(self) -> dict[str, Any]:
        tried = self._post_training()
        if tried["refused"] is None:
            return {"post_training": tried}
        training = self.settings.training.decisive()
        made = {"training": {key: value for key, value in training.items() if value is not None}}
        return {**super().run(), **made, "post_training": tried, "kind_settings": self.kind_settings}

    def _post_training(self) -> dict[str, Any]:
        """The figures of int8 without training, which is tried once; if it passed the gate, its bundle is `final/`."""
        seal = self.folder / "post_training" / SEALED
        with main_first(seal):
            if is_main() and whole_or_none(seal, "post-training quantisation") is None:
                try:
                    tried = {"refused": None, **quantize_bundle(self.quantise.request(self.product))}
                except MetricRefused as refused:
                    tried = {"refused": refused.sentence, **refused.parity}
                    print(f"  post-training int8: {refused.sentence}", flush=True)
                write_seal(seal, {key: value for key, value in tried.items() if value == value})  # no NaN
            return read_seal(seal) or {}

    def load(self, teacher: Any) -> DistilledStudent:
        """The exported student, in whose forward pass the parts that will be int8 are rounded as int8."""
        student = self.context.load_student(self.index, teacher, self.context.stage_folder(-1) / FINAL)
        first_token = self.context.data.kind.graphs[0] == "served"
        fake_int8(student.classifier, self.int8.keep_fp32, first_token)
        return student

    def save(self, student: DistilledStudent) -> None:
        """Writes the weights as they are, not rounded; what the kind of task learns from dev it learns as in int8."""
        if is_main():
            kind = self.context.fitted_kind(student.classifier, "student")
            self.kind_settings = asdict(kind.settings) if kind is not self.context.data.kind else self.kind_settings
        as_trained(student.classifier)
        super().save(student)

    def measure_inputs(self) -> None:
        """Its result is measured as the int8 bundle that is made of it."""
        return None

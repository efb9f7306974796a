"""Steps after training: the exported bundle, if asked for an int8 one beside it and a benchmark, and the model card."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ...benchmark.bench import bench
from ...benchmark.request import BenchRequest
from ...benchmark.results import write_folder
from ...config import BenchmarkSettings, Int8Settings
from ...config.schema import ExportSettings
from ...data.tables import SOFT
from ...deploy.bundle import MANIFEST, read_manifest
from ...deploy.card import CARD, describe_bundle
from ...deploy.export import ExportRequest, export_bundle
from ...deploy.quantize import MetricRefused, QuantizeRequest, quantize_bundle
from ...deploy.row_files import LabelledRows
from ...errors import GateError
from ...files import new_folder
from ...models.weights import model_fingerprint
from ...seals import read_seal
from ..card_facts import card_facts
from ..context import RunContext
from ..pruning import export_pruned, pruning_inputs, pruning_lines
from ..step import DONE, FINAL, METRICS, Step, fingerprint, identity, seal_again


def bundles_of(context: RunContext) -> dict[str, Path]:
    """The student's bundles by the steps that made them."""
    folder, int8 = context.folder, context.config.export.int8
    return {"export": folder.bundle, **({} if int8 is None else {"quantize": folder.int8_bundle})}


class DeliverStep(Step):
    """A step whose product is a folder beside its record, known by one file that is written last."""

    every_process = False

    def begin(self, fresh: bool) -> None:
        if not self.product.exists():  # what is left of a damaged one would not be replaced
            shutil.rmtree(self.product.parent, ignore_errors=True)
        super().begin(fresh)


class Export(DeliverStep):
    """The last stage's student as a bundle, with a pruned vocabulary if the run asks for it."""

    name = "export"
    settings: ExportSettings

    def inputs(self) -> dict[str, Any]:
        rows = self.context.data.test[: self.settings.rows]
        return {
            "export": self.settings.model_dump(mode="json", exclude={"int8", "prune_vocabulary"}),
            "task": self.context.config.task.model_dump(include={"name", "metric"}),
            "rows": fingerprint([example.content for example in rows]),
            "upstream": {"student": identity(self.context.stage_folder(-1))},
            **({"settings": settings} if (settings := self._settings()) else {}),
            **pruning_inputs(self.context),
        }

    def run(self) -> dict[str, Any]:
        student = self.context.stage_folder(-1) / FINAL
        return export_student(self.context, student, self.product.parent, self._settings(), self.folder)

    def gate(self) -> list[str]:
        manifest, asked = read_manifest(self.product.parent), self.settings.prune_vocabulary
        if manifest.vocabulary is None or asked is None:
            return []
        return pruning_lines(manifest.vocabulary, manifest.metric, asked.max_drop_points)

    def _settings(self) -> dict[str, Any]:
        """Of the kind of task, with what it learnt from the student's answers to the dev split."""
        measured = read_seal(self.context.stage_folder(-1) / METRICS) or {}
        return measured.get("settings", self.context.config.task.settings)


def export_student(
    context: RunContext, checkpoint: Path, out: Path, settings: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Exports a student of the run, with a pruned vocabulary if the run asks for it; `folder` is for that copy."""
    request = export_request(context, checkpoint, out, settings)
    pruned = context.config.export.prune_vocabulary is not None
    return export_pruned(context, request, folder) if pruned else export_bundle(request)


def export_request(context: RunContext, checkpoint: Path, out: Path, settings: dict[str, Any]) -> ExportRequest:
    """How a model of the run is exported, and on which rows its graphs are compared."""
    config, data = context.config, context.data
    rows = LabelledRows.of(data.test[: config.export.rows])
    return ExportRequest(
        checkpoint=str(checkpoint),
        out=str(out),
        task=config.task.name,
        labels=data.labels,
        metric=context.metric,
        kind=data.kind.name,
        settings=settings,
        texts=rows.texts,
        texts_b=rows.texts_b,
        unit=data.kind.unit(data.train),
        max_length_tokens=config.task.max_length_tokens,
        long_text=config.task.long_text,
        tolerance=config.export.tolerance,
        engines=config.export.engines,
        table={key: value for key, value in asdict(data.table).items() if key != SOFT},
    )


class Quantise(DeliverStep):
    """The bundle in int8, calibrated on training rows, gated on the dev split."""

    name = "quantize"
    settings: Int8Settings

    @cached_property
    def calibration(self) -> LabelledRows:
        """The training rows that the scales of activations are taken from."""
        return LabelledRows.of(self.context.data.train).spread(self.settings.calibration_rows)

    def inputs(self) -> dict[str, Any]:
        aware = self.context.folder.quantization_aware
        trained = {} if self.settings.quantization_aware is None else {"quantization_aware": identity(aware)}
        return {
            "int8": self.settings.model_dump(mode="json", exclude={"quantization_aware"}),
            "rows": fingerprint([self.calibration.texts, self.calibration.texts_b]),
            "dev": self.context.data.fingerprints["dev"],
            "metric": self.context.config.task.metric,
            "upstream": {"export": identity(self.context.folder.record("export")), **trained},
        }

    def request(self, out: Path) -> QuantizeRequest:
        """Post-training quantisation of the student's bundle."""
        bundle, dev = self.context.folder.bundle, LabelledRows.of(self.context.data.dev)
        how = self.settings.model_dump(exclude={"calibration_rows", "quantization_aware"})
        how["engines"] = self.context.config.export.engines
        return QuantizeRequest(str(bundle), str(out), self.calibration, dev, **how)

    def run(self) -> dict[str, Any]:
        request, aware = self.request(self.product.parent), self.context.folder.quantization_aware
        if self.settings.quantization_aware is None:
            return quantize_bundle(request)
        if (aware / FINAL / MANIFEST).is_file():  # post-training quantisation was enough, and made it
            with new_folder(self.product.parent, marker=MANIFEST) as folder:
                shutil.copytree(aware / FINAL, folder, dirs_exist_ok=True)
            return read_manifest(self.product.parent).parity
        return self._of_trained(request, aware)

    def _of_trained(self, request: QuantizeRequest, aware: Path) -> dict[str, Any]:
        """int8 of the student that was trained for it, by the same gate: the student's own bundle is the reference."""
        trained, fp32 = (read_seal(aware / DONE) or {})["result"], self.folder / "fp32"
        export_student(self.context, aware / FINAL, fp32, trained["kind_settings"], self.folder)
        how = {key: trained[key] for key in ("steps", "training", "post_training")}
        request = replace(request, bundle=str(fp32), reference=request.bundle, aware=how)
        try:
            return quantize_bundle(request)
        except MetricRefused as refused:
            what = f"without training for int8: {trained['post_training']['refused']}; after {trained['steps']} steps "
            what += f"of quantisation-aware training: {refused.what}"
            remedy = "give export.int8.quantization_aware.training more steps or another learning rate, leave parts in "
            raise GateError(what, request.out, remedy + "fp32 (export.int8.keep_fp32), or serve fp32") from None
        finally:
            shutil.rmtree(fp32, ignore_errors=True)


class Benchmark(DeliverStep):
    """Speed of teacher (if there is one) and student. The teacher is exported as the student was, and not kept."""

    name = "benchmark"
    settings: BenchmarkSettings

    def inputs(self) -> dict[str, Any]:
        context = self.context
        return {
            "benchmark": self.settings.model_dump(mode="json"),
            "rows": context.data.fingerprints,
            **({"teacher": model_fingerprint(context.teacher_model("finetuned"))} if context.config.teacher else {}),
            "upstream": {step: identity(context.folder.record(step)) for step in bundles_of(context)},
        }

    def run(self) -> dict[str, Any]:
        context, teacher = self.context, self.folder / "teacher"
        if context.config.teacher is not None:
            model = context.teacher_model("finetuned")
            export_bundle(export_request(context, model, teacher, context.config.task.settings))
        rows, measured = LabelledRows.of(context.data.test), self.settings.text and context.data.kind.text_rows
        texts = (rows.texts, rows.texts_b if context.data.kind.may_pair else None) if measured else None
        given = [teacher] if context.config.teacher is not None else []
        models = [str(bundle) for bundle in (*given, *bundles_of(context).values())]
        how = self.settings.model_dump(exclude={"text"})
        result = bench(BenchRequest(models, texts=texts, cache=self.folder, **how))
        result["floor"] = context.floor and context.floor.facts
        write_folder(result, self.product.parent)
        shutil.rmtree(teacher, ignore_errors=True)
        return {"warnings": result["warnings"]}


class Card(Step):
    """The model card of every bundle, once all that it tells is measured.

    A bundle is sealed by the step that made it and by its own manifest: both are written again.
    """

    name = "card"
    every_process = False

    def inputs(self) -> dict[str, Any]:
        student = identity(self.context.stage_folder(-1))
        return {"facts": card_facts(self.context), "upstream": {"student": student}}

    def run(self) -> dict[str, Any]:
        facts, source = self.record.inputs["facts"], self.product
        for step, bundle in bundles_of(self.context).items():
            with new_folder(bundle, marker=MANIFEST) as folder:
                shutil.copytree(bundle, folder, dirs_exist_ok=True)
                manifest = read_manifest(folder)
                if bundle == source.parent:
                    describe_bundle(folder, manifest, facts)
                else:
                    shutil.copyfile(source, folder / CARD)
                    describe_bundle(folder, manifest)
            seal_again(self.context.folder.record(step), bundle)
        return {}

    def files(self) -> list[Path]:
        return [bundle / name for bundle in bundles_of(self.context).values() for name in (CARD, MANIFEST)]

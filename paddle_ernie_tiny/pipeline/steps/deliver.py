"""Steps after training: the exported bundle, and if asked for an int8 one beside it and a benchmark."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ...benchmark.bench import bench
from ...benchmark.request import BenchRequest
from ...benchmark.results import write_folder
from ...config import BenchmarkSettings, Int8Settings
from ...deploy.bundle import MANIFEST
from ...deploy.export import ExportRequest, export_bundle
from ...deploy.quantize import QuantizeRequest, quantize_bundle
from ...deploy.row_files import LabelledRows
from ...models.weights import model_fingerprint
from ..context import RunContext
from ..layout import FINAL
from ..lineage import fingerprint, identity
from ..step import Step


class Export(Step):
    """The last stage's student as a bundle."""

    name = "export"
    every_process = False

    def __init__(self, context: RunContext):
        super().__init__(context)
        self.folder = context.folder.record(self.name)
        self.product = context.folder.bundle / MANIFEST
        self.last = context.stage_folder(len(context.config.stages) - 1)

    def inputs(self) -> dict[str, Any]:
        config, rows = self.context.config, self.context.data.test[: self.context.config.export.rows]
        return {
            "export": config.export.model_dump(mode="json", exclude={"int8"}),
            "task": {"name": config.task.name, "metric": config.task.metric},
            "rows": fingerprint([example.content for example in rows]),
            "upstream": {"student": identity(self.last)},
        }

    def run(self) -> dict[str, Any]:
        return export_bundle(export_request(self.context, self.last / FINAL, self.context.folder.bundle))


def export_request(context: RunContext, checkpoint: Path, out: Path) -> ExportRequest:
    """How a model of the run is exported, and on which rows its graphs are compared."""
    config, data = context.config, context.data
    rows = LabelledRows.of(data.test[: config.export.rows])
    return ExportRequest(
        checkpoint=str(checkpoint),
        out=str(out),
        task=config.task.name,
        labels=data.labels,
        metric=config.task.metric or "",
        kind=data.kind.name,
        texts=rows.texts,
        texts_b=rows.texts_b,
        unit=data.kind.unit(data.train),
        max_length_tokens=config.task.max_length_tokens,
        tolerance=config.export.tolerance,
        table={
            "format": config.data.format,
            "header": config.data.header,
            "label_aliases": config.data.label_aliases,
            **config.data.columns.model_dump(mode="json"),
        },
    )


class Quantise(Step):
    """The bundle in int8, calibrated on training rows, gated on the dev split."""

    name = "quantize"
    every_process = False

    def __init__(self, context: RunContext):
        super().__init__(context)
        self.folder = context.folder.record(self.name)
        self.product = context.folder.int8_bundle / MANIFEST
        assert context.config.export.int8 is not None
        self.settings: Int8Settings = context.config.export.int8
        self.calibration = LabelledRows.of(context.data.train).spread(self.settings.calibration_rows)

    def inputs(self) -> dict[str, Any]:
        rows = self.calibration
        return {
            "int8": self.settings.model_dump(mode="json"),
            "rows": fingerprint([rows.texts, rows.texts_b]),
            "dev": self.context.data.fingerprints["dev"],
            "metric": self.context.config.task.metric,
            "upstream": {"export": identity(self.context.folder.record("export"))},
        }

    def run(self) -> dict[str, Any]:
        folder, settings = self.context.folder, self.settings
        return quantize_bundle(
            QuantizeRequest(
                bundle=str(folder.bundle),
                out=str(folder.int8_bundle),
                calibration=self.calibration,
                dev=LabelledRows.of(self.context.data.dev),
                max_drop_points=settings.max_drop_points,
                auto=settings.auto,
                keep_fp32=list(settings.keep_fp32),
            )
        )


class Benchmark(Step):
    """Speed of teacher and student. The teacher is exported as the student was; that bundle is not kept."""

    name = "benchmark"
    every_process = False

    def __init__(self, context: RunContext):
        super().__init__(context)
        self.folder = context.folder.record(self.name)
        self.product = context.folder.benchmark / "result.json"
        assert context.config.benchmark is not None
        self.settings: BenchmarkSettings = context.config.benchmark
        self.bundles = {"export": context.folder.bundle}
        if context.config.export.int8 is not None:
            self.bundles["quantize"] = context.folder.int8_bundle

    def inputs(self) -> dict[str, Any]:
        context = self.context
        return {
            "benchmark": self.settings.model_dump(mode="json"),
            "rows": context.data.fingerprints,
            "teacher": model_fingerprint(context.finetuned_model),
            "upstream": {step: identity(context.folder.record(step)) for step in self.bundles},
        }

    def run(self) -> dict[str, Any]:
        context, settings, teacher = self.context, self.settings, self.folder / "teacher"
        export_bundle(export_request(context, context.finetuned_model, teacher))
        texts = None
        if settings.text and not context.data.kind.by_token:  # rows of words are not text
            rows = LabelledRows.of(context.data.test)
            texts = (rows.texts, rows.texts_b)
        result = bench(
            BenchRequest(
                models=[str(bundle) for bundle in (teacher, *self.bundles.values())],
                batches=settings.batches,
                lengths=settings.lengths,
                threads=settings.threads,
                engines=list(settings.engines),
                seconds=settings.seconds,
                rounds=settings.rounds,
                texts=texts,
                cache=self.folder,
            )
        )
        write_folder(result, context.folder.benchmark)
        shutil.rmtree(teacher)
        return {"warnings": result["warnings"]}

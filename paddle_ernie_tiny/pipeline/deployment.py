"""The last steps of a run: the exported bundle, and where they are asked for an int8 one beside it and a benchmark."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from ..deploy.bundle import MANIFEST
from ..deploy.export import ExportRequest, export_bundle
from ..deploy.quantize import QuantizeRequest, quantize_bundle
from ..deploy.scoring import LabelledRows
from ..models.weights import model_fingerprint
from .context import RunContext, content
from .lineage import Step, StepRecord, fingerprint

BUNDLE, INT8_BUNDLE = "bundle", "bundle-int8"


def steps(context: RunContext) -> list[Step]:
    """Export, and quantize where the configuration has `export.int8`."""
    wanted = [_export_step(context)]
    if context.config.export.int8 is not None:
        wanted.append(_quantize_step(context))
    if context.config.benchmark is not None:
        wanted.append(_benchmark_step(context))
    return wanted


def _export_step(context: RunContext) -> Step:
    config = context.config
    folder = context.root / BUNDLE
    last = context.stage_step(len(config.stages) - 1)

    return Step(
        name="export",
        folder=context.root / "data" / "export",  # the record; the bundle itself holds only what it serves
        train=lambda _: export_bundle(_request(context, last / "final", folder)),
        inputs=lambda: {
            "export": config.export.model_dump(mode="json", exclude={"int8"}),
            "task": {"name": config.task.name, "metric": config.task.metric},
            "rows": fingerprint([content(e) for e in context.data.test[: config.export.rows]]),
            "upstream": {"student": StepRecord(last, {}).identity()},
        },
        product=folder / MANIFEST,
        shared=False,
    )


def _request(context: RunContext, checkpoint: Path, out: Path) -> ExportRequest:
    config = context.config
    examples = context.data.test[: config.export.rows]
    return ExportRequest(
        checkpoint=str(checkpoint),
        out=str(out),
        task=config.task.name,
        labels=context.data.labels,
        metric=config.task.metric,
        max_length_tokens=config.task.max_length_tokens,
        kind=context.data.kind,
        unit=context.data.unit,
        texts=[list(e.words) if context.data.tagged else e.text for e in examples],
        texts_b=[e.text_b for e in examples] if context.data.pair else None,
        tolerance=config.export.tolerance,
        table={
            "format": config.data.format,
            "header": config.data.header,
            "label_aliases": config.data.label_aliases,
            **config.data.columns.model_dump(mode="json"),
        },
    )


def _benchmark_step(context: RunContext) -> Step:
    """The teacher is exported as the student was; the bundle is only measured, and not kept."""
    from ..benchmark.output import write_folder
    from ..benchmark.run import Request, run
    from ..benchmark.text import Texts

    settings, folder = context.config.benchmark, context.root / "benchmark"
    upstream = ("export", "quantize") if context.config.export.int8 is not None else ("export",)

    def measure(record: Path) -> dict:
        teacher = record / "teacher"
        export_bundle(_request(context, context.finetuned_model, teacher))
        bundles = [teacher, *(context.root / {"export": BUNDLE, "quantize": INT8_BUNDLE}[name] for name in upstream)]
        texts = None
        if settings.text and not context.data.tagged:  # rows of words are no text
            rows = context.data.test
            texts = Texts([e.text for e in rows], [e.text_b for e in rows] if context.data.pair else None)
        result = run(
            Request(
                models=[str(bundle) for bundle in bundles],
                batches=settings.batches,
                lengths=settings.lengths,
                threads=settings.threads,
                engines=settings.engines,
                seconds=settings.seconds,
                rounds=settings.rounds,
                texts=texts,
                cache=record,
            )
        )
        write_folder(result, folder)
        shutil.rmtree(teacher)
        return {"warnings": result["warnings"]}

    return Step(
        name="benchmark",
        folder=context.root / "data" / "benchmark",
        train=measure,
        inputs=lambda: {
            "benchmark": settings.model_dump(mode="json"),
            "rows": context.data.fingerprints,
            "teacher": model_fingerprint(context.finetuned_model),
            "upstream": {name: StepRecord(context.root / "data" / name, {}).identity() for name in upstream},
        },
        product=folder / "result.json",
        shared=False,
    )


def _quantize_step(context: RunContext) -> Step:
    config, settings = context.config, context.config.export.int8
    folder, record = context.root / INT8_BUNDLE, context.root / "data" / "quantize"
    train = context.data.train
    picked = np.linspace(0, len(train) - 1, min(settings.calibration_rows, len(train))).astype(int)
    calibration = [train[i] for i in picked]

    def quantize(_: Path) -> dict:
        return quantize_bundle(
            QuantizeRequest(
                bundle=str(context.root / BUNDLE),
                out=str(folder),
                calibration=_labelled(context, calibration),
                dev=_labelled(context, context.data.dev),
                max_drop_points=settings.max_drop_points,
                auto=settings.auto,
                keep_fp32=settings.keep_fp32,
            )
        )

    return Step(
        name="quantize",
        folder=record,
        train=quantize,
        inputs=lambda: {
            "int8": settings.model_dump(mode="json"),
            "rows": fingerprint([content(e) for e in calibration]),
            "dev": context.data.fingerprints["dev"],
            "metric": config.task.metric,
            "upstream": {"export": StepRecord(context.root / "data" / "export", {}).identity()},
        },
        product=folder / MANIFEST,
        shared=False,
    )


def _labelled(context: RunContext, examples: list) -> LabelledRows:
    if context.data.tagged:
        return LabelledRows([list(e.words) for e in examples], None, [list(e.tags) for e in examples])
    pairs = [e.text_b for e in examples] if context.data.pair else None
    return LabelledRows([e.text for e in examples], pairs, [e.label for e in examples])

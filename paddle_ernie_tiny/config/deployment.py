"""The sections of what follows training: export and benchmark."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..defaults import (
    BENCH_ROUNDS,
    BENCH_SECONDS,
    CALIBRATION_ROWS,
    EXPORT_ROWS,
    EXPORT_TOLERANCE,
    MAX_DROP_POINTS,
)
from ..sections import PositiveInt, Section, Weight

ModelPart = Annotated[str, Field(pattern=r"^(embeddings|head|encoder\.layers\.\d+\.(attention|feed_forward))$")]


class Int8Settings(Section):
    """An int8 bundle beside the fp32 one, for CPUs: calibrated on training rows, gated on the dev split."""

    calibration_rows: PositiveInt = Field(
        CALIBRATION_ROWS, description="training rows that the activations' scales are taken from"
    )
    max_drop_points: Weight = Field(
        MAX_DROP_POINTS, description="hundredths of the metric that int8 may lose; more is refused"
    )
    auto: bool = Field(True, description="leave parts in fp32, the most sensitive first, until the gate passes")
    keep_fp32: list[ModelPart] = Field(
        default_factory=list, description="parts in fp32 from the start, such as encoder.layers.0.attention"
    )


class ExportSettings(Section):
    """Static graph and its parity gate."""

    rows: PositiveInt = Field(EXPORT_ROWS, description="evaluation rows on which both graphs are compared")
    tolerance: Annotated[float, Field(gt=0)] = Field(
        EXPORT_TOLERANCE, description="largest allowed difference of logits"
    )
    int8: Int8Settings | None = Field(None, description="also make bundle-int8/; null: no")


class BenchmarkSettings(Section):
    """Teacher and student side by side after the export, each in a process of its own."""

    batches: list[PositiveInt] = Field([1, 32], min_length=1, description="batch sizes")
    lengths: list[Annotated[int, Field(gt=0, le=512)]] = Field([128], min_length=1, description="tokens per text")
    threads: list[PositiveInt] = Field([1], min_length=1, description="CPU threads")
    engines: list[Literal["paddle", "onnxruntime", "openvino"]] = Field(["paddle"], min_length=1)
    seconds: Annotated[float, Field(gt=0)] = Field(
        BENCH_SECONDS, description="of measuring for each model in each setting"
    )
    rounds: PositiveInt = Field(BENCH_ROUNDS, description="turns that the models take in each setting")
    text: bool = Field(True, description="also from text to label, on the test split")

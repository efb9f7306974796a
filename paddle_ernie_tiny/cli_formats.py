"""Verbs that turn models and bundles into other formats; cli.py adds them to the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

import paddle_ernie_tiny as et

from .cli_options import Bundle, EngineNames, Rows, Tolerance, split
from .defaults import CALIBRATION_ROWS, EXPORT_TOLERANCE, MAX_DROP_POINTS, MAX_LENGTH_TOKENS
from .machine import has_vnni, import_paddle, tune_process


def export(
    checkpoint: Annotated[Path, Argument(help="folder of a fine-tuned classifier, such as a stage's final/")],
    out: Annotated[Path, Argument(help="the bundle to write")],
    input: Rows,
    tolerance: Tolerance = EXPORT_TOLERANCE,
    max_length: Annotated[int, Option(help="tokens per row, with [CLS] and [SEP]")] = MAX_LENGTH_TOKENS,
    task: Annotated[str, Option(help="name that goes into the manifest")] = "classification",
    labels: Annotated[str | None, Option(help="names of labels that have none, in id order: bad,good")] = None,
    text: Annotated[str | None, Option(help="column of the text; default: one text or pair per line")] = None,
    text_b: Annotated[str | None, Option(help="column of the second text")] = None,
    long_text: Annotated[str | None, Option(help="truncate, head_tail or windows, as in training")] = None,
    engines: EngineNames = "paddle",
) -> None:
    """Export a classifier to a static-graph bundle; nothing is written if the graphs differ."""
    import_paddle()
    names = None if labels is None else [name.strip() for name in labels.split(",")]
    how = tolerance, max_length, task, names, text, text_b, long_text, split(engines)
    parity = et.export(checkpoint, out, input, *how)
    typer.echo(f"{out}: exported, logits differ by at most {parity['max_abs_diff']:.2e} on {parity['rows']} rows")


def export_hf(
    checkpoint: Annotated[Path, Argument(help="model folder, or output_dir of a run: its student")],
    out: Annotated[Path, Argument(help="the folder to write; it must not be there")],
    input: Annotated[Path | None, Option(help="text file with further rows to compare on")] = None,
    python: Annotated[Path | None, Option(help="a Python that has torch and transformers; default: this one")] = None,
    max_length: Annotated[int | None, Option(min=4, help="tokens per row; default: as in the run")] = None,
    tolerance: Tolerance = EXPORT_TOLERANCE,
) -> None:
    """Write a folder that Hugging Face transformers loads; not kept if its answers differ."""
    import_paddle()
    parity = et.export_hf(checkpoint, out, input, python, max_length, tolerance)
    figures = parity and f"logits differ by at most {parity['max_abs_diff']:.2e} on {parity['rows']} rows"
    typer.echo(f"{out}: written; {figures or 'NOT compared: no torch and transformers here (--python names another)'}")


def export_serving(
    bundle: Bundle,
    out: Annotated[Path, Argument(help="the folder to write; its README.md says how to start it")],
    http_port: Annotated[int, Option(min=1024, max=65535, help="port of the HTTP gateway")] = 9292,
    rpc_port: Annotated[int, Option(min=1024, max=65535, help="port of gRPC")] = 9293,
    threads: Annotated[int, Option(min=1, help="CPU threads per forward pass, on the machine that serves")] = 1,
) -> None:
    """Write a bundle as a folder for Paddle Serving 0.9 (unmaintained; `serve` is the first choice)."""
    import_paddle()
    from .paddle_serving.serving_folder import export_paddle_serving

    export_paddle_serving(bundle, out, http_port, rpc_port, threads)
    typer.echo(f"{out}: written; {out / 'README.md'} says how to install and start it")


def quantize(
    bundle: Annotated[Path, Argument(help="fp32 bundle")],
    out: Annotated[Path, Argument(help="the int8 or bf16 bundle to write")],
    dev: Annotated[Path, Option(help="labelled file on which it is compared with fp32")],
    calibrate: Annotated[
        Path | None, Option(help="for int8: training file; scales of activations are taken from its rows")
    ] = None,
    rows: Annotated[int, Option(min=1, help="calibration rows, spread over the file")] = CALIBRATION_ROWS,
    max_drop: Annotated[float, Option(min=0, help="points of the metric that it may lose")] = MAX_DROP_POINTS,
    auto: Annotated[bool, Option(help="leave parts in fp32, the most sensitive first, until the gate passes")] = True,
    keep_fp32: Annotated[
        list[str] | None, Option(help="a part that stays in fp32, such as encoder.layers.0.attention; repeatable")
    ] = None,
    engines: Annotated[str | None, Option("--engine", help="as in export; default: the fp32 bundle's")] = None,
    precision: Annotated[str, Option(help="int8, or bf16 on a CPU that has it")] = "int8",
) -> None:
    """Make an int8 or bf16 bundle for CPUs; nothing is written if the task's metric falls too far in an engine."""
    tune_process()
    named = None if engines is None else split(engines)
    et.quantize(bundle, out, calibrate, dev, rows, max_drop, auto, keep_fp32, named, precision)
    from .deploy.bundle import read_manifest

    for name, parity in read_manifest(out).figures.items():
        scores = f"metric {parity[f'metric_{precision}']:.4f} against {parity['metric_fp32']:.4f} in fp32"
        typer.echo(f"{out}: {precision}, {scores} on {parity['rows']:.0f} rows, in {name}")
    if precision == "int8" and not has_vnni():
        typer.echo("note: this CPU has no VNNI instructions; here int8 saves space, not time", err=True)


def onnx(
    bundle: Annotated[Path, Argument(help="fp32 bundle")],
    out: Annotated[Path, Argument(help="folder to write: model.onnx, tokenizer, manifest")],
    input: Rows,
    tolerance: Tolerance = EXPORT_TOLERANCE,
    engines: EngineNames = "onnxruntime",
) -> None:
    """Convert a bundle to ONNX; nothing is written if an engine answers differently."""
    from .deploy.onnx_graph import onnx as convert_bundle

    parity = convert_bundle(bundle, out, input, tolerance, split(engines))
    typer.echo(f"{out}: ONNX, logits differ by at most {parity['max_abs_diff']:.2e} on {parity['rows']} rows")


def prune_vocabulary(
    model: Annotated[Path, Argument(help="model folder: a teacher, or a stage's final/")],
    out: Annotated[Path, Argument(help="the smaller folder to write")],
    corpus: Annotated[list[str], Option(help="folder of .txt files, glob or file; repeatable")],
    keep: Annotated[int, Option(min=0, help="further tokens to keep, in the vocabulary's order")] = 0,
) -> None:
    """Drop the tokens that a corpus does not use, from vocabulary and embeddings together."""
    import_paddle()
    from .data.corpus import read_lines
    from .models.build import resolve_model
    from .models.prune import prune_vocabulary as prune

    lines = (line for path in corpus for line in read_lines(os.path.expanduser(path)))
    typer.echo(json.dumps(prune(resolve_model(str(model)), out, lines, keep), indent=1))

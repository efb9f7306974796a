"""The command line: verbs and nothing else. Heavy imports happen inside the verbs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

import paddle_ernie_tiny as et

from .benchmark.request import BenchRequest
from .cli_formats import export, export_hf, export_serving, onnx, prune_vocabulary, quantize
from .cli_options import (
    BatchSize,
    Bundle,
    Config,
    EngineName,
    LabelColumn,
    Overrides,
    SecondColumn,
    TextColumn,
    Threads,
    fail,
    run_verb,
    with_homes,
    with_options,
)
from .defaults import AUTO, BATCH_SIZE
from .deploy.server.options import ServeOptions, named_bundles
from .distributed import processes
from .errors import InputError
from .files import require_writable
from .machine import import_paddle, tune_process
from .watch import interrupted, leave_signals, release_signals, stop_on_signals

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Four-stage distillation of BERT and ERNIE models (ERNIE-Tiny, arXiv 2106.02241).",
)


@app.command()
def validate(config: Config, overrides: Overrides = None) -> None:
    """Check everything that can be checked before training; all errors at once."""
    from .config import load_config

    checked = load_config(config, overrides or ())
    import_paddle()
    from .pipeline.preflight import preflight

    preflight(checked)
    typer.echo(f"{config}: valid")


@app.command()
def run(
    config: Config,
    overrides: Overrides = None,
    from_stage: Annotated[str | None, Option(help="run this step and all after it again")] = None,
    until: Annotated[str | None, Option(help="stop after this step")] = None,
    fresh: Annotated[bool, Option("--fresh", help="remove earlier work in output_dir first")] = False,
    devices: Annotated[str | None, Option(help="GPUs to train on: 0,1,2,3; on CPUs, one process per number")] = None,
    save_minutes: Annotated[float | None, Option(help="a checkpoint also by time, as save_minutes: N")] = None,
) -> None:
    """Run the whole pipeline; the same command again continues where it stopped."""
    from .config import load_config

    by_time = [] if save_minutes is None else [f"save_minutes={save_minutes}"]
    checked = load_config(config, [*(overrides or ()), *by_time])
    if devices is not None and processes() == 1:
        from .pipeline.launch import run_on_devices

        raise typer.Exit(run_on_devices(checked, devices, sys.argv[1:]))
    import_paddle()
    from .pipeline.run import run as run_pipeline
    from .pipeline.summary import print_summary

    report = run_pipeline(checked, from_stage, until, fresh)
    if report is not None:
        print_summary(report)


@app.command()
def ablate(
    config: Annotated[Path, Argument(help="YAML file of the study, such as configs/ablate-demo.yaml")],
    overrides: Overrides = None,
    own_steps: Annotated[bool, Option("--own-steps", help="each recipe as it is, not with equal steps")] = False,
    only: Annotated[
        list[str] | None, Option(help="jobs whose names begin so, such as mrpc/seed-1/; repeatable")
    ] = None,
) -> None:
    """Train variants of a recipe on several tasks and seeds; the same command again continues where it stopped."""
    import_paddle()
    from .study.ablate import ablate as run_study
    from .study.study_summary import print_study

    print_study(run_study(config, [*(overrides or ()), *(["equal_steps=false"] if own_steps else [])], only or ()))


@app.command()
def search(
    config: Annotated[Path, Argument(help="YAML file of the search, such as configs/search-demo.yaml")],
    overrides: Overrides = None,
    budget: Annotated[
        list[str] | None,
        Option(help='bound, such as "latency_ms<=5"; several with commas, or repeated; on top of the file\'s'),
    ] = None,
) -> None:
    """Find the best student within a budget: measure shapes, train those that fit; the same command continues."""
    import_paddle()
    from .budget_search.run_search import search as run_search
    from .budget_search.search_summary import print_search

    print_search(run_search(config, overrides or (), budget or ()))


@app.command()
def report(run_dir: Annotated[Path, Argument(help="output_dir of a finished run")]) -> None:
    """Write report.json, report.md and report.html again."""
    from .pipeline.report import write_report
    from .pipeline.summary import print_summary

    print_summary(write_report(run_dir))


@app.command()
def verify(folder: Annotated[Path, Argument(help="output_dir of a run, or a bundle")]) -> None:
    """Check every file of a run or a bundle against its SHA-256; exit code 2 if one is damaged."""
    from .pipeline.verify import verify as verify_folder

    damaged = verify_folder(folder)
    if damaged:
        raise InputError(f"{damaged} parts are damaged", str(folder), "the lines above say what makes them again")


for _convert in (export, export_hf, export_serving, quantize, onnx, prune_vocabulary):
    app.command()(_convert)


@app.command()
def predict(
    bundle: Bundle,
    text: Annotated[str | None, Argument(help="the text, or the first of a pair")] = None,
    text_b: Annotated[str | None, Argument(help="the second of a pair")] = None,
    input: Annotated[Path | None, Option(help="file: a row per line, or as in training; -: standard input")] = None,
    output: Annotated[Path | None, Option(help="file to write; default: standard output")] = None,
    format: Annotated[str, Option(help="of the answers: jsonl, csv or tsv")] = "jsonl",
    top: Annotated[int | None, Option(min=1, help="give only so many labels, the most likely ones")] = None,
    batch_size: BatchSize = BATCH_SIZE,
    threads: Threads = AUTO,
    device: Annotated[str, Option(help="cpu or gpu")] = "cpu",
    precision: Annotated[str | None, Option(help="fp16 on a GPU; default: the bundle's own")] = None,
    engine: EngineName = AUTO,
) -> None:
    """Labels and probabilities of one text, or of a file."""
    if output is not None:
        require_writable(output, input)
    tune_process()
    from .deploy.answers import predict_rows

    how = batch_size, device, threads, precision, engine
    predict_rows(bundle, text, text_b, input, output, format, top, *how)


@app.command()
def evaluate(
    bundle: Bundle,
    file: Annotated[Path, Argument(help="labelled file in any of the formats of training data")],
    text: TextColumn = None,
    text_b: SecondColumn = None,
    label_column: LabelColumn = None,
    batch_size: BatchSize = BATCH_SIZE,
    threads: Threads = AUTO,
    engine: EngineName = AUTO,
) -> None:
    """Task metrics of a bundle on a labelled file, as JSON; tables of each label go to standard error."""
    tune_process()
    from .deploy.row_files import print_evaluation

    print_evaluation(et.evaluate(bundle, file, text, text_b, label_column, batch_size, threads, engine))


@app.command()
def label(
    model: Annotated[Path, Argument(help="bundle; output_dir of a run: its teacher; or folder of a fine-tuned model")],
    file: Annotated[Path, Argument(help="a row per line, or as in training; -: standard input")],
    output: Annotated[Path | None, Option(help="JSON lines to write; default: standard output")] = None,
    text: TextColumn = None,
    text_b: SecondColumn = None,
    label_column: LabelColumn = None,
    max_length: Annotated[int | None, Option(min=4, help="tokens per row, of a model outside of a run")] = None,
    batch_size: BatchSize = BATCH_SIZE,
    threads: Threads = AUTO,
) -> None:
    """Write a file's rows with a model's probabilities, for data.columns.soft_labels."""
    import_paddle()
    rows = et.label(model, file, output, text, text_b, label_column, max_length, batch_size, threads)
    if output is not None:
        typer.echo(f"{output}: {rows} rows with soft labels")


@app.command()
@with_options(ServeOptions, "options")
def serve(
    bundles: Annotated[list[str], Argument(help="bundle folders; name=FOLDER gives one a name", metavar="BUNDLE")],
    options: ServeOptions,
) -> None:
    """Answer over HTTP: /v1/predict, a page to try texts at /, /openapi.json, /metrics."""
    named = named_bundles(bundles)
    tune_process()
    leave_signals()
    from .deploy.server.serve import serve as run_server

    run_server(named, options)


@app.command()
@with_options(BenchRequest, "request")
def bench(
    request: BenchRequest,
    json_file: Annotated[Path | None, Option("--json", help="the result, raw samples included")] = None,
    out: Annotated[Path | None, Option(help="folder for result.json, tables.md and plots")] = None,
) -> None:
    """Benchmark models side by side: latency, throughput, memory, size."""
    import_paddle()
    from .benchmark.bench import bench as run_bench
    from .benchmark.results import print_tables

    print_tables(run_bench(request, json_file, out, say=lambda text: typer.echo(text, err=True)))


for _verb in app.registered_commands:
    assert _verb.callback is not None
    _verb.callback = with_homes(_verb.callback)


def main() -> None:
    """Entry point: exit code 0 done, 2 wrong input, 1 anything else, 130 after Ctrl-C, 143 after SIGTERM."""
    try:
        stop_on_signals()
        run_verb(app)
    except KeyboardInterrupt:
        fail(interrupted())
    finally:
        release_signals()

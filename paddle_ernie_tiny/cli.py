"""The command line: verbs and nothing else. Heavy imports happen inside the verbs."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from .distributed import let_main_fail_first, processes
from .errors import ErnieTinyError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Four-stage distillation of BERT and ERNIE models (ERNIE-Tiny, arXiv 2106.02241).",
)
Config = Annotated[Path, typer.Argument(help="YAML file of the run, such as configs/demo.yaml")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.sub=value, in place of what the file says")]


@app.command()
def validate(config: Config, overrides: Overrides = None) -> None:
    """Check everything that can be checked before training; all errors at once."""
    from .config import load_config

    checked = load_config(config, overrides or ())
    _prepare()
    from .pipeline.preflight import preflight

    preflight(checked)
    typer.echo(f"{config}: valid")


@app.command()
def run(
    config: Config,
    overrides: Overrides = None,
    from_stage: Annotated[str | None, typer.Option(help="make this step and all after it anew")] = None,
    until: Annotated[str | None, typer.Option(help="stop after this step")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="throw away earlier work in output_dir")] = False,
    devices: Annotated[
        str | None, typer.Option(help="GPUs that train together, such as 0,1,2,3; on CPUs, a process for each number")
    ] = None,
) -> None:
    """Run the whole pipeline; run it again and it carries on where it stopped."""
    from .config import load_config

    checked = load_config(config, overrides or ())
    if devices is not None and processes() == 1:
        from .pipeline.launch import run_on_devices

        raise typer.Exit(run_on_devices(checked, devices, sys.argv[1:]))
    _prepare()
    from .pipeline.run import run as run_pipeline
    from .pipeline.summary import print_summary

    report = run_pipeline(checked, from_stage, until, fresh)
    if report is not None:
        print_summary(report)


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(help="output_dir of a finished run")]) -> None:
    """Write report.json, report.md and report.html again."""
    _prepare()
    from .pipeline.report import write_report
    from .pipeline.summary import print_summary

    print_summary(write_report(run_dir))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="folder of a fine-tuned classifier, such as a stage's final/")],
    out: Annotated[Path, typer.Argument(help="the bundle to write")],
    input: Annotated[Path, typer.Option(help="text file, one row a line (pairs: tab between); rows of the gate")],
    tolerance: Annotated[float, typer.Option(help="largest allowed difference of logits")] = 1e-4,
    max_length: Annotated[int, typer.Option(help="tokens a row, with [CLS] and [SEP]")] = 128,
    task: Annotated[str, typer.Option(help="name that goes into the manifest")] = "classification",
) -> None:
    """Export a classifier to a static-graph bundle, behind a parity gate."""
    from .deploy.commands import export_checkpoint

    _prepare()
    parity = export_checkpoint(checkpoint, out, input, tolerance, max_length, task)
    typer.echo(f"{out}: exported, logits differ by at most {parity['max_abs_diff']:.2e} on {parity['rows']} rows")


@app.command()
def export_serving(
    bundle: Annotated[Path, typer.Argument(help="bundle folder")],
    out: Annotated[Path, typer.Argument(help="the folder to write; its README.md says how to start it")],
    http_port: Annotated[int, typer.Option(min=1024, max=65535, help="port of the HTTP gateway")] = 9292,
    rpc_port: Annotated[int, typer.Option(min=1024, max=65535, help="port of gRPC")] = 9293,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a forward pass")] = 1,
) -> None:
    """Write a bundle as a folder for Paddle Serving 0.9 (unmaintained; `serve` is the first choice)."""
    _prepare()
    from .deploy.paddle_serving import export_paddle_serving

    export_paddle_serving(bundle, out, http_port, rpc_port, threads)
    typer.echo(f"{out}: written; {out / 'README.md'} says how to install and start it")


@app.command()
def quantize(
    bundle: Annotated[Path, typer.Argument(help="fp32 bundle")],
    out: Annotated[Path, typer.Argument(help="the int8 bundle to write")],
    calibrate: Annotated[Path, typer.Option(help="training file; scales of activations are taken from its rows")],
    dev: Annotated[Path, typer.Option(help="labelled file of the gate")],
    rows: Annotated[int, typer.Option(min=1, help="calibration rows, spread over the file")] = 64,
    max_drop: Annotated[float, typer.Option(min=0, help="points of the metric that int8 may lose")] = 0.5,
    auto: Annotated[
        bool,
        typer.Option("--auto/--no-auto", help="leave parts in fp32, the most sensitive first, until the gate passes"),
    ] = True,
    keep_fp32: Annotated[
        list[str] | None, typer.Option(help="a part that stays in fp32, such as encoder.layers.0.attention; repeatable")
    ] = None,
) -> None:
    """Make an int8 bundle for CPUs, behind a gate on the task's metric."""
    from .deploy.commands import quantize_command

    _prepare()
    parity = quantize_command(bundle, out, calibrate, dev, rows, max_drop, auto, keep_fp32 or [])
    typer.echo(
        f"{out}: int8, metric {parity['metric_int8']:.4f} against {parity['metric_fp32']:.4f} in fp32 "
        f"on {parity['rows']} rows"
    )
    from .deploy.quantize import has_vnni

    if not has_vnni():
        typer.echo("note: this CPU has no AVX-512 VNNI; here int8 saves space, not time", err=True)


@app.command()
def onnx(
    bundle: Annotated[Path, typer.Argument(help="fp32 bundle")],
    out: Annotated[Path, typer.Argument(help="folder to write: model.onnx, tokenizer, manifest")],
    input: Annotated[Path, typer.Option(help="text file, one row a line (pairs: tab between); rows of the gate")],
    tolerance: Annotated[float, typer.Option(help="largest allowed difference of logits")] = 1e-4,
) -> None:
    """Convert a bundle to ONNX, behind a parity gate in ONNX Runtime."""
    from .deploy.commands import onnx_command

    _prepare()
    parity = onnx_command(bundle, out, input, tolerance)
    typer.echo(f"{out}: ONNX, logits differ by at most {parity['max_abs_diff']:.2e} on {parity['rows']} rows")


@app.command()
def prune_vocabulary(
    model: Annotated[Path, typer.Argument(help="model folder: a teacher, or a stage's final/")],
    out: Annotated[Path, typer.Argument(help="the smaller folder to write")],
    corpus: Annotated[list[str], typer.Option(help="folder of .txt files, glob or file; repeatable")],
    keep: Annotated[int, typer.Option(min=0, help="further tokens to keep, in the vocabulary's order")] = 0,
) -> None:
    """Drop the tokens that a corpus does not use, from vocabulary and embeddings together."""
    _prepare()
    from .data.corpus import read_lines
    from .models.build import resolve_model
    from .models.prune import prune_vocabulary as prune

    lines = (line for path in corpus for line in read_lines(path))
    made = prune(resolve_model(str(model)), out, lines, keep)
    typer.echo(json.dumps(made, indent=1))


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="bundle folder")],
    text: Annotated[str | None, typer.Argument(help="the text, or the first of a pair")] = None,
    text_b: Annotated[str | None, typer.Argument(help="the second of a pair")] = None,
    input: Annotated[Path | None, typer.Option(help="text file, one row a line (pairs: tab between)")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON lines; default: standard output")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="rows a forward pass")] = 32,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 1,
    device: Annotated[str, typer.Option(help="cpu or gpu")] = "cpu",
    precision: Annotated[
        str | None, typer.Option(help="bf16 on a CPU, fp16 on a GPU; default: the bundle's own")
    ] = None,
) -> None:
    """Labels and probabilities of one text, or of a file."""
    _prepare()
    from .deploy.commands import predict_rows

    predict_rows(bundle, text, text_b, input, output, batch_size, threads, device, precision)


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="bundle folder")],
    file: Annotated[Path, typer.Argument(help="labelled tsv, csv or jsonl file")],
    text: Annotated[str | None, typer.Option(help="column of the text; default: as in training")] = None,
    text_b: Annotated[str | None, typer.Option(help="column of the second text")] = None,
    label: Annotated[str | None, typer.Option(help="column of the label")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="rows a forward pass")] = 32,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 1,
) -> None:
    """Task metrics of a bundle on a labelled file, as JSON."""
    _prepare()
    from .deploy.commands import evaluate_bundle

    typer.echo(json.dumps(evaluate_bundle(bundle, file, text, text_b, label, batch_size, threads), indent=1))


@app.command()
def serve(
    bundles: Annotated[
        list[str], typer.Argument(help="bundle folders; name=FOLDER gives one a name", metavar="BUNDLE")
    ],
    host: Annotated[str, typer.Option(help="address to listen on; 0.0.0.0 for all")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one; the log says which")] = 8000,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of one forward pass")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="most rows of a forward pass")] = 16,
    max_wait_ms: Annotated[float, typer.Option(min=0, help="how long a row waits for others, when idle")] = 2.0,
    queue_rows: Annotated[int, typer.Option(min=1, help="rows that may wait for a bundle; then 429")] = 512,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="larger bodies are refused")] = 1_000_000,
    max_texts: Annotated[int, typer.Option(min=1, help="most rows of a request")] = 256,
    max_characters: Annotated[int, typer.Option(min=1, help="most characters of a text")] = 10_000,
    body_seconds: Annotated[float, typer.Option(min=0.1, help="time for a client to send its request")] = 10.0,
    request_seconds: Annotated[float, typer.Option(min=0.1, help="time for the answer; then 503")] = 30.0,
    drain_seconds: Annotated[float, typer.Option(min=0, help="time to stay open after SIGTERM")] = 1.0,
    max_connections: Annotated[int, typer.Option(min=1, help="connections open at a time")] = 2048,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="ERNIE_TINY_API_KEY", help="asked of clients as 'Authorization: Bearer KEY'"),
    ] = None,
) -> None:
    """Answer over HTTP: /v1/predict, a page to try texts at /, /openapi.json, /metrics."""
    from .deploy.server.options import ServeOptions, named_bundles

    options = ServeOptions(
        host=host,
        port=port,
        threads=threads,
        max_batch_rows=batch_size,
        max_wait_ms=max_wait_ms,
        queue_rows=queue_rows,
        max_body_bytes=max_body_bytes,
        max_texts=max_texts,
        max_characters=max_characters,
        body_seconds=body_seconds,
        request_seconds=request_seconds,
        drain_seconds=drain_seconds,
        max_connections=max_connections,
        api_key=api_key,
    )
    named = named_bundles(bundles)
    _prepare()
    from .deploy.server.run import serve as run_server

    run_server(named, options)


@app.command()
def bench(
    model: Annotated[
        list[str],
        typer.Option(
            help="bundle folder, or a shape with random weights: bert-base, 4l-312h, 6l-768h, 3l-192h-12heads-768ffn; "
            "@fp32, @int8 and @plain (the graph without the toolkit's shortcuts) may follow; the first is the reference"
        ),
    ],
    batch: Annotated[str, typer.Option(help="texts a call, as a list: 1,32")] = "1",
    length: Annotated[str, typer.Option(help="tokens a text, as a list")] = "128",
    threads: Annotated[str, typer.Option(help="CPU threads, as a list")] = "1",
    precision: Annotated[str, typer.Option(help="of plain shapes: fp32, int8 or both")] = "fp32",
    engine: Annotated[str, typer.Option(help="paddle, onnxruntime, openvino, paddle-tensorrt")] = "paddle",
    device: Annotated[str, typer.Option(help="cpu or gpu")] = "cpu",
    seconds: Annotated[float, typer.Option(min=0.05, help="of measuring for each model in each setting")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="turns that the models take in each setting")] = 5,
    text: Annotated[Path | None, typer.Option(help="a data set (or a text a line): text to label as well")] = None,
    column: Annotated[list[str] | None, typer.Option(help="its column of text; twice for pairs")] = None,
    label: Annotated[str | None, typer.Option(help="its column of labels: bundles are scored too")] = None,
    bare: Annotated[bool, typer.Option(help="measure the models without text around them")] = True,
    profile: Annotated[bool, typer.Option("--profile", help="also where the time goes, by operation")] = False,
    cache: Annotated[Path | None, typer.Option(help="keeps exported shapes; default: the user's cache")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="the result, raw samples included")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for result.json, tables.md and plots")] = None,
) -> None:
    """Benchmark models side by side: latency, throughput, memory, size."""
    _prepare()
    from .benchmark.commands import numbers, run_bench, words
    from .benchmark.run import Request

    request = Request(
        models=model,
        batches=numbers(batch, "--batch"),
        lengths=numbers(length, "--length"),
        threads=numbers(threads, "--threads"),
        precisions=words(precision),
        engines=words(engine),
        device=device,
        seconds=seconds,
        rounds=rounds,
        text=text,
        columns=column or [],
        label=label,
        bare=bare,
        profile=profile,
        **({} if cache is None else {"cache": cache}),
    )
    run_bench(request, json_file, out)


def _prepare() -> None:
    from .runtime import import_paddle, tune_process

    tune_process()
    import_paddle()


def main() -> None:
    """Entry point: exit code 0 done, 2 wrong input, 1 anything else, 130 after Ctrl-C."""
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except ErnieTinyError as error:
        let_main_fail_first()
        _show(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to carry on", file=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError as error:
        if os.environ.get("ERNIE_TINY_DEBUG") == "1":
            traceback.print_exc()
        print(
            f"error: the package {error.name!r} is not installed\n"
            "  remedy: install the toolkit with its cpu or gpu extra (serving is for predict and evaluate alone)",
            file=sys.stderr,
        )
        sys.exit(2)
    except Exception as error:
        # Typer brings classes of its own for wrong usage and for leaving; they differ between its versions.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(2)
        if type(error).__name__ in ("Abort", "Exit"):
            sys.exit(getattr(error, "exit_code", 130))
        if os.environ.get("ERNIE_TINY_DEBUG") == "1":
            traceback.print_exc()
        else:  # the last resort: one line, and the way to the traceback
            print(
                f"error: {type(error).__name__}: {error}\n  remedy: set ERNIE_TINY_DEBUG=1 for the traceback",
                file=sys.stderr,
            )
        sys.exit(1)


def _show(error: ErnieTinyError) -> None:
    if os.environ.get("ERNIE_TINY_DEBUG") == "1":
        traceback.print_exc()
    print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()

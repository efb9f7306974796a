"""What the verbs export, predict and evaluate do; from a bundle alone but for export."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..data.tags import split_text, unit_of
from ..errors import InputError
from ..files import write_text
from .answers import answer_row
from .bundle import read_manifest
from .predictor import Predictor
from .scoring import LabelledRows, read_labelled, scores


def export_checkpoint(
    checkpoint: Path, out: Path, rows_file: Path, tolerance: float, max_length: int, task: str
) -> dict:
    """Exports a classifier folder; labels come from its configuration. Returns the parity figures."""
    from ..models.build import read_model_config
    from .export import ExportRequest, export_bundle

    if not checkpoint.is_dir():
        raise InputError("no such folder", str(checkpoint), "give the final/ folder of a stage")
    config = read_model_config(checkpoint)
    names = config.get("id2label")
    if not names:
        raise InputError("config.json names no labels", str(checkpoint), "give a fine-tuned classifier")
    tagged = any("ForTokenClassification" in name for name in config.get("architectures") or [])
    kind = "token_classification" if tagged else "regression" if len(names) == 1 else "classification"
    texts, texts_b = read_rows(rows_file)
    unit = unit_of(map(list, texts)) if tagged else None  # Chinese is tagged by character
    return export_bundle(
        ExportRequest(
            checkpoint=str(checkpoint),
            out=str(out),
            task=task,
            labels=[names[key] for key in sorted(names, key=int)],
            metric={"regression": "pearson_spearman", "token_classification": "entity_f1"}.get(kind, "accuracy"),
            kind=kind,
            unit=unit,
            max_length_tokens=max_length,
            texts=[[word for word, _, _ in split_text(text, unit)] for text in texts] if tagged else texts,
            texts_b=texts_b,
            tolerance=tolerance,
            table={
                "format": "auto",
                "header": "auto",
                "text": 0,
                "text_b": 1 if texts_b else None,
                "label": 2 if texts_b else 1,
            },
        )
    )


def predict_rows(
    bundle: Path,
    text: str | None,
    text_b: str | None,
    input_file: Path | None,
    output_file: Path | None,
    batch_size: int,
    threads: int,
    device: str,
    precision: str | None = None,
) -> None:
    """Writes one JSON object a row; the output file appears only when all rows are answered."""
    if (text is None) == (input_file is None):
        raise InputError("give a text or --input FILE, not both and not neither", "predict", "see predict --help")
    if device not in ("cpu", "gpu"):
        raise InputError(f"unknown device {device!r}", "--device", "use cpu or gpu")
    if text is not None:
        texts, texts_b = [text], None if text_b is None else [text_b]
        for given in (text, text_b):
            if given is not None and not given.strip():
                raise InputError("the text is empty", "predict", "give a text with characters in it")
    else:
        texts, texts_b = read_rows(input_file)
    predictor = Predictor(bundle, device, threads, precision)
    lines = [
        json.dumps(answer_row(texts[i], texts_b[i] if texts_b else None, answer), ensure_ascii=False)
        for i, answer in enumerate(predictor.predict(texts, texts_b, batch_size))
    ]
    body = "\n".join(lines) + "\n"
    if output_file is None:
        sys.stdout.write(body)
    else:
        write_text(output_file, body)


def read_rows(path: Path) -> tuple[list[str], list[str] | None]:
    """One text a line; with a tab in every line, pairs. Raises InputError that names file and line."""
    if not path.is_file():
        raise InputError("no such file", str(path), "check the path")
    texts, pairs = [], []
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise InputError("not UTF-8", f"{path}:{number}", "save the file as UTF-8") from None
            if not line.strip():
                raise InputError("empty line", f"{path}:{number}", "take the line out")
            first, tab, second = line.partition("\t")
            if pairs and bool(tab) != pairs[0]:
                raise InputError(
                    "some lines hold a tab (a pair) and some do not",
                    f"{path}:{number}",
                    "give all lines one shape",
                )
            pairs.append(bool(tab))
            texts.append((first, second))
    if not texts:
        raise InputError("the file is empty", str(path), "give at least one row")
    return [a for a, _ in texts], [b for _, b in texts] if pairs[0] else None


def evaluate_bundle(
    bundle: Path,
    file: Path,
    text: str | None,
    text_b: str | None,
    label: str | None,
    batch_size: int,
    threads: int,
) -> dict:
    """The task's metric and accuracy of a bundle on a labelled file.

    Columns not given are those of the training data, as the manifest records them.
    """
    predictor = Predictor(bundle, threads=threads)
    rows = read_labelled(predictor.manifest, file, text, text_b, label)
    return {
        "rows": len(rows.gold),
        **scores(predictor.manifest, predictor.logits(rows.texts, rows.texts_b, batch_size), rows),
    }


def quantize_command(
    bundle: Path, out: Path, calibrate: Path, dev: Path, rows: int, max_drop: float, auto: bool, keep_fp32: list[str]
) -> dict:
    """Makes the int8 bundle from labelled files in the layout of the training data; returns its parity figures."""
    from .quantize import QuantizeRequest, quantize_bundle

    manifest = read_manifest(bundle)
    training = read_labelled(manifest, calibrate)
    count = len(training.texts)
    picked = [round(i * (count - 1) / max(1, min(rows, count) - 1)) for i in range(min(rows, count))]
    calibration = LabelledRows(
        [training.texts[i] for i in picked],
        [training.texts_b[i] for i in picked] if training.texts_b is not None else None,
        [training.gold[i] for i in picked],
    )
    return quantize_bundle(
        QuantizeRequest(
            bundle=str(bundle),
            out=str(out),
            calibration=calibration,
            dev=read_labelled(manifest, dev),
            max_drop_points=max_drop,
            auto=auto,
            keep_fp32=keep_fp32,
        )
    )


def onnx_command(bundle: Path, out: Path, rows_file: Path, tolerance: float) -> dict:
    """Converts a bundle to ONNX; rows of the parity gate are one text a line (pairs: tab between)."""
    from .onnx import OnnxRequest, export_onnx

    texts, texts_b = read_rows(rows_file)
    manifest = read_manifest(bundle)
    if manifest.task_type == "token_classification":
        texts = [[word for word, _, _ in split_text(text, manifest.unit)] for text in texts]
    return export_onnx(OnnxRequest(str(bundle), str(out), texts, texts_b, tolerance))

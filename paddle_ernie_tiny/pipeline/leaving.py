"""Leaving Paddle: a model of a run, or any model folder, as a folder for transformers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import __version__
from ..defaults import EXPORT_TOLERANCE
from ..deploy.card import CARD, write_transformers_card
from ..deploy.row_files import read_texts
from ..deploy.torch_folder import Leaving, read_leaving, write_torch_folder
from ..deploy.torch_parity import compare, torch_python
from ..errors import InputError
from ..files import new_folder, write_text
from ..models.architectures import check_room, usable_positions
from .report import read_resolved
from .step import FINAL, RunFolder


def export_hf(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    rows: str | os.PathLike | None = None,
    python: str | os.PathLike | None = None,
    max_length_tokens: int | None = None,
    tolerance: float = EXPORT_TOLERANCE,
) -> dict[str, Any] | None:
    """Writes a folder that transformers (PyTorch) loads as it stands, and compares its answers with ours.

    Args:
        checkpoint: a model folder, or a run's `output_dir`: its finished student.
        out: the new folder. Nothing that is there is replaced.
        rows: a text file with further rows to compare on, a tab between the texts of a pair; of a model that is no
            classifier the first 32 are compared.
        python: an interpreter that has torch and transformers; default: this one, if it has them.
        max_length_tokens: where transformers cuts a row; default: as in the run, else the model's positions.
        tolerance: largest difference of logits (of an encoder: of its last hidden states).

    Returns the parity figures; None if there is no torch to compare with, which the folder's README.md says too. Raises
    InputError, and GateError if transformers answers otherwise: `out` is then not there.
    """
    folder = _model_of(Path(checkpoint))
    model = read_leaving(folder)
    most = usable_positions(model.config)
    length = max_length_tokens or min(most, _length_of(folder) or most)
    texts, texts_b = ([], None) if rows is None else read_texts(Path(rows))
    check_room(model.config, {"--max-length": length}, texts_b is not None, folder, model.tokenizer.segments)
    given = [[text] for text in texts] if texts_b is None else [list(pair) for pair in zip(texts, texts_b, strict=True)]
    target, interpreter = Path(out), torch_python(None if python is None else str(python))
    with new_folder(target) as temporary:
        write_torch_folder(model, temporary, length)
        parity = None
        if interpreter is not None:
            parity = compare(model, temporary, target, interpreter, given, length, tolerance)
        _describe(model, temporary, parity)
    return parity


def _model_of(given: Path) -> Path:
    """The model folder that is meant: of a run, its student. Raises InputError for none."""
    if not given.is_dir():
        raise InputError("no such folder", str(given), "give a model folder, or the output_dir of a run")
    run = RunFolder(given)
    if not run.resolved.is_file():
        return given
    config = read_resolved(run)["config"]
    if config.get("students"):
        places = ", ".join(str(run.student(name)) for name in config["students"])
        raise InputError("the run has several students", str(given), f"give one of {places}")
    final = run.stage(len(config["stages"]) - 1, config["stages"][-1]["stage"]) / FINAL
    if not final.is_dir():
        remedy = "finish it (ernie-tiny run), or give the final/ folder of a step"
        raise InputError(f"the run has not come to {final.relative_to(given)}", str(given), remedy)
    return final


def _length_of(folder: Path) -> int | None:
    """`task.max_length_tokens` of the run that a model folder belongs to; None: it belongs to no run."""
    for root in folder.absolute().parents[:4]:
        if RunFolder(root).resolved.is_file():
            return read_resolved(RunFolder(root))["config"]["task"]["max_length_tokens"]
    return None


def _describe(model: Leaving, folder: Path, parity: dict[str, Any] | None) -> None:
    """Writes README.md: the model card, or of a model that is no classifier what it is and how it was compared."""
    versions = {"paddle_ernie_tiny": __version__}
    versions |= {key: parity[key] for key in ("torch", "transformers")} if parity else {}
    if model.kind is not None:
        write_transformers_card(folder, model.folder, model.kind, model.labels, model.parameters, parity, versions)
        return
    compared = "It was not compared with the Paddle model that it was made from."
    if parity is not None:
        compared = f"Outputs of PyTorch differ from those of Paddle by at most {parity['max_abs_diff']:.2g} on "
        compared += f"{parity['rows']} rows ({', '.join(f'{name} {version}' for name, version in versions.items())})."
    what = "Masked language model" if model.head else "Encoder"
    sizes = f"{model.config['num_hidden_layers']} layers, {model.config['hidden_size']} wide"
    text = f"# {what}, written by ernie-tiny export-hf\n\n{model.family}, {sizes}.\n\n{compared}\n"
    write_text(folder / CARD, text)

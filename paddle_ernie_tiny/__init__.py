"""ERNIE-Tiny: four-stage distillation of BERT and ERNIE models (arXiv 2106.02241), on PaddlePaddle.

    import paddle_ernie_tiny as et

    run = et.distil("configs/demo.yaml", output_dir="runs/demo")
    print(run.report["retention"], run.predictor().predict(["房间很宽敞"]))

Names are imported when they are first used, and the process is then tuned for Paddle (see `machine.tune_process`).
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# Public name: the module that has it. The stub, which type checkers read, lists them.
_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_NAMES = {alias.name: node.module for node in _STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names}
__all__ = ["__version__", *_NAMES]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module(f"{__name__}.machine").tune_process()
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

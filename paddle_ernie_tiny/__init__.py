"""ERNIE-Tiny: four-stage distillation of BERT and ERNIE models (arXiv 2106.02241), on PaddlePaddle.

    import paddle_ernie_tiny as et

    run = et.distil("configs/demo.yaml", output_dir="runs/demo")
    print(run.report["retention"], run.predictor().predict(["房间很宽敞"]))

Names are imported when they are first used, and the process is then tuned for Paddle (see `runtime.tune_process`).
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name: the module that has it.
_NAMES = {
    **dict.fromkeys(("distil", "bench", "Distilled", "Progress"), "api"),
    **dict.fromkeys(("load_config", "RunConfig"), "config"),
    **dict.fromkeys(("evaluate",), "deploy.row_files"),
    **dict.fromkeys(("Predictor",), "deploy.predictor"),
    **dict.fromkeys(("export",), "deploy.export"),
    **dict.fromkeys(("quantize",), "deploy.quantize"),
    **dict.fromkeys(("STAGES", "Stage"), "stages"),
    **dict.fromkeys(("TERMS", "Captured", "Needs", "Pair", "Term", "TermSettings"), "terms"),
    **dict.fromkeys(("KINDS", "Entity", "Kind", "Prediction", "Score"), "kinds"),
    **dict.fromkeys(("METRICS", "Metric", "Scored"), "kinds.metrics"),
    **dict.fromkeys(("register_kind", "register_metric", "register_term"), "extensions"),
    **dict.fromkeys(("ErnieTinyError", "GateError", "InputError", "InputErrors", "Interrupted"), "errors"),
}
__all__ = ["__version__", *_NAMES]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module(f"{__name__}.runtime").tune_process()
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

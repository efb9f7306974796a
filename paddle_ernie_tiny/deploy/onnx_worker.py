"""Child process of `onnx.py`: reads an OnnxRequest on standard input, writes the folder's files."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import metadata
from pathlib import Path

from ..runtime import tune_process
from .bundle import MODEL_STEM, read_manifest, write_manifest
from .child import RESULT
from .onnx import ONNX_FILE, OnnxRequest, convert


def main() -> None:
    tune_process()
    request = OnnxRequest(**json.loads(sys.stdin.read()))
    folder, bundle = Path(sys.argv[1]), Path(request.bundle)

    import numpy as np
    import onnxruntime
    import paddle

    from .predictor import Predictor

    served = Predictor(bundle)
    convert(bundle, folder / ONNX_FILE)
    session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), providers=["CPUExecutionProvider"])
    manifest = read_manifest(bundle)
    names = sorted(entry.name for entry in session.get_inputs())
    if names != sorted(entry["name"] for entry in manifest.inputs):
        raise SystemExit(f"the converted graph takes {names}, the bundle {[e['name'] for e in manifest.inputs]}")

    class InOnnxRuntime(Predictor):
        """The same tokenisation and batches, with ONNX Runtime's forward pass."""

        def __init__(self):
            self.manifest, self.tokenizer = manifest, served.tokenizer

        def run(self, input_ids, token_type_ids):
            return session.run(None, {"input_ids": input_ids, "token_type_ids": token_type_ids})[0]

    here = [predictor.logits(request.texts, request.texts_b, batch_size=8) for predictor in (served, InOnnxRuntime())]
    if isinstance(here[0], list):
        here = [np.concatenate(rows) for rows in here]
    for name in manifest.files:
        if not name.startswith(f"{MODEL_STEM}."):
            shutil.copy2(bundle / name, folder / name)
    manifest.parity = {
        "rows": len(request.texts),
        "max_abs_diff": float(np.abs(here[0] - here[1]).max()),
        "label_agreement": float((here[0].argmax(-1) == here[1].argmax(-1)).mean()),
        "tolerance": request.tolerance,
    }
    manifest.versions = {
        **manifest.versions,
        "paddlepaddle": paddle.__version__,
        "paddle2onnx": metadata.version("paddle2onnx"),
        "onnxruntime": onnxruntime.__version__,
    }
    write_manifest(folder, manifest)
    (folder / RESULT).write_text(json.dumps(manifest.parity), encoding="utf-8")


if __name__ == "__main__":
    main()

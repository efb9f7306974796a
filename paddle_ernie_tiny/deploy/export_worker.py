"""Child process of the export: reads an ExportRequest on standard input, writes the bundle's files.

Run with FLAGS_enable_pir_api=0; see `child.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..runtime import tune_process
from .bundle import MODEL_STEM, Manifest, write_manifest
from .child import RESULT
from .export import ExportRequest


def main() -> None:
    tune_process()
    request = ExportRequest(**json.loads(sys.stdin.read()))
    folder = Path(sys.argv[1])

    import numpy as np
    import paddle

    from .. import __version__
    from ..models.build import count_parameters, load_classifier, load_tokenizer
    from ..training.batches import EncodedRows
    from ..training.inference import predict_logits
    from .graph import answer_from_first_token
    from .predictor import Predictor

    paddle.set_device("cpu")
    checkpoint = Path(request.checkpoint)
    tokenizer = load_tokenizer(checkpoint)
    model = load_classifier(checkpoint, request.labels, request.kind)
    model.eval()
    parameters = count_parameters(model)

    if request.kind == "token_classification":
        encoded, places = tokenizer.encode_words(request.texts, request.max_length_tokens)
    else:
        encoded = tokenizer.encode(request.texts, request.texts_b, max_length=request.max_length_tokens)
        places = None
    rows = EncodedRows(encoded.input_ids, encoded.token_type_ids, places=places)
    dynamic = predict_logits(model, rows, tokenizer.pad_id)

    graph = "plain" if request.kind == "token_classification" else request.graph  # a tagger needs every token
    if graph == "served":
        answer_from_first_token(model)
    static = paddle.jit.to_static(
        served_layer(model, tokenizer.pad_id),
        input_spec=[
            paddle.static.InputSpec([None, None], "int64", "input_ids"),
            paddle.static.InputSpec([None, None], "int64", "token_type_ids"),
        ],
        full_graph=True,
    )
    paddle.jit.save(static, str(folder / MODEL_STEM))
    (folder / f"{MODEL_STEM}.pdiparams.info").unlink()  # a pickle that only Paddle's Python loader reads
    tokenizer.save(folder)
    any_shape = [-1, -1]
    manifest = Manifest(
        task=request.task,
        task_type=f"pair_{request.kind}" if request.texts_b is not None else request.kind,
        unit=request.unit,
        labels=request.labels,
        max_length_tokens=request.max_length_tokens,
        metric=request.metric,
        precision="fp32",
        parameters=parameters,
        architecture={**encoder_size(model.config), "graph": graph},
        inputs=[
            {"name": "input_ids", "dtype": "int64", "shape": any_shape},
            {"name": "token_type_ids", "dtype": "int64", "shape": any_shape},
        ],
        outputs=[
            {
                "name": "logits",
                "dtype": "float32",
                "shape": [-1] * (2 if places is not None else 1) + [len(request.labels)],
            }
        ],
        parity={},
        table=request.table,
        versions={"paddle_ernie_tiny": __version__, "paddlepaddle": paddle.__version__},
    )
    write_manifest(folder, manifest)
    served = Predictor(folder).logits(request.texts, request.texts_b)
    if places is not None:
        served = np.concatenate(served)
    manifest.parity = {
        "rows": len(request.texts),
        "max_abs_diff": float(np.abs(served - dynamic).max()),
        # a regressor has one output: its argmax is always the same
        "label_agreement": float((served.argmax(-1) == dynamic.argmax(-1)).mean()),
        "tolerance": request.tolerance,
    }
    write_manifest(folder, manifest)
    (folder / RESULT).write_text(json.dumps(manifest.parity), encoding="utf-8")


def served_layer(model, pad_id: int):
    """The classifier as it is served: ids in, logits out; the mask is computed from the padding id."""
    from paddle import nn

    class Served(nn.Layer):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, token_type_ids):
            mask = (input_ids != pad_id).astype("float32")
            return self.model(input_ids, token_type_ids=token_type_ids, attention_mask=mask)

    served = Served()
    served.eval()
    return served


def encoder_size(config) -> dict:
    """What of a PaddleNLP configuration decides how much a forward pass computes."""
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
    return {name: int(getattr(config, name)) for name in names}


if __name__ == "__main__":
    main()

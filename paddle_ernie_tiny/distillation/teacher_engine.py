"""A teacher's forward pass as a static graph, run by Paddle or, on the CPU, by Paddle Inference with oneDNN.

Paddle Inference fuses what the dynamic graph computes one by one: a BERT-base teacher takes about 0.75 of its time
there. The graph is made in this process and gives the states that the objective needs, beside the logits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paddle
from paddle import Tensor
from paddle.static import InputSpec

from ..engines import MODEL_STEM, use_onednn
from ..machine import restore_threads

Answers = Callable[[Tensor, Tensor, Tensor], list[Tensor]]
INPUTS: dict[str, Any] = {"input_ids": "int64", "token_type_ids": "int64", "attention_mask": "float32"}
_SHAPES = 1  # batch shapes of which oneDNN keeps its prepared weights, each in a copy of its own


def compiled(model: Any, answers: Answers) -> Any:
    """`answers`, which calls `model`, as a static graph: one for all batch sizes and lengths."""
    specs = [InputSpec([None, None], dtype, name) for name, dtype in INPUTS.items()]
    return paddle.jit.to_static(_Answering(model, answers).eval(), input_spec=specs, full_graph=True)


class _Answering(paddle.nn.Layer):
    """Of methods, Paddle compiles a layer's alone."""

    def __init__(self, model: Any, answers: Answers):
        super().__init__()
        self.model, self.answers = model, answers

    def forward(self, input_ids, token_type_ids, attention_mask):
        return self.answers(input_ids, token_type_ids, attention_mask)


def in_paddle_inference(model: Any, answers: Answers) -> Answers:
    """`answers`, which calls `model`, run by Paddle Inference with oneDNN on as many CPU threads as Paddle has here."""
    from paddle import inference

    threads = int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0])
    with tempfile.TemporaryDirectory(prefix="ernie-tiny-") as folder:  # the weights are read when it is opened
        paddle.jit.save(compiled(model, answers), str(Path(folder) / MODEL_STEM))
        graph = next(path for path in Path(folder).iterdir() if path.suffix in (".json", ".pdmodel"))
        config = inference.Config(str(graph), str(graph.with_suffix(".pdiparams")))
        config.disable_glog_info()
        config.enable_new_ir(graph.suffix == ".json")
        config.enable_new_executor(graph.suffix == ".json")
        use_onednn(config, _SHAPES, threads)
        predictor = inference.create_predictor(config)
    names = predictor.get_input_names()

    def run(*inputs: Tensor) -> list[Tensor]:
        given = dict(zip(INPUTS, inputs, strict=True))
        try:
            return predictor.run([given[name] for name in names])
        finally:  # the student trains next
            restore_threads()

    return run

"""int8 in an exported program: the parts of an encoder that can have it, calibration, and the embedding table.

To be imported where `FLAGS_enable_pir_api=0` was in the environment before Paddle, under `paddle.enable_static()`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle.static.quantization import PostTrainingQuantization

from ..engines import MODEL_STEM
from ..models.architectures import EMBEDDINGS
from .export import strip_call_stacks
from .parts import int8_scales, parts_of_products

_MATMUL = "matmul_v2"  # what the export writes for every matrix product
_NOTE_A_SCALE = {"quantize_linear", "dequantize_linear"}  # a pair of them stands for a scale; the engine drops them


class PaddleQuantizer:
    """Writes int8 versions of an fp32 bundle's program.

    Args:
        bundle: folder with `model.pdmodel` and `model.pdiparams`.
        batches: feeds of the calibration, pairs of int64 [batch, length].

    `parts` maps each part that can be left in fp32 to the weights of its matrix products: "embeddings",
    "encoder.layers.0.attention", "encoder.layers.0.feed_forward", ..., "head" (pooler and classifier).
    Products without weights (query x key, attention x value) stay in fp32: oneDNN has no fast int8 kernel for them
    on CPUs without AVX-512, and they are a small part of the work.
    """

    def __init__(self, bundle: Path, batches: list[tuple[np.ndarray, np.ndarray]]):
        self._bundle, self._batches = bundle, batches
        self._executor = paddle.static.Executor(paddle.CPUPlace())
        with paddle.static.scope_guard(paddle.static.Scope()):
            program, self._feeds, _ = paddle.static.load_inference_model(str(bundle / MODEL_STEM), self._executor)
            self.parts, self._without_weights = parts_of(program)
            named = {name for weights in self.parts.values() for name in weights}
            self._weights = {name: _value(name) for name in named}

    def write(self, folder: Path, keep_fp32: list[str]) -> None:
        """Writes `model.pdmodel` and `model.pdiparams` into `folder`, with the named parts in fp32."""
        with paddle.static.scope_guard(paddle.static.Scope()), paddle.utils.unique_name.guard():
            calibration = PostTrainingQuantization(
                executor=self._executor,
                data_loader=lambda: (dict(zip(self._feeds, batch, strict=True)) for batch in self._batches),
                model_dir=str(self._bundle),
                model_filename=f"{MODEL_STEM}.pdmodel",
                params_filename=f"{MODEL_STEM}.pdiparams",
                batch_nums=len(self._batches),
                algo="avg",
                quantizable_op_type=[_MATMUL],
                weight_quantize_type="channel_wise_abs_max",
                onnx_format=True,
                skip_tensor_list=self._without_weights + [name for part in keep_fp32 for name in self.parts[part]],
            )
            program = calibration.quantize()
            block = program.global_block()
            if EMBEDDINGS not in keep_fp32:
                quantize_table(program)
            for part, weights in self.parts.items():
                for name in weights if part not in keep_fp32 else ():
                    one_scale_if_square(self._weights[name], name)
            keep_scales(program, {name for part in self.parts if part not in keep_fp32 for name in self.parts[part]})
            paddle.static.save_inference_model(
                str(folder / MODEL_STEM),
                [block.var(name) for name in self._feeds],
                calibration._fetch_list,
                self._executor,
                program=program,
                clip_extra=True,
            )
        strip_call_stacks(folder / f"{MODEL_STEM}.pdmodel")


def parts_of(program: Any) -> tuple[dict[str, list[str]], list[str]]:
    """The parts (see parts.py) with their weights; and the tensors of the products that have no weights to quantise.

    Raises ErnieTinyError for another graph than an encoder's.
    """
    block = program.global_block()
    products, without_weights = [], []
    for op in block.ops:
        if op.type != _MATMUL:
            continue
        names = [*op.input("X"), *op.input("Y")]
        weights = {name: block.var(name).shape for name in names if block.var(name).persistable}
        if weights:
            products.append(weights)
        if not weights or any(len(shape) != 2 for shape in weights.values()):  # a product a head (graph.py)
            without_weights += names
    return parts_of_products(sum(op.type == "softmax" for op in block.ops), products), without_weights


def keep_scales(program: Any, weights: set[str]) -> None:
    """Leaves the scales of what goes into the products with `weights` in the program, which it changes, and no others.

    Calibration notes a scale for whatever a product or a normalisation outputs. By those the engine would also give
    int8 to products that were left out, and would round what an int8 product outputs before it is read in fp32.
    """
    block = program.global_block()
    noted = {op.output("Y")[0]: op.input("X")[0] for op in block.ops if op.type in _NOTE_A_SCALE}

    def origin(name: str) -> str:
        while name in noted:
            name = noted[name]
        return name

    kept = {origin(op.input("X")[0]) for op in block.ops if op.type == _MATMUL and origin(op.input("Y")[0]) in weights}
    for index, op in reversed(list(enumerate(block.ops))):
        source = origin(op.input("X")[0]) if op.type in _NOTE_A_SCALE else None
        if source is not None and source not in kept and not block.var(source).persistable:
            block._remove_op(index)
    made = {name for op in block.ops for name in op.output_arg_names}
    for op in block.ops:
        for name in set(op.input_arg_names).intersection(noted) - made:
            op._rename_input(name, origin(name))


def one_scale_if_square(weights: np.ndarray, name: str) -> None:
    """Stores square weights, fp32 [in, out], in int8 with one scale for all output channels, in the current scope.

    Paddle's engine reads the scales of square weights as those of input channels, which changes the weights by the
    ratios of the scales; of others it tells the channels by their number.
    """
    if weights.shape[0] != weights.shape[1]:
        return
    scope, largest = paddle.static.global_scope(), float(np.abs(weights).max()) or 1.0
    scales = scope.find_var(f"{name}@scale").get_tensor()
    scales.set(np.full(scales.shape(), largest, np.float32), paddle.CPUPlace())
    scope.find_var(name).get_tensor().set(np.rint(weights * (127 / largest)).astype(np.int8), paddle.CPUPlace())


def quantize_table(program: Any) -> None:
    """Stores the largest embedding table as int8 rows with one scale each, and multiplies what is looked up.

    row = int8 row * scale, scale = largest absolute value of the row / 127. Changes `program` and the current scope.
    """
    block = program.global_block()
    lookups = [(index, op) for index, op in enumerate(block.ops) if op.type == "lookup_table_v2"]
    index, op = max(lookups, key=lambda found: block.var(found[1].input("W")[0]).shape[0])
    name, out = op.input("W")[0], op.output("Out")[0]
    table = _value(name)
    scales = int8_scales(table, axis=1)
    _constant(block, f"{name}.int8", np.rint(table / scales).astype(np.int8))
    _constant(block, f"{name}.scale", scales.astype(np.float32))
    shape, ids = block.var(out).shape, op.input("Ids")[0]
    rows = block.create_var(name=f"{out}.int8", shape=shape, dtype="int8")
    scale = block.create_var(name=f"{out}.scale", shape=[*shape[:-1], 1], dtype="float32")
    as_float = block.create_var(name=f"{out}.float", shape=shape, dtype="float32")
    block._remove_op(index)
    inserted = [
        ("lookup_table_v2", {"W": [f"{name}.int8"], "Ids": [ids]}, rows, {"padding_idx": -1}),
        ("lookup_table_v2", {"W": [f"{name}.scale"], "Ids": [ids]}, scale, {"padding_idx": -1}),
        ("cast", {"X": [rows]}, as_float, {"in_dtype": rows.dtype, "out_dtype": as_float.dtype}),
        ("elementwise_mul", {"X": [as_float], "Y": [scale]}, out, {"axis": -1}),
    ]
    for offset, (operator, inputs, target, attributes) in enumerate(inserted):
        block._insert_op(index + offset, type=operator, inputs=inputs, outputs={"Out": [target]}, attrs=attributes)


def _value(name: str) -> np.ndarray:
    return np.array(paddle.static.global_scope().find_var(name).get_tensor())


def _constant(block, name: str, value: np.ndarray) -> None:
    block.create_var(name=name, shape=value.shape, dtype=str(value.dtype), persistable=True)
    paddle.static.global_scope().var(name).get_tensor().set(value, paddle.CPUPlace())

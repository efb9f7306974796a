"""int8 in an exported program: calibration, matrix products, and the embedding table.

To be imported where `FLAGS_enable_pir_api=0` was in the environment before Paddle, under `paddle.enable_static()`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
from paddle.static.quantization import PostTrainingQuantization

from .bundle import MODEL_STEM

_MATMUL = "matmul_v2"  # what the export writes for every matrix product


def write_int8(bundle: Path, batches: list[tuple[np.ndarray, np.ndarray]], folder: Path) -> None:
    """Writes `model.pdmodel` and `model.pdiparams` of an fp32 bundle in int8 into `folder`.

    batches: feeds of the calibration, pairs of int64 [batch, length]. Products without weights (query x key,
    attention x value) stay in fp32: oneDNN has no fast int8 kernel for them on CPUs without AVX-512, and they are a
    small part of the work.
    """
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, feeds, _ = paddle.static.load_inference_model(str(bundle / MODEL_STEM), executor)
        left_out = _without_matrix_weights(program)
    with paddle.static.scope_guard(paddle.static.Scope()), paddle.utils.unique_name.guard():
        calibration = PostTrainingQuantization(
            executor=executor,
            data_loader=_loader(batches, feeds),
            model_dir=str(bundle),
            model_filename=f"{MODEL_STEM}.pdmodel",
            params_filename=f"{MODEL_STEM}.pdiparams",
            batch_nums=len(batches),
            algo="avg",
            quantizable_op_type=[_MATMUL],
            weight_quantize_type="channel_wise_abs_max",
            onnx_format=True,
            skip_tensor_list=left_out,
        )
        program = calibration.quantize()
        quantize_table(program)
        block = program.global_block()
        paddle.static.save_inference_model(
            str(folder / MODEL_STEM),
            [block.var(name) for name in feeds],
            calibration._fetch_list,
            executor,
            program=program,
            clip_extra=True,
        )


def _loader(batches, feeds: list[str]):
    class Batches(paddle.io.Dataset):
        def __len__(self):
            return len(batches)

        def __getitem__(self, index):
            return batches[index]

    with paddle.static.program_guard(paddle.static.Program()):
        variables = [paddle.static.data(name, [None, None], "int64") for name in feeds]
    return paddle.io.DataLoader(Batches(), feed_list=variables, batch_size=None, return_list=False)


def _without_matrix_weights(program) -> list[str]:
    """The tensors of products that stay in fp32: those without weights, and those of a last layer that answers for
    the first token alone (graph.py), whose weights have a matrix a head; they are hardly any work."""
    block, tensors = program.global_block(), []
    for op in block.ops:
        if op.type == _MATMUL:
            names = [*op.input("X"), *op.input("Y")]
            weights = [name for name in names if block.var(name).persistable]
            if not weights or any(len(block.var(name).shape) != 2 for name in weights):
                tensors += names
    return tensors


def quantize_table(program) -> None:
    """Stores the largest embedding table as int8 rows with one scale each, and multiplies what is looked up.

    row = int8 row * scale, scale = largest absolute value of the row / 127. Changes `program` and the current scope.
    """
    block, scope = program.global_block(), paddle.static.global_scope()
    index, op = max(
        ((i, op) for i, op in enumerate(block.ops) if op.type == "lookup_table_v2"),
        key=lambda found: block.var(found[1].input("W")[0]).shape[0],
    )
    name, out = op.input("W")[0], op.output("Out")[0]
    table = np.array(scope.find_var(name).get_tensor())
    scales = np.abs(table).max(axis=1, keepdims=True) / 127
    scales[scales == 0] = 1  # a row of zeros, as that of [PAD]
    _constant(block, f"{name}.int8", np.rint(table / scales).astype(np.int8))
    _constant(block, f"{name}.scale", scales.astype(np.float32))
    shape, ids = block.var(out).shape, op.input("Ids")[0]
    looked_up = {
        "int8": block.create_var(name=f"{out}.int8", shape=shape, dtype="int8"),
        "scale": block.create_var(name=f"{out}.scale", shape=[*shape[:-1], 1], dtype="float32"),
    }
    as_float = block.create_var(name=f"{out}.float", shape=shape, dtype="float32")
    block._remove_op(index)
    for offset, (part, target) in enumerate(looked_up.items()):
        block._insert_op(
            index + offset,
            type="lookup_table_v2",
            inputs={"W": [f"{name}.{part}"], "Ids": [ids]},
            outputs={"Out": [target]},
            attrs={"padding_idx": -1},
        )
    block._insert_op(
        index + 2,
        type="cast",
        inputs={"X": [looked_up["int8"]]},
        outputs={"Out": [as_float]},
        attrs={"in_dtype": looked_up["int8"].dtype, "out_dtype": as_float.dtype},
    )
    block._insert_op(
        index + 3,
        type="elementwise_mul",
        inputs={"X": [as_float], "Y": [looked_up["scale"]]},
        outputs={"Out": [out]},
        attrs={"axis": -1},
    )


def _constant(block, name: str, value: np.ndarray) -> None:
    block.create_var(name=name, shape=value.shape, dtype=str(value.dtype), persistable=True)
    tensor = paddle.static.global_scope().var(name).get_tensor()
    tensor.set(value, paddle.CPUPlace())

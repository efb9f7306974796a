"""int8 in an ONNX graph, for every engine that reads model.onnx: pairs of QuantizeLinear and DequantizeLinear (QDQ).

The file stays valid ONNX of any engine; one that has int8 kernels takes each pair and the product behind it as one of
those: ONNX Runtime as MatMulIntegerToFloat and QGemm, OpenVINO as its int8 FullyConnected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..engines import ONNX_FILE, import_library
from ..errors import ErnieTinyError
from ..models.architectures import EMBEDDINGS
from .parts import int8_scales, parts_of_products

Range = tuple[float, float]  # of an activation: the smallest and the largest value that int8 tells apart


class OnnxQuantizer:
    """Writes int8 versions of an fp32 graph.

    Args:
        source: the ONNX file.
        batches: feeds of the calibration, pairs of int64 [batch, length].

    `parts`: see parts.py. Weights are int8 with a scale for each output channel, activations uint8 with a scale and a
    zero point each: the product of uint8 and int8 is what VNNI computes. Needs `onnx` and `onnxruntime`.
    """

    def __init__(self, source: Path, batches: list[tuple[np.ndarray, np.ndarray]]):
        import onnx

        self._model = onnx.load(str(source))
        graph = self._model.graph
        self._weights = _constants(graph)
        products = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in self._weights]
        shapes = [{node.input[1]: self._weights[node.input[1]].shape} for node in products]
        self.parts = parts_of_products(sum(node.op_type == "Softmax" for node in graph.node), shapes)
        self._part = {weight: part for part, weights in self.parts.items() for weight in weights}
        self._table = _word_embeddings(graph, self._weights)
        inputs = dict.fromkeys(node.input[0] for node in products if node.input[1] in self._part)
        self._ranges, self._ranks = _calibrate(self._model, list(inputs), batches)

    def write(self, folder: Path, keep_fp32: list[str]) -> None:
        """Writes `model.onnx` into `folder`, with the named parts in fp32."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        rewritten = _Rewritten(model.graph, self._weights)
        for node in list(model.graph.node):
            part = self._part.get(node.input[1]) if node.op_type == "MatMul" else None
            if node.op_type == "Gather" and node.input[0] == self._table and EMBEDDINGS not in keep_fp32:
                rewritten.look_up(node)
            elif part is not None and part not in keep_fp32:
                rewritten.multiply(node, self._ranges[node.input[0]], self._ranks[node.input[0]])
            else:
                rewritten.nodes.append(node)
        rewritten.finish()
        onnx.checker.check_model(model)
        onnx.save(model, str(folder / ONNX_FILE))


class _Rewritten:
    """A graph whose nodes are written again in their order, some of them with int8 in their place."""

    def __init__(self, graph: Any, constants: dict[str, np.ndarray]):
        from onnx import helper

        self._graph, self._constants, self._make = graph, constants, helper.make_node
        self.nodes: list[Any] = []
        self._rounded: set[str] = set()  # activations that have their pair already
        self._taken: set[str] = set()  # biases' additions that are part of a product
        self._readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def look_up(self, node: Any) -> None:
        """Rows of the table as int8, each multiplied by its scale after it is looked up."""
        (table, ids), (out,) = node.input, node.output
        scales = int8_scales(self._constants[table], axis=1)
        self._constant(f"{table}_int8", np.rint(self._constants[table] / scales).astype(np.int8))
        self._constant(f"{table}_scale", scales)
        rows, factors = f"{table}_rows", f"{table}_row_scales"
        self._add("Gather", [f"{table}_int8", ids], rows)
        self._add("Gather", [f"{table}_scale", ids], factors)
        self._add("Cast", [rows], f"{rows}_float", to=1)  # float32
        self._add("Mul", [f"{rows}_float", factors], out)

    def multiply(self, node: Any, values: Range, rank: int) -> None:
        """A product of uint8 and int8. Of rows (rank 2) a Gemm with the bias, which ONNX Runtime makes of it anyway."""
        (name, weight), (out,) = node.input, node.output
        step, zero = _grid(values)
        if name not in self._rounded:
            self._rounded.add(name)
            self._constant(f"{name}_scale", np.float32(step))
            self._constant(f"{name}_zero", np.uint8(zero))
            self._add("QuantizeLinear", [name, f"{name}_scale", f"{name}_zero"], f"{name}_uint8")
            self._add("DequantizeLinear", [f"{name}_uint8", f"{name}_scale", f"{name}_zero"], f"{name}_rounded")
        scales = int8_scales(self._constants[weight], axis=0)
        self._constant(f"{weight}_int8", np.rint(self._constants[weight] / scales).astype(np.int8))
        self._constant(f"{weight}_scale", scales[0])
        self._constant(f"{weight}_zero", np.zeros(scales.size, np.int8))
        of_weight = [f"{weight}_{what}" for what in ("int8", "scale", "zero")]
        self._add("DequantizeLinear", of_weight, f"{weight}_rounded", axis=1)
        factors = [f"{name}_rounded", f"{weight}_rounded"]
        bias = self._bias_of(out) if rank == 2 else None
        if bias is None:
            self._add("MatMul", factors, out)
            return
        addition, bias_name = bias
        self._taken.add(addition.output[0])
        steps = (step * scales[0]).astype(np.float32)
        limit = np.iinfo(np.int32).max
        rounded = np.clip(np.rint(self._constants[bias_name] / steps.astype(np.float64)), -limit, limit)
        self._constant(f"{bias_name}_int32", rounded.astype(np.int32))
        self._constant(f"{bias_name}_scale", steps)
        self._add("DequantizeLinear", [f"{bias_name}_int32", f"{bias_name}_scale"], f"{bias_name}_rounded", axis=0)
        self._add("Gemm", [*factors, f"{bias_name}_rounded"], addition.output[0])

    def finish(self) -> None:
        """Puts the nodes into the graph, without those that no other reads any more."""
        nodes, read = [], {value.name for value in self._graph.output}
        for node in reversed(self.nodes):
            taken = node.op_type == "Add" and node.output[0] in self._taken
            if not taken and read.intersection(node.output):
                nodes.append(node)
                read.update(node.input)
        del self._graph.node[:]
        self._graph.node.extend(reversed(nodes))
        kept = [tensor for tensor in self._graph.initializer if tensor.name in read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _bias_of(self, product: str) -> tuple[Any, str] | None:
        """The addition of a constant vector that alone reads a product, and that constant; None: there is none."""
        readers = self._readers.get(product, [])
        if len(readers) != 1 or readers[0].op_type != "Add":
            return None
        other = next((name for name in readers[0].input if name != product), "")
        return (readers[0], other) if other in self._constants and self._constants[other].ndim == 1 else None

    def _constant(self, name: str, value: np.ndarray | np.generic) -> None:
        from onnx import numpy_helper

        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(self._make(operator, inputs, [output], **attributes))


def _constants(graph: Any) -> dict[str, np.ndarray]:
    """The graph's constants by name: its initializers, what the converter writes as nodes, and products of these."""
    from onnx import numpy_helper

    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = next(attribute.t for attribute in node.attribute if attribute.name == "value")
    values = {name: numpy_helper.to_array(tensor) for name, tensor in found.items()}
    for node in graph.node:  # a table whose row of padding is 0: written as the table times a column of 0 and 1
        if node.op_type == "Mul" and all(name in values for name in node.input):
            values[node.output[0]] = np.multiply(*(values[name] for name in node.input))
    return values


def _word_embeddings(graph: Any, constants: dict[str, np.ndarray]) -> str:
    """The table in which `input_ids` are looked up. Raises ErnieTinyError where there is none."""
    ids = {"input_ids"}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in ids:
            ids.add(node.output[0])
        if node.op_type == "Gather" and node.input[1] in ids and node.input[0] in constants:
            return node.input[0]
    raise ErnieTinyError("not the graph of an encoder: input_ids are looked up in no table")


def _calibrate(
    model: Any, names: list[str], batches: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[dict[str, Range], dict[str, int]]:
    """The range of each activation over the batches, and its rank."""
    if not names:  # ONNX Runtime would give all outputs
        return {}, {}
    from onnx import TensorProto, helper

    watched = type(model)()
    watched.CopyFrom(model)
    watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    onnxruntime = import_library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    least, most, ranks = ({name: [] for name in names} for _ in range(3))  # type: ignore[var-annotated]
    for ids, types in batches:
        for name, values in zip(names, session.run(names, {"input_ids": ids, "token_type_ids": types}), strict=True):
            least[name].append(float(values.min()))
            most[name].append(float(values.max()))
            ranks[name].append(values.ndim)
    ranges = {name: (float(np.mean(least[name])), float(np.mean(most[name]))) for name in names}
    return ranges, {name: ranks[name][0] for name in names}


def _grid(values: Range) -> tuple[float, int]:
    """Scale and zero point of uint8 for a range, in which 0 must be exact."""
    low, high = min(values[0], 0.0), max(values[1], 0.0)
    step = (high - low) / 255 or 1.0
    return step, round(-low / step)

"""One way to write a model that runs twice: in numpy while it is fitted, in ONNX where it is used.

Model code calls the operations of `Ops` and plain `+ - * /`; `NumpyOps` computes them in double precision,
`OnnxOps` writes them down as a float32 graph. What the model is, is left to `trainer.shape` and others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from typing_extensions import override

Floats = NDArray[np.float64]
# A numpy array [B,n] or an `OnnxValue` of that shape, as the operations in use have it.
Value = Any

OPSET = 17
ML_OPSET = 3
IR_VERSION = 8


class Ops(Protocol):
    """Operations on values of shape [B,n]."""

    def column(self, x: Value, index: int) -> Value:
        """[B,1]."""
        ...

    def filled(self, x: Value, value: Value) -> Value:
        """`x` with `value` where it is NaN."""
        ...

    def missing(self, x: Value) -> Value:
        """1.0 where NaN, else 0.0."""
        ...

    def log(self, x: Value) -> Value:
        """Natural logarithm."""
        ...

    def exp(self, x: Value) -> Value:
        """Exponential."""
        ...

    def sqrt(self, x: Value) -> Value:
        """Square root; 0 below 0."""
        ...

    def clip(self, x: Value, low: float, high: float) -> Value:
        """Winsorise."""
        ...

    def above(self, x: Value, limit: float) -> Value:
        """1.0 where `x` is above `limit`, else 0.0."""
        ...

    def concat(self, parts: Sequence[Value]) -> Value:
        """Side by side."""
        ...

    def matmul(self, x: Value, matrix: Floats) -> Value:
        """[B,n] times [n,m]."""
        ...

    def constant(self, values: Floats) -> Value:
        """A row [n] that broadcasts."""
        ...

    def row_sum(self, x: Value) -> Value:
        """[B,1]."""
        ...

    def row_min(self, x: Value) -> Value:
        """[B,1]."""
        ...

    def nearest(self, distance: Value, table: Floats) -> Value:
        """Row of `table` [n,m] at each row's smallest `distance` [B,n]."""
        ...

    def rising(self, x: Value) -> Value:
        """Running maximum along the row."""
        ...

    def trees(self, x: Value, model: TreeModel) -> Value:
        """[B,1] of a fitted tree ensemble."""
        ...


class TreeModel(Protocol):
    """A tree ensemble that can predict here and be written into a graph."""

    def predict(self, x: Floats) -> Floats:
        """[B,n] -> [B]."""
        ...

    def node_attributes(self) -> dict[str, Any]:
        """Attributes of an ONNX `TreeEnsembleRegressor`."""
        ...


class NumpyOps(Ops):
    """The operations on arrays."""

    @override
    def column(self, x: Value, index: int) -> Value:
        return x[:, index : index + 1]

    @override
    def filled(self, x: Value, value: Value) -> Value:
        return np.where(np.isnan(x), value, x)

    @override
    def missing(self, x: Value) -> Value:
        return np.isnan(x).astype(np.float64)

    @override
    def log(self, x: Value) -> Value:
        return np.log(x)

    @override
    def exp(self, x: Value) -> Value:
        return np.exp(x)

    @override
    def sqrt(self, x: Value) -> Value:
        return np.sqrt(np.maximum(x, 0.0))

    @override
    def clip(self, x: Value, low: float, high: float) -> Value:
        return np.clip(x, low, high)

    @override
    def above(self, x: Value, limit: float) -> Value:
        return (x > limit).astype(np.float64)

    @override
    def concat(self, parts: Sequence[Value]) -> Value:
        return np.concatenate(parts, axis=1)

    @override
    def matmul(self, x: Value, matrix: Floats) -> Value:
        return x @ matrix

    @override
    def constant(self, values: Floats) -> Value:
        return np.asarray(values, dtype=np.float64)[None, :]

    @override
    def row_sum(self, x: Value) -> Value:
        return x.sum(axis=1, keepdims=True)

    @override
    def row_min(self, x: Value) -> Value:
        return x.min(axis=1, keepdims=True)

    @override
    def nearest(self, distance: Value, table: Floats) -> Value:
        return table[distance.argmin(axis=1)]

    @override
    def rising(self, x: Value) -> Value:
        return np.maximum.accumulate(x, axis=1)

    @override
    def trees(self, x: Value, model: TreeModel) -> Value:
        return model.predict(x)[:, None]


class OnnxValue:
    """A named tensor of the graph being written."""

    def __init__(self, ops: OnnxOps, name: str) -> None:
        self.ops = ops
        self.name = name

    def __add__(self, other: Value) -> OnnxValue:
        return self.ops.node("Add", self, other)

    def __sub__(self, other: Value) -> OnnxValue:
        return self.ops.node("Sub", self, other)

    def __mul__(self, other: Value) -> OnnxValue:
        return self.ops.node("Mul", self, other)

    def __truediv__(self, other: Value) -> OnnxValue:
        return self.ops.node("Div", self, other)

    def __radd__(self, other: Value) -> OnnxValue:
        return self.ops.node("Add", other, self)

    def __rsub__(self, other: Value) -> OnnxValue:
        return self.ops.node("Sub", other, self)

    def __rmul__(self, other: Value) -> OnnxValue:
        return self.ops.node("Mul", other, self)

    def __rtruediv__(self, other: Value) -> OnnxValue:
        return self.ops.node("Div", other, self)

    def __neg__(self) -> OnnxValue:
        return self.ops.node("Neg", self)

    def __abs__(self) -> OnnxValue:
        return self.ops.node("Abs", self)


class OnnxOps(Ops):
    """The operations as nodes of one graph; equal steps are written once.

    Args:
        inputs: name and width of each float32 input [B, width].
    """

    def __init__(self, inputs: dict[str, int]) -> None:
        self._inputs = inputs
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: dict[tuple[bytes, str, tuple[int, ...]], onnx.TensorProto] = {}
        self._known: dict[tuple[Any, ...], OnnxValue] = {}

    def input(self, name: str) -> OnnxValue:
        """One of the graph's inputs."""
        if name not in self._inputs:
            raise KeyError(name)
        return OnnxValue(self, name)

    def node(self, kind: str, *operands: Value, domain: str = "", **attributes: Any) -> OnnxValue:
        """Append a node and return its first output."""
        names = [self._name(operand) for operand in operands]
        key = (kind, tuple(names), repr(sorted(attributes.items())))
        if key not in self._known:
            out = f"v{len(self._nodes)}"
            self._nodes.append(helper.make_node(kind, names, [out], domain=domain, **attributes))
            self._known[key] = OnnxValue(self, out)
        return self._known[key]

    def model(self, outputs: dict[str, OnnxValue], metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished model; every output is [B,3].

        Raises:
            onnx.checker.ValidationError: a mistake in what was written.
        """
        nodes = list(self._nodes)
        nodes += [helper.make_node("Identity", [value.name], [name]) for name, value in outputs.items()]
        graph = helper.make_graph(
            nodes,
            "hashmargin",
            [_info(name, width) for name, width in self._inputs.items()],
            [_info(name, 3) for name in outputs],
            list(self._initialisers.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="hashmargin"
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model

    @override
    def column(self, x: Value, index: int) -> Value:
        return self.node("Gather", x, np.array([index], dtype=np.int64), axis=1)

    @override
    def filled(self, x: Value, value: Value) -> Value:
        return self.node("Where", self.node("IsNaN", x), value, x)

    @override
    def missing(self, x: Value) -> Value:
        return self.node("Cast", self.node("IsNaN", x), to=TensorProto.FLOAT)

    @override
    def log(self, x: Value) -> Value:
        return self.node("Log", x)

    @override
    def exp(self, x: Value) -> Value:
        return self.node("Exp", x)

    @override
    def sqrt(self, x: Value) -> Value:
        return self.node("Sqrt", self.node("Relu", x))

    @override
    def clip(self, x: Value, low: float, high: float) -> Value:
        # Clip wants scalars, which broadcasting constants are not.
        return self.node("Clip", x, _scalar(low), _scalar(high))

    @override
    def above(self, x: Value, limit: float) -> Value:
        return self.node("Cast", self.node("Greater", x, limit), to=TensorProto.FLOAT)

    @override
    def concat(self, parts: Sequence[Value]) -> Value:
        return self.node("Concat", *parts, axis=1)

    @override
    def matmul(self, x: Value, matrix: Floats) -> Value:
        return self.node("MatMul", x, matrix)

    @override
    def constant(self, values: Floats) -> Value:
        return np.asarray(values, dtype=np.float64)[None, :]

    @override
    def row_sum(self, x: Value) -> Value:
        return self.node("ReduceSum", x, np.array([1], dtype=np.int64), keepdims=1)

    @override
    def row_min(self, x: Value) -> Value:
        return self.node("ReduceMin", x, axes=[1], keepdims=1)

    @override
    def nearest(self, distance: Value, table: Floats) -> Value:
        place = self.node("ArgMin", distance, axis=1, keepdims=0)
        return self.node("Gather", np.asarray(table, dtype=np.float64), place, axis=0)

    @override
    def rising(self, x: Value) -> Value:
        # A running maximum in log2 steps: each step takes in what lies twice as far to the left.
        value, step = x, 1
        while step < MAX_GRID:
            pads = np.array([0, step, 0, 0], dtype=np.int64)
            moved = self.node("Pad", value, pads, _scalar(LOWEST))
            ends = np.array([-step], dtype=np.int64)
            moved = self.node(
                "Slice", moved, np.array([0], dtype=np.int64), ends, np.array([1], dtype=np.int64)
            )
            value = self.node("Max", value, moved)
            step *= 2
        return value

    @override
    def trees(self, x: Value, model: TreeModel) -> Value:
        return self.node("TreeEnsembleRegressor", x, domain="ai.onnx.ml", **model.node_attributes())

    def _name(self, operand: Value) -> str:
        if isinstance(operand, OnnxValue):
            return operand.name
        array = np.asarray(operand)
        if array.dtype != np.int64:
            array = array.astype(np.float32)
        key = (array.tobytes(), str(array.dtype), array.shape)
        if key not in self._initialisers:
            self._initialisers[key] = numpy_helper.from_array(array, f"c{len(self._initialisers)}")
        return self._initialisers[key].name


# Longest row that `rising` works on, and a number below every logarithm that comes up.
MAX_GRID = 64
LOWEST = -1e30


def _scalar(value: float) -> NDArray[np.float32]:
    return np.array(value, dtype=np.float32)


def _info(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])

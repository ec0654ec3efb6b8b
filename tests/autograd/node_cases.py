"""ONNX's own tests of its operators, read from the onnx package, and what our operators make of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from pmcore.errors import AuditError
from pmcore.interfaces import Array
from pmcore_autograd.graph import Node
from pmcore_autograd.operators import find

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
_WIDER = {"int4": "int8", "uint4": "uint8", "int2": "int8", "uint2": "uint8"} | dict.fromkeys(
    ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn"), "float32"
)
_COARSE = {"float16": 2.0**-9, "bfloat16": 2.0**-6}  # two units in the last place, as in ONNX's own runner


@dataclass(frozen=True)
class Case:
    """One of ONNX's tests: a graph, what goes in and what comes out.

    Parameters
    ----------
    name : ONNX's name of the test
    model : the graph as ONNX's message
    inputs, outputs : tensors in the order of the graph; sequences and maps stand as they are
    """

    name: str
    model: onnx.ModelProto
    inputs: Sequence[Any]
    outputs: Sequence[Any]

    @property
    def floats(self) -> bool:
        """Return whether real numbers go in and nothing else comes out."""
        return any(_is_float(value) for value in self.inputs) and all(_is_float(value) for value in self.outputs)

    @property
    def tensors(self) -> bool:
        """Return whether tensors of numbers go in and come out."""
        return all(
            isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiubcV"
            for value in (*self.inputs, *self.outputs)
        )

    @property
    def operator(self) -> str:
        """Return the operator under test; the expansion of one into simpler ones tests the last of these."""
        return str(self.model.graph.node[-1].op_type) if self.model.graph.node else ""


@cache
def cases() -> tuple[Case, ...]:
    """Return all tests of operators that the onnx package brings along."""
    before = np.random.get_state()
    np.random.seed(0)  # they are made on the spot, some of them by numpy's global generator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # divisions by zero among them
        found = [test for kind in KINDS for test in load_model_tests(kind=kind)]
    np.random.set_state(before)
    return tuple(_read(test) for test in found)


def failure(case: Case) -> str | None:
    """Return why our operators fail a test, in one line, or None where they pass."""
    try:
        made = run(case.model, case.inputs)
    except AuditError as error:
        return str(error).removesuffix(" - no gradients of this file")
    except NotImplementedError as error:
        return f"torch does not compute with {str(error).split(chr(39))[-2]}"  # it quotes the type at the end
    for place, (ours, theirs) in enumerate(zip(made, case.outputs, strict=True)):
        if not isinstance(theirs, np.ndarray | np.generic):
            return f"output {place} is no tensor"
        if ours.shape != theirs.shape:
            return f"output {place} has the shape {ours.shape}, not {theirs.shape}"
        if ours.dtype != theirs.dtype:
            return f"output {place} is {ours.dtype}, not {theirs.dtype}"
        rtol = _COARSE.get(theirs.dtype.name, 1e-3)
        left, right = (value.astype(np.float64) for value in (ours, theirs))
        if not np.allclose(left, right, rtol=rtol, atol=1e-5, equal_nan=True):
            return f"output {place} is off by {np.abs(left - right).max():.3g}"
    return None


def run(model: onnx.ModelProto, inputs: Sequence[Any]) -> list[Array]:
    """Return the outputs of a graph by our operators, one node after the other."""
    names = [value.name for value in model.graph.input]
    known: dict[str, Any] = {tensor.name: _tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    known |= {name: _tensor(value) for name, value in zip(names, inputs, strict=False)}
    for node in (neutral(proto, model) for proto in model.graph.node):
        operator = find(node)
        if operator is None:
            raise AuditError(f"{node.kind} is not known")
        results = operator(node, [known[name] if name else None for name in node.inputs])
        results = results if isinstance(results, tuple) else (results,)
        known |= {name: value for name, value in zip(node.outputs, results, strict=False) if name}
    return [_array(known[value.name], value) for value in model.graph.output]


def neutral(proto: onnx.NodeProto, model: onnx.ModelProto) -> Node:
    """Return a node of ONNX as one of the neutral graph."""
    versions = {entry.domain or "onnx": entry.version for entry in model.opset_import}
    dialect = proto.domain.removeprefix("ai.onnx") if proto.domain == "ai.onnx" else proto.domain
    attributes = {attribute.name: _attribute(attribute) for attribute in proto.attribute}
    return Node(
        proto.op_type,
        tuple(proto.input),
        tuple(proto.output),
        attributes,
        proto.name,
        dialect or "onnx",
        versions.get(dialect or "onnx", 0),
    )


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.TENSOR:
        return numpy_helper.to_array(value)
    if attribute.type == onnx.AttributeProto.STRING:
        return value.decode()
    if isinstance(value, list):
        return tuple(item.decode() if isinstance(item, bytes) else item for item in value)
    return value


def _tensor(value: Any) -> torch.Tensor | None:
    if value is None:
        return None
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "fiubcV":
        raise AuditError("a sequence, a map or text, not a tensor")
    array = np.asarray(value)
    if array.dtype.name in _WIDER:
        array = array.astype(_WIDER[array.dtype.name])
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    return torch.from_numpy(array.copy())


def _array(value: torch.Tensor, declared: onnx.ValueInfoProto) -> Array:
    """Return a tensor as an array; quantised numbers, which are real here, in the type that the graph declares."""
    array: Array
    if value.dtype == torch.bfloat16:
        import ml_dtypes

        array = value.float().numpy().astype(ml_dtypes.bfloat16)
    else:
        array = value.detach().numpy()
    number = declared.type.tensor_type.elem_type
    if array.dtype.kind != "f" or not number:
        return array
    wanted = onnx.helper.tensor_dtype_to_np_dtype(number)
    return array.astype(wanted) if wanted.kind in "iu" else array


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype.name in FLOATS


def _read(test: Any) -> Case:
    if test.model is not None:
        inputs, outputs = test.data_sets[0]
        return Case(test.name, test.model, [_plain(value) for value in inputs], [_plain(value) for value in outputs])
    folder = Path(test.model_dir)
    model = onnx.load(folder / "model.onnx")
    data = folder / "test_data_set_0"
    given, wanted = (
        [_loaded(data / f"{kind}_{place}.pb") for place in range(len(list(data.glob(f"{kind}_*.pb"))))]
        for kind in ("input", "output")
    )
    return Case(test.name, model, given, wanted)


def _plain(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _loaded(path: Path) -> Any:
    """Return a tensor, or None where the file holds a sequence or a map."""
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        return numpy_helper.to_array(tensor)
    except Exception:
        return None

"""The weights of a module written into a copy of the ONNX file that it was loaded from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pmcore.errors import InputError, ModelError
from pmcore.files import OutputFolder
from pmcore.interfaces import Array
from pmcore.quoting import quoted
from pmcore_autograd.narrowing import narrowed
from pmcore_autograd.onnx_external import Weights, external_files
from pmcore_autograd.onnx_files import open_model
from pmcore_autograd.onnx_inlining import inlined
from pmcore_autograd.onnx_linear import COEFFICIENTS, INTERCEPTS, held_in, is_linear_proto
from pmcore_autograd.onnx_values import constant_of, tensor_value
from pmcore_autograd.parameters import Buffer, Origin, Parameter
from pmcore_autograd.quantising import requantised

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

    from pmcore_autograd.module import ExportedModule

_OWN_INITIALISERS = 4
"""The first IR version in which an initialiser need not be an input as well."""


def write(module: ExportedModule, path: Path, overwrite: bool = False) -> None:
    """Write the weights of a module; see `pmcore_autograd.save`."""
    data = path.with_name(f"{path.name}.data")
    source = module.source
    model = open_model(source)
    apart = external_files(model, source)
    _check_target(path, data, source, apart, overwrite)
    new = _new_values(module)
    model = _with_functions_written_out(model, [origin for origin, _ in new], source)
    file = _File(model, source)
    for origin, value in new:
        file.put(origin, value)
    file.finish()
    weights = Weights(model, source, data.name, bool(apart))
    with OutputFolder(path.parent, force=True) as folder:
        if weights.apart:
            with folder.open(data.name, weights.size) as stream:
                weights.move(stream)
        folder.write({path.name: model.SerializeToString()})


def _check_target(path: Path, data: Path, source: Path, apart: Collection[Path], overwrite: bool) -> None:
    if not overwrite and path.exists():
        raise InputError(f"{path}: is there already; choose another name, or say that it is to be overwritten")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the file to be written")
    itself = path.exists() and path.samefile(source)
    if data.exists() and not itself and (not overwrite or data.resolve() in apart):
        raise InputError(f"{data}: is there already, where the weights of {path.name} would go; choose another name")


def _new_values(module: ExportedModule) -> list[tuple[Origin, Array]]:
    facts: dict[str, Parameter | Buffer] = {**module.parameter_facts, **module.buffer_facts}
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return [(facts[name].origin, tensor.detach().cpu().numpy()) for name, tensor in state.items()]


def _with_functions_written_out(model: ModelProto, origins: Sequence[Origin], source: Path) -> ModelProto:
    """Return the model; without functions where a weight is inside of one, and would be another's at the next call."""
    if not model.functions:
        return model
    named = {tensor.name for tensor in model.graph.initializer}
    named |= {name for node in model.graph.node for name in node.output}
    return model if all(origin.tensor in named for origin in origins) else inlined(model, source)


class _File:
    """A model in which tensors are replaced."""

    def __init__(self, model: ModelProto, source: Path) -> None:
        self._model = model
        self._source = source
        self._held = {tensor.name: tensor for tensor in model.graph.initializer}
        self._sparse = {tensor.values.name for tensor in model.graph.sparse_initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output if name}
        self._linear = {held_in(node.name, node.output[0]): node for node in model.graph.node if is_linear_proto(node)}
        self._replaced: set[str] = set()
        self._gone: set[str] = set()

    def put(self, origin: Origin, value: Array) -> None:
        """Replace what a tensor of the file holds."""
        maker = self._makers.get(origin.tensor)
        title, _, part = origin.tensor.rpartition(".")
        if origin.read_by is not None:
            self._put_beside(origin, value)
        elif origin.made_by is not None and origin.made_by.kind == "DequantizeLinear":
            self._put_quantised(origin, value)
        elif origin.tensor in self._held:
            self._fill(self._held[origin.tensor], narrowed(value, origin.dtype, origin.tensor, self._source))
        elif maker is not None or origin.tensor in self._sparse:
            self._put_in_place(origin.tensor, narrowed(value, origin.dtype, origin.tensor, self._source))
        elif title in self._linear and part in (COEFFICIENTS, INTERCEPTS):
            self._put_attribute(self._linear[title], part, value)
        else:
            raise self._changed(origin.tensor)

    def finish(self) -> None:
        """Take out the nodes whose results are initialisers now."""
        nodes = self._model.graph.node
        for place in reversed(range(len(nodes))):
            if any(name in self._gone for name in nodes[place].output):
                del nodes[place]
        sparse = self._model.graph.sparse_initializer
        for place in reversed(range(len(sparse))):
            if sparse[place].values.name in self._gone:
                del sparse[place]
        if self._gone:
            self._model.ir_version = max(self._model.ir_version, _OWN_INITIALISERS)

    def _put_beside(self, origin: Origin, value: Array) -> None:
        """Give a node a tensor of its own in the place of one that others read too; the same value needs none."""
        assert origin.read_by is not None
        made, place = origin.read_by
        node = self._makers.get(made)
        if node is None or place >= len(node.input):
            raise self._changed(made)
        name = f"{made}.{'mean' if place == 3 else 'variance'}"
        if name in self._held or name in self._makers:
            raise self._changed(name)
        self._add(name, narrowed(value, origin.dtype, origin.tensor, self._source))
        node.input[place] = name

    def _put_quantised(self, origin: Origin, value: Array) -> None:
        node = origin.made_by
        assert node is not None
        whole = node.inputs[0]
        if whole in self._replaced:
            raise ModelError(
                f"{self._source}: two weights share the whole numbers {quoted(whole)}; they cannot be saved"
            )
        steps = self._value(node.inputs[1])
        zero = self._value(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        if steps is None:
            raise self._changed(node.inputs[1])
        before = self._value(whole)
        if before is None:
            # what is rounded at each run is written as it is
            rounding = self._makers.get(whole)
            if rounding is None or rounding.op_type != "QuantizeLinear" or rounding.input[0] not in self._held:
                raise ModelError(
                    f"{self._source}: the weight {quoted(origin.tensor)} is made in a way that cannot be undone"
                )
            held = self._held[rounding.input[0]]
            self._replaced.add(whole)
            self._fill(held, narrowed(value.reshape(tuple(held.dims)), "float32", origin.tensor, self._source))
            return
        self._replaced.add(whole)
        fresh = requantised(value, before, steps, zero, node, self._source)
        if whole in self._held:
            self._fill(self._held[whole], fresh)
        else:
            self._put_in_place(whole, fresh)

    def _put_attribute(self, node: NodeProto, part: str, value: Array) -> None:
        attribute = next(found for found in node.attribute if found.name == part)
        flat = value.T.reshape(-1) if part == COEFFICIENTS else value.reshape(-1)
        if len(attribute.floats) != flat.size:
            raise self._changed(node.name)
        del attribute.floats[:]
        attribute.floats.extend(flat.astype(np.float32).tolist())

    def _put_in_place(self, name: str, value: Array) -> None:
        """Put an initialiser in the place of a node that made a tensor of constants."""
        maker = self._makers.get(name)
        if maker is not None and sum(bool(other) for other in maker.output) > 1:
            raise ModelError(f"{self._source}: {quoted(name)} is made together with others; it cannot be saved")
        self._gone.add(name)
        self._add(name, value)

    def _add(self, name: str, value: Array) -> None:
        tensor = self._model.graph.initializer.add(name=name)
        self._held[name] = tensor
        self._fill(tensor, value)
        self._gone.add(name)

    def _fill(self, tensor: TensorProto, value: Array) -> None:
        from onnx import numpy_helper

        filled = numpy_helper.from_array(np.ascontiguousarray(value), tensor.name)
        if tensor.dims and tuple(tensor.dims) != value.shape:
            raise self._changed(tensor.name)
        tensor.CopyFrom(filled)

    def _value(self, name: str) -> Array | None:
        """Return the value of a constant of the file."""
        if name in self._held:
            return tensor_value(self._held[name], self._source)
        node = self._makers.get(name)
        if node is None or node.op_type != "Constant":
            return None
        return constant_of(node, self._source)

    def _changed(self, name: str) -> InputError:
        return InputError(f"{self._source}: has changed since it was loaded ({quoted(name)}); load it again")

"""What an ONNX file holds as values, tensors and attributes, read into numpy and plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Array
from pmcore.quoting import printable
from pmcore_autograd.allocation import LARGEST
from pmcore_autograd.onnx_files import Place, is_external
from pmcore_autograd.unsupported import Unsupported

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto, SparseTensorProto, TensorProto


def tensor_value(tensor: TensorProto, path: Path, name: str = "") -> Array:
    """Return the value of a tensor as an array of its own.

    Parameters
    ----------
    path : the model, in whose folder external weights stand
    name : by which messages call it

    Raises
    ------
    InputError
        Its bytes, its type and its shape do not agree.
    Unsupported
        It holds text.
    """
    from onnx import TensorProto as Proto
    from onnx import helper, numpy_helper

    title = f"the constant '{printable(name or tensor.name, 60)}'"
    if tensor.data_type == Proto.STRING:
        raise Unsupported(f"{path}: {title} holds text - no gradients of this file")
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if min(tensor.dims, default=0) < 0:
            raise ValueError("a negative dimension")
        if is_external(tensor):
            return _from_file(tensor, dtype, path)
        value: Array = numpy_helper.to_array(tensor)
        return value if value.flags.writeable else value.copy()
    except (OSError, MemoryError):
        raise
    except Exception as error:  # onnx raises its own kinds and numpy's
        raise InputError(f"{path}: {title} is damaged ({printable(str(error), 100)}); export the model again") from None


def dense_value(sparse: SparseTensorProto, path: Path) -> Array:
    """Return a tensor of which only some elements are listed."""
    values, places = tensor_value(sparse.values, path), tensor_value(sparse.indices, path, sparse.values.name)
    shape = tuple(int(size) for size in sparse.dims)
    if min(shape, default=0) < 0 or prod(shape) * values.itemsize > LARGEST:
        raise InputError(f"{path}: a sparse constant of shape {shape} is too large; export the model without it")
    dense = np.zeros(shape, values.dtype)
    try:
        if places.ndim == 1:
            dense.reshape(-1)[places] = values
        else:
            dense[tuple(places.T)] = values
    except (IndexError, ValueError):
        raise InputError(f"{path}: a sparse constant names places that it does not have; export it again") from None
    return dense


def constant_of(node: NodeProto, path: Path) -> Array | None:
    """Return what a Constant node holds, or None where it is no numbers."""
    for found in node.attribute:
        if found.name == "value":
            return tensor_value(found.t, path, node.output[0])
        if found.name == "sparse_value":
            return dense_value(found.sparse_tensor, path)
        if found.name in ("value_float", "value_floats"):
            return np.array(found.f if found.name == "value_float" else found.floats, dtype=np.float32)
        if found.name in ("value_int", "value_ints"):
            return np.array(found.i if found.name == "value_int" else found.ints, dtype=np.int64)
    return None


def attributes_of(node: NodeProto, path: Path) -> Mapping[str, Any]:
    """Return the attributes of a node as the operators read them; what holds graphs is left out."""
    from onnx import AttributeProto as Proto

    plain = {Proto.INT: "i", Proto.FLOAT: "f"}
    several = {Proto.INTS: "ints", Proto.FLOATS: "floats"}
    found: dict[str, Any] = {}
    for given in node.attribute:
        if given.type in plain:
            found[given.name] = getattr(given, plain[given.type])
        elif given.type in several:
            found[given.name] = tuple(getattr(given, several[given.type]))
        elif given.type == Proto.STRING:
            found[given.name] = given.s.decode("utf-8", "replace")
        elif given.type == Proto.STRINGS:
            found[given.name] = tuple(text.decode("utf-8", "replace") for text in given.strings)
        elif given.type == Proto.TENSOR:
            found[given.name] = tensor_value(given.t, path, node.name)
        else:
            raise Unsupported(f"{path}: {_title(node)}: its attribute {_name(given)} is not known here")
    return found


def _from_file(tensor: TensorProto, dtype: np.dtype[Any], path: Path) -> Array:
    """Read external weights; packed ones, several to a byte, go through onnx."""
    from onnx import TensorProto as Proto
    from onnx import numpy_helper

    place = Place.of(tensor, path)
    file = path.parent.resolve() / place.location
    count = prod(tensor.dims)
    whole = place.length or count * dtype.itemsize
    if whole == count * dtype.itemsize and dtype.kind in "fiub":
        value: Array = np.fromfile(file, dtype.newbyteorder("<"), count, offset=place.offset)
        if value.size != count:
            raise ValueError(f"{value.size} of {count} elements are there")
        return value.astype(dtype, copy=False).reshape(tuple(tensor.dims))
    with file.open("rb") as stream:
        stream.seek(place.offset)
        raw = stream.read(whole)
    packed = Proto(dims=tensor.dims, data_type=tensor.data_type, raw_data=raw)
    return np.array(numpy_helper.to_array(packed))


def _title(node: NodeProto) -> str:
    return f"{printable(node.op_type, 60)} '{printable(node.name, 60)}'"


def _name(attribute: AttributeProto) -> str:
    return f"'{printable(attribute.name, 60)}'"

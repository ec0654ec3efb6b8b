"""Weights of an ONNX model moved into one file beside it, where they stood in files before or are too many."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pmcore.errors import InputError
from pmcore_autograd.onnx_files import Place, is_external, tensors

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

_APART = 2**30
"""Bytes from which weights go into a file of their own; a model with more than twice as many cannot be written."""
_SMALL = 1024
"""Bytes of a tensor that stays in the model: shapes and axes, which runtimes read early."""
_ALIGNED = 64
_CHUNK = 2**24


class Weights:
    """The tensors of a model that go into a file of their own.

    Parameters
    ----------
    model : is changed by `move`
    source : the file that it was read from
    name : of the new data file
    were_apart : whether they stood apart in the file that was read
    """

    def __init__(self, model: ModelProto, source: Path, name: str, were_apart: bool) -> None:
        self._model = model
        self._source = source
        self._name = name
        every = list(tensors(model))
        self._large = [tensor for tensor in every if is_external(tensor) or len(tensor.raw_data) > _SMALL]
        inside = sum(len(tensor.raw_data) for tensor in every)
        self.apart = were_apart or inside > _APART
        self.size = sum(_length(tensor, source) for tensor in self._large) if self.apart else 0

    def move(self, stream: BinaryIO) -> None:
        """Write the weights one after the other, and tell each tensor its place."""
        offset = 0
        for tensor in self._large:
            gap = -offset % _ALIGNED
            stream.write(b"\0" * gap)
            offset += gap
            length = 0
            for chunk in _bytes_of(tensor, self._source):
                stream.write(chunk)
                length += len(chunk)
            tensor.ClearField("raw_data")
            del tensor.external_data[:]
            tensor.data_location = tensor.EXTERNAL
            facts = (("location", self._name), ("offset", str(offset)), ("length", str(length)))
            for key, value in facts:
                tensor.external_data.add(key=key, value=value)
            offset += length


def external_files(model: ModelProto, source: Path) -> frozenset[Path]:
    """Return the data files of a model."""
    folder = source.parent.resolve()
    places = (Place.of(tensor, source) for tensor in tensors(model) if is_external(tensor))
    return frozenset((folder / place.location).resolve() for place in places)


def _bytes_of(tensor: TensorProto, source: Path) -> Iterator[bytes]:
    if not is_external(tensor):
        yield tensor.raw_data
        return
    place = Place.of(tensor, source)
    left = _length(tensor, source)
    with (source.parent.resolve() / place.location).open("rb") as stream:
        stream.seek(place.offset)
        while left:
            chunk = stream.read(min(left, _CHUNK))
            if not chunk:
                raise InputError(f"{source}: its data file is too short; copy or download it again")
            left -= len(chunk)
            yield chunk


def _length(tensor: TensorProto, source: Path) -> int:
    if not is_external(tensor):
        return len(tensor.raw_data)
    from onnx import helper

    place = Place.of(tensor, source)
    return place.length or prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize

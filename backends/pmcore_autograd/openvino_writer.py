"""The weights of a module written into a copy of the OpenVINO IR that it was loaded from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pmcore.errors import InputError
from pmcore.files import OutputFolder
from pmcore.interfaces import Array
from pmcore.runtime_failures import failure, first_line
from pmcore_autograd.narrowing import narrowed
from pmcore_autograd.openvino_constants import constant_node
from pmcore_autograd.openvino_files import open_model
from pmcore_autograd.openvino_importing import import_openvino
from pmcore_autograd.openvino_names import name_tensors
from pmcore_autograd.openvino_nodes import read_places
from pmcore_autograd.openvino_rounding import kept_as

if TYPE_CHECKING:
    from pmcore_autograd.module import ExportedModule
    from pmcore_autograd.parameters import Buffer, Origin, Parameter

_KEPT = {"f16": "float16", "f64": "float64"}


def write(module: ExportedModule, path: Path, overwrite: bool = False) -> None:
    """Write an .xml and the .bin beside it, which appear whole: the same layers, names and types, other numbers.

    Parameters
    ----------
    path : of the new .xml
    overwrite : replace files that are there, be it those that the module was loaded from

    Raises
    ------
    InputError
        A file is there already, or the one that the module was loaded from has changed or is gone.
    ModelError
        A weight does not fit the type, or lies beyond the levels, in which the file holds it.
    """
    weights = path.with_suffix(".bin")
    if path.suffix.lower() != ".xml":
        raise InputError(f"{path}: the weights of {module.source} are written as OpenVINO IR; name an .xml file")
    for file in (path, weights):
        if file.is_dir() or (file.exists() and not overwrite):
            raise InputError(f"{file}: is there already; choose another name, or say that it is to be overwritten")
    model = open_model(module.source)
    copy = _Copy(model, module.source)
    for origin, value in _state(module):
        copy.put(origin, value)
    _place(model, path, weights)


def _state(module: ExportedModule) -> Iterator[tuple[Origin, Array]]:
    """Yield where each parameter and buffer stands in the file, and its value."""
    facts: dict[str, Parameter | Buffer] = {**module.parameter_facts, **module.buffer_facts}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        yield facts[name].origin, tensor.detach().cpu().numpy()


class _Copy:
    """A model whose constants are exchanged for others.

    Parameters
    ----------
    model : changed in place
    source : the file that it was read from, for messages
    """

    def __init__(self, model: Any, source: Path) -> None:
        self._source = source
        names = name_tensors(model)
        self._outputs: dict[str, Any] = {
            names.of(output): output
            for node in model.get_ordered_ops()
            if node.get_type_name() != "Result"
            for output in node.outputs()
        }

    def put(self, origin: Origin, value: Array) -> None:
        """Let a tensor of the file have a value."""
        output = self._output(origin.tensor)
        partial = output.get_partial_shape()
        if partial.is_dynamic or tuple(int(size) for size in output.get_shape()) != value.shape:
            raise self._changed()
        kept = kept_as(output.get_node(), value, origin.tensor, self._source)
        if kept is not None:
            output, value = kept.constant.output(0), kept.value
        kind = str(output.get_element_type().get_type_name())
        if value.dtype.kind == "f":
            value = narrowed(value, _KEPT.get(kind, "float32"), origin.tensor, self._source)
        new = constant_node(value, kind)
        new.set_friendly_name(str(output.get_node().get_friendly_name()))
        if origin.read_by is not None:
            self._reader(*origin.read_by).replace_source_output(new.output(0))
            return
        new.output(0).get_tensor().set_names(output.get_names())
        for reader in output.get_target_inputs():
            reader.replace_source_output(new.output(0))

    def _output(self, name: str) -> Any:
        if name not in self._outputs:
            raise self._changed()
        return self._outputs[name]

    def _reader(self, name: str, place: int) -> Any:
        node = self._output(name).get_node()
        return node.input(read_places(node)[place])

    def _changed(self) -> InputError:
        return InputError(f"{self._source}: is not the file any more that the module was loaded from; load it again")


def _place(model: Any, path: Path, weights: Path) -> None:
    """Write both files, which take their names when they are whole."""
    openvino = import_openvino()
    with OutputFolder(path.parent, force=True) as folder, TemporaryDirectory(prefix="pmcore-") as made:
        text, numbers = Path(made, path.name), Path(made, weights.name)
        try:
            openvino.serialize(model, text, numbers)
        except Exception as error:  # the runtime's exceptions share no base class but this
            raise failure(error, "openvino", first_line(error), path, "could not write it", "free some space") from None
        with folder.open(weights.name, numbers.stat().st_size) as stream, numbers.open("rb") as read:
            shutil.copyfileobj(read, stream)
        folder.write({path.name: text.read_bytes()})

"""Exported files loaded as torch modules, and modules saved into a copy of the file that they were loaded from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pmcore.errors import PluginError
from pmcore.model_files import read_head

if TYPE_CHECKING:
    from pmcore_autograd.graph import Graph
    from pmcore_autograd.module import ExportedModule
    from pmcore_autograd.parameters import Cut

_IN_MEMORY = Path("Model in memory")
_REMEDY = "pip install 'pmcore[whitebox]'"


def load(source: str | Path | Any, outputs: Sequence[str] | None = None) -> ExportedModule:
    """Load an ONNX or OpenVINO file as a differentiable module.

    Parameters
    ----------
    source : an .onnx file, the .xml of an OpenVINO model, or an ``openvino.Model``, which cannot be saved again
    outputs : names of the tensors that it is to return, hidden ones too; None for the file's own

    Raises
    ------
    PluginError
        Torch, or what reads the file, is not installed.
    InputError, UntrustedError
        The file is missing, damaged, foreign or not to be trusted, or has no such tensor.
    Unsupported
        The file computes in a way that is not known here; the message names every operator.
    """
    in_memory = not isinstance(source, str | Path)
    found = read_cut(source, outputs)
    from pmcore_autograd.module import ExportedModule

    return ExportedModule(found, _IN_MEMORY if in_memory else Path(source))


def read_cut(source: str | Path | Any, outputs: Sequence[str] | None = None) -> Cut:
    """Read the graph of a file, and take its parameters out of it; see `load`."""
    in_memory = not isinstance(source, str | Path)
    path = _IN_MEMORY if in_memory else Path(source)
    head = b"" if in_memory else read_head(path)
    try:
        import torch  # noqa: F401 - before any work is done
    except ImportError as error:
        raise PluginError(f"gradients of exported models need torch; try: {_REMEDY}") from error
    if in_memory:
        from pmcore_autograd.openvino_reader import read_graph

        graph = read_graph(source, outputs)
    else:
        graph = _read(path, head, outputs)
    from pmcore_autograd.cutting import cut

    return cut(graph, str(path))


def save(module: ExportedModule, path: str | Path, overwrite: bool = False) -> None:
    """Write the module's weights into a copy of its file: the same graph, with the same names.

    Parameters
    ----------
    path : of the new file; external weights go into a file beside it
    overwrite : replace a file that is there, be it the one that the module was loaded from

    Raises
    ------
    InputError
        A file is there already, or the one that the module was loaded from has changed or is gone.
    ModelError
        A weight does not fit the type in which the file holds it.
    """
    path = Path(path)
    if _is_xml(read_head(module.source)):
        from pmcore_autograd import openvino_writer

        openvino_writer.write(module, path, overwrite)
    else:
        from pmcore_autograd import onnx_writer

        onnx_writer.write(module, path, overwrite)


def _read(path: Path, head: bytes, outputs: Sequence[str] | None) -> Graph:
    kind = "openvino" if _is_xml(head) else "onnx"
    try:
        if kind == "openvino":
            from pmcore_autograd import openvino_reader

            return openvino_reader.read_graph(path, outputs)
        from pmcore_autograd import onnx_reader

        return onnx_reader.read_graph(path, outputs)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != kind:
            raise
        remedy = _REMEDY if kind == "onnx" else "pip install 'pmcore[openvino]'"
        raise PluginError(f"reading {path} needs {kind}; try: {remedy}") from error


def _is_xml(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")

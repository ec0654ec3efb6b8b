"""Every form in which a network can be shipped, and the backend that reads it."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pmcore.interfaces import Array, Model
from tests.agreement.keras_twins import keras_twin
from tests.agreement.networks import NETWORKS, digits, trained

BACKENDS = ("onnx", "openvino", "torch", "tensorflow", "sklearn", "numpy")
DENSE_ONLY = frozenset({"sklearn", "numpy"})
"""Backends that hold dense networks alone."""


@dataclass(frozen=True)
class Form:
    """One way to ship a network.

    Parameters
    ----------
    title : as the table shows it
    backend : which backend reads it
    make : (network, folder) -> a path or an object in memory, to be given to `pmcore.Audit`
    settings : what the audit is told besides
    exact : whether it computes in float32 on the weights as they were trained
    """

    title: str
    backend: str
    make: Callable[[str, Path], Any]
    settings: tuple[tuple[str, str], ...] = ()
    exact: bool = True

    def fits(self, network: str) -> bool:
        """Tell whether a network can be shipped so."""
        return network == "mlp" or self.backend not in DENSE_ONLY

    def options(self, network: str) -> dict[str, str]:
        """Return the settings of an audit, with the network's own factory where one is asked for."""
        return {key: value.replace("NETWORK", NETWORKS[network].__name__) for key, value in self.settings}

    def __str__(self) -> str:
        return self.title


def forms() -> list[Form]:
    """Return the forms of all backends that are under test: those that PMCORE_BACKENDS names, or all."""
    named = os.environ.get("PMCORE_BACKENDS")
    wanted = BACKENDS if named is None else tuple(name.strip() for name in named.split(",") if name.strip())
    unknown = sorted(set(wanted) - set(BACKENDS))
    if unknown:
        raise ValueError(f"PMCORE_BACKENDS: {', '.join(unknown)} - known are {', '.join(BACKENDS)}")
    return [form for form in _FORMS if form.backend in wanted]


def _example(network: str) -> torch.Tensor:
    return torch.from_numpy(digits(network).x[:4])


@contextmanager
def _quietly() -> Iterator[None]:
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _onnx(network: str, folder: Path, dynamo: bool = True, net: nn.Module | None = None) -> str:
    path = folder / f"{network}.onnx"
    net = net or trained(network)
    example = _example(network).to(next(net.parameters()).dtype)
    batch = torch.export.Dim("batch")
    free = (
        {"dynamic_shapes": ({0: batch},)} if dynamo else {"dynamic_axes": {"x": {0: "batch"}, "logits": {0: "batch"}}}
    )
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["logits"]}
    with _quietly():
        torch.onnx.export(net, (example,), str(path), dynamo=dynamo, **names, **free)
    return str(path)


def _onnx_half(network: str, folder: Path) -> str:
    return _onnx(network, folder, net=copy.deepcopy(trained(network)).half())


def _onnx_int8(network: str, folder: Path) -> str:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quant_pre_process, quantize_static

    class Sample(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter(np.array_split(digits(network).x[::10], 10))

        def get_next(self) -> dict[str, Array] | None:
            rows = next(self.rows, None)
            return None if rows is None else {"x": rows}

    source, target = Path(_onnx(network, folder, dynamo=False)), folder / f"{network}-int8.onnx"
    with _quietly():
        quant_pre_process(source, folder / "prepared.onnx", skip_symbolic_shape=True)
        quantize_static(folder / "prepared.onnx", target, Sample(), quant_format=QuantFormat.QDQ, per_channel=True)
    return str(target)


def _ir(network: str, folder: Path, half: bool = False, source: Callable[[str, Path], str] = _onnx) -> str:
    from pmcore_autograd.openvino_importing import import_openvino

    openvino = import_openvino()
    path = folder / f"{network}.xml"
    openvino.save_model(openvino.convert_model(source(network, folder)), path, compress_to_fp16=half)
    return str(path)


def _ir_half(network: str, folder: Path) -> str:
    return _ir(network, folder, half=True)


def _ir_int8(network: str, folder: Path) -> str:
    return _ir(network, folder, source=_onnx_int8)


def _onnx_legacy(network: str, folder: Path) -> str:
    return _onnx(network, folder, dynamo=False)


def _module(network: str, folder: Path) -> nn.Module:
    return trained(network)


def _module_half(network: str, folder: Path) -> nn.Module:
    return copy.deepcopy(trained(network)).to(torch.bfloat16)


def _exported(network: str, folder: Path) -> str:
    path = folder / f"{network}.pt2"
    batch = torch.export.Dim("batch")
    with _quietly():
        torch.export.save(
            torch.export.export(trained(network), (_example(network),), dynamic_shapes=({0: batch},)), path
        )
    return str(path)


def _torchscript(network: str, folder: Path) -> str:
    path, net = folder / f"{network}.pt", trained(network)
    with _quietly(), torch.inference_mode():
        torch.jit.trace(net, _example(network)).save(str(path))  # type: ignore[no-untyped-call]
    return str(path)


def _safetensors(network: str, folder: Path) -> str:
    from safetensors.torch import save_file

    path = folder / f"{network}.safetensors"
    save_file(trained(network).state_dict(), path)
    return str(path)


def _keras(network: str, folder: Path) -> str:
    path = folder / f"{network}.keras"
    keras_twin(network).save(path)
    return str(path)


def _keras_module(network: str, folder: Path) -> Any:
    return keras_twin(network)


def _saved_model(network: str, folder: Path) -> str:
    path = folder / network
    with _quietly():
        keras_twin(network).export(str(path), verbose=False)
    return str(path)


def _layers() -> tuple[list[Array], list[Array]]:
    weights = {key: value.detach().numpy() for key, value in trained("mlp").state_dict().items()}
    return [weights[f"layers.{i}.weight"].T.copy() for i in (0, 2, 4)], [weights[f"layers.{i}.bias"] for i in (0, 2, 4)]


def _skops(network: str, folder: Path) -> str:
    from pmcore_sklearn import SklearnModel

    SklearnModel.write_dense(folder / "mlp.skops", *_layers())
    return str(folder / "mlp.skops")


def _npz(network: str, folder: Path) -> Model:
    from numpy_backend import NumpyModel

    NumpyModel.write_dense(folder / "mlp.npz", *_layers())
    return NumpyModel.load(folder / "mlp.npz", NumpyModel.options())


_CLASS = (("model_class", "tests.agreement.networks:NETWORK"),)
_FORMS = (
    Form("torch: module in memory", "torch", _module),
    Form("torch: .pt2", "torch", _exported),
    Form("torch: TorchScript", "torch", _torchscript),
    Form("torch: .safetensors", "torch", _safetensors, _CLASS),
    Form("onnx: dynamo export", "onnx", _onnx),
    Form("onnx: TorchScript export", "onnx", _onnx_legacy),
    Form("openvino: IR", "openvino", _ir),
    Form("openvino: ONNX file", "openvino", _onnx, (("backend", "openvino"),)),
    Form("tensorflow: Keras model in memory", "tensorflow", _keras_module),
    Form("tensorflow: .keras", "tensorflow", _keras),
    Form("tensorflow: SavedModel", "tensorflow", _saved_model),
    Form("sklearn: .skops", "sklearn", _skops),
    Form("numpy: .npz", "numpy", _npz),
    Form("torch: bfloat16 module", "torch", _module_half, exact=False),
    Form("onnx: float16", "onnx", _onnx_half, exact=False),
    Form("onnx: INT8 (QDQ)", "onnx", _onnx_int8, exact=False),
    Form("openvino: IR with float16 weights", "openvino", _ir_half, exact=False),
    Form("openvino: IR, INT8 (FakeQuantize)", "openvino", _ir_int8, exact=False),
    Form("openvino: IR, --precision deployed", "openvino", _ir, (("precision", "deployed"),), exact=False),
)

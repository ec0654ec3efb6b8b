"""ONNX Runtime sessions: the device and the precision that were asked for, or an error."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmcore.devices import check_threads, parse_device, tf32_note
from pmcore.errors import ModelError
from pmcore.interfaces import Array, LoadOptions, Precision
from pmcore_onnx.failures import failed, told, untaken

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_SHOWN = {"cpu": "CPU", "cuda": "CUDA", "tensorrt": "TensorRT"}
_REMEDY = (
    "install onnxruntime-gpu with the CUDA and cuDNN it was built for and check the driver with nvidia-smi, "
    "or use --device cpu"
)
_ONE_AT_A_TIME = threading.Lock()
"""Held while stdout, which belongs to the whole process, is turned aside."""
_TF32 = "NVIDIA_TF32_OVERRIDE"
_FOLDER = "session.model_external_initializers_file_folder_path"
_DEVICE_FAULT = re.compile(r"cuda|cudnn|cublas|tensorrt|nvidia", re.IGNORECASE)


@dataclass(frozen=True)
class Device:
    """A device that was asked for: "auto", or one by its kind and number."""

    kind: str
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read "auto", "cpu", "cuda", "cuda:1", "tensorrt" or "tensorrt:1"."""
        asked = parse_device(text, "onnx", ("cuda", "tensorrt"), ("cuda", "tensorrt"))
        return cls(asked.kind, asked.number or 0)

    def __str__(self) -> str:
        return self.kind if self.kind in ("auto", "cpu") else f"{self.kind}:{self.number}"


@dataclass(frozen=True)
class Settings:
    """How sessions are opened.

    Parameters
    ----------
    device : where they must run
    threads : threads within an operator, or None for the runtime's choice
    tf32 : whether CUDA may round the inputs of matrix products to 10 bits
    """

    device: Device
    threads: int | None = None
    tf32: bool = False

    @classmethod
    def of(cls, options: LoadOptions) -> Settings:
        """Return what options ask for.

        Raises
        ------
        InputError
            The device is not known, or there are to be no threads.
        """
        check_threads(options.threads)
        return cls(Device.parse(options.device), options.threads, options.precision is Precision.DEPLOYED)


@dataclass(frozen=True)
class Session:
    """An open session.

    Parameters
    ----------
    runtime : the runtime's object
    device : the device that it really came up on
    path : the model's file
    tf32 : whether the device may round the inputs of matrix products to 10 bits
    """

    runtime: Any
    device: Device
    path: Path
    tf32: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the report must know of the precision."""
        if not self.tf32 or self.device.kind == "cpu":
            return ()
        return (tf32_note(self.shown_device),)

    @property
    def shown_device(self) -> str:
        """Return the device as reports show it, such as "CPU" or "CUDA:0"."""
        name = _SHOWN.get(self.device.kind, self.device.kind)
        return name if self.device.kind == "cpu" else f"{name}:{self.device.number}"

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Return the named outputs for one batch.

        Raises
        ------
        OutOfMemory
            The batch did not fit.
        ModelError
            The runtime failed for another reason.
        """
        try:
            if self.device.kind == "cpu":
                answers: list[Array] = self.runtime.run(list(outputs), dict(feeds))
                return answers
            return self._run_bound(outputs, feeds)
        except Exception as error:  # the runtime's exceptions share no base class but this
            raise failed(error, self.path) from None

    def _run_bound(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        import onnxruntime

        binding = self.runtime.io_binding()
        for name, array in feeds.items():
            if array.dtype.kind == "O":
                binding.bind_cpu_input(name, array)
            else:
                value = onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", self.device.number)
                binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, "cpu")
        self.runtime.run_with_iobinding(binding)
        return [value.numpy() for value in binding.get_outputs()]


def open_session(path: Path, settings: Settings, edited: bytes | None = None) -> Session:
    """Open a session.

    Parameters
    ----------
    path : the model's file
    settings : device, threads, precision
    edited : the file's model, edited, to be run in its place; its data files are still found beside `path`

    Raises
    ------
    ModelError
        The device did not come up, or the runtime does not take the model.
    """
    import onnxruntime

    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()  # wheels for Windows would send some
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.inter_op_num_threads = 1
    if settings.threads is not None:
        options.intra_op_num_threads = settings.threads
    if edited is not None:
        options.add_session_config_entry(_FOLDER, str(path.parent.resolve()))
    source = str(path) if edited is None else edited
    asked = settings.device
    kind = _automatic(onnxruntime) if asked.kind == "auto" else asked.kind
    wanted = Device(kind, asked.number)
    if _PROVIDERS[kind] not in onnxruntime.get_available_providers():
        raise ModelError(f"device {str(asked)!r} was asked for, but this onnxruntime is built without it; {_REMEDY}")
    if kind == "tensorrt" and not settings.tf32 and os.environ.get(_TF32) != "0":
        raise ModelError(
            f"device {str(asked)!r} was asked for, but rounds float32 products to TF32, and onnxruntime cannot keep it "
            f"from that; audit what it really runs with --precision deployed, start with {_TF32}=0 in the environment, "
            "or use --device cpu"
        )
    quiet = io.StringIO()
    with _ONE_AT_A_TIME, contextlib.redirect_stdout(quiet):
        if kind != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        try:
            runtime = _start(source, options, wanted, settings.tf32)
        except Exception as error:  # the runtime's exceptions share no base class but this
            if kind == "cpu" or not _DEVICE_FAULT.search(str(error)):
                raise untaken(error, path, onnxruntime.__version__) from None
            if asked.kind != "auto":
                raise ModelError(
                    f"device {str(asked)!r} was asked for, but did not come up ({told(error)}); {_REMEDY}"
                ) from None
            runtime = _start(source, options, Device("cpu"), settings.tf32)
    runtime._model_bytes = None  # its copy of the edited model, weights and all, is not needed again
    first = runtime.get_providers()[0]
    came = next((name for name, provider in _PROVIDERS.items() if provider == first), first)
    if came != kind and asked.kind != "auto":
        raise ModelError(
            f"device {str(asked)!r} was asked for, but onnxruntime came up on {_SHOWN.get(came, came)}: {_REMEDY}"
        )
    return Session(runtime, Device(came, wanted.number if came == kind else 0), path, settings.tf32)


def _start(source: str | bytes, options: Any, wanted: Device, tf32: bool) -> Any:
    import onnxruntime

    chain = [wanted]
    if wanted.kind == "tensorrt":
        chain.append(Device("cuda", wanted.number))
    if wanted.kind != "cpu":
        chain.append(Device("cpu"))
    providers = [(_PROVIDERS[device.kind], _options(device, tf32)) for device in chain]
    return onnxruntime.InferenceSession(source, options, providers=providers, enable_fallback=0)


def _options(device: Device, tf32: bool) -> dict[str, str]:
    if device.kind == "cuda":
        return {"device_id": str(device.number), "use_tf32": str(int(tf32))}
    return {"device_id": str(device.number)} if device.kind == "tensorrt" else {}


def _automatic(onnxruntime: Any) -> str:
    """Return "cuda" where it is listed and a driver is there, so that nothing is tried in vain."""
    if _PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        return "cpu"
    if sys.platform == "win32":
        import ctypes.util

        return "cuda" if ctypes.util.find_library("nvcuda") else "cpu"
    return "cuda" if os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/dxg") else "cpu"

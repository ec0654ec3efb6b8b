"""ONNX Runtime sessions: the device that was asked for or an error; the runtime's failures in one line."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmcore.errors import InputError, ModelError, OutOfMemory
from pmcore.interfaces import Array
from pmcore.quoting import printable

LONGEST_MESSAGE = 300
"""Characters of a message of the runtime that are shown."""
_DEVICES = "auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N"
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
_FOLDER = "session.model_external_initializers_file_folder_path"
_MEMORY = re.compile(
    r"failed to allocate|bad_alloc|bad allocation|out of memory|out_of_memory|alloc_failed", re.IGNORECASE
)
_DEVICE_FAULT = re.compile(r"cuda|cudnn|cublas|tensorrt|nvidia", re.IGNORECASE)
_UNKNOWN = (
    re.compile(r"No Op registered for (\S+) with domain_version of (\d+)"),
    re.compile(r"(\S+)\(-?\d+\) is not a registered function/op"),
    re.compile(r"Could not find an implementation for (\S+?)\(\d+\)"),
)
_MISFIT = re.compile(r"Got invalid dimensions for input: (\S+).*?index: (\d+) Got: (\d+) Expected: (\d+)", re.DOTALL)
_NOISE = (
    re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : "),
    re.compile(r"^Load model from .* failed: ?"),
    re.compile(r"^(Fatal error|Exception during initialization|This is an invalid model\.( Error)?): ?"),
    re.compile(r"\S+\.(?:cc|h|cu|cuh|hpp):\d+ (?:(?:[\w:*&<>~]+ )*[\w:~<>]+\([^()]*\)(?: const)? |\w+ )?"),
)


@dataclass(frozen=True)
class Device:
    """A device that was asked for: "auto", or one by its kind and number."""

    kind: str
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read "auto", "cpu", "cuda", "cuda:1", "tensorrt" or "tensorrt:1"."""
        found = re.fullmatch(r"(auto|cpu|cuda|tensorrt)(?::(\d+))?", text.strip().lower())
        if found is None or (found[2] and found[1] in ("auto", "cpu")):
            raise InputError(f"device {text!r} is not known to the onnx backend; use one of {_DEVICES}")
        return cls(found[1], int(found[2] or 0))

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


@dataclass(frozen=True)
class Session:
    """An open session: the runtime's object, the device that it really came up on, and the model's file."""

    runtime: Any
    device: Device
    path: Path

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
            raise _translated(error, self.path) from None

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
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet):
        if kind != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        try:
            runtime = _start(source, options, wanted, settings.tf32)
        except Exception as error:  # the runtime's exceptions share no base class but this
            if kind == "cpu" or not _DEVICE_FAULT.search(str(error)):
                raise _refusal(error, path, onnxruntime.__version__) from None
            if asked.kind != "auto":
                raise ModelError(
                    f"device {str(asked)!r} was asked for, but did not come up ({_first_line(error)}); {_REMEDY}"
                ) from None
            runtime = _start(source, options, Device("cpu"), settings.tf32)
    runtime._model_bytes = None  # its copy of the edited model, weights and all, is not needed again
    first = runtime.get_providers()[0]
    came = next((name for name, provider in _PROVIDERS.items() if provider == first), first)
    if came != kind and asked.kind != "auto":
        raise ModelError(
            f"device {str(asked)!r} was asked for, but onnxruntime came up on {_SHOWN.get(came, came)}: {_REMEDY}"
        )
    return Session(runtime, Device(came, wanted.number if came == kind else 0), path)


def _translated(error: Exception, path: Path) -> ModelError:
    """Return what the runtime raised as one line of ours."""
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return OutOfMemory(f"{path}: onnxruntime ran out of memory ({_first_line(error)}); use a smaller batch")
    misfit = _MISFIT.search(str(error))
    if misfit:
        return ModelError(
            f"{path}: input {misfit[1]!r} takes {misfit[4]} along axis {misfit[2]} and was given {misfit[3]}; "
            "give it records of the shape that the model was trained on"
        )
    return ModelError(
        f"{path}: onnxruntime failed: {_first_line(error)}; see that the records are what it was trained on"
    )


def _first_line(error: Exception) -> str:
    """Return the first line of the runtime's message, trimmed of codes and source paths, and printable."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    for noise in _NOISE:
        line = noise.sub("", line)
    return printable(line.strip(), LONGEST_MESSAGE)


def _start(source: str | bytes, options: Any, wanted: Device, tf32: bool) -> Any:
    import onnxruntime

    chain = [wanted]
    if wanted.kind == "tensorrt":
        chain.append(Device("cuda", wanted.number))
    if wanted.kind != "cpu":
        chain.append(Device("cpu"))
    providers = [(_PROVIDERS[device.kind], _options(device, tf32)) for device in chain]
    return onnxruntime.InferenceSession(source, options, providers=providers, enable_fallback=0)


def _refusal(error: Exception, path: Path, version: str) -> ModelError:
    """Return why the runtime does not take a model, as one line of ours."""
    text = str(error)
    for pattern in _UNKNOWN:
        found = pattern.search(text)
        if found:
            opset = f" (opset {found[2]})" if pattern.groups > 1 else ""
            return ModelError(
                f"{path}: operator {found[1]!r}{opset} is not known to onnxruntime {version}; "
                "export the model with standard operators, or use a newer onnxruntime"
            )
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return OutOfMemory(f"{path}: onnxruntime ran out of memory ({_first_line(error)}); free some")
    return ModelError(f"{path}: onnxruntime does not take the model: {_first_line(error)}; export it again")


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

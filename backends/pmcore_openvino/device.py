"""The device that was asked for, and the precision in which a compiled model really computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pmcore.devices import parse_device
from pmcore.errors import ModelError

_NAMES: Mapping[str, str] = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "f64": "float64",
    "i8": "int8",
    "u8": "int8",
    "i4": "int4",
    "u4": "int4",
}
_HALF = frozenset({"bfloat16", "float16"})
_LOW = _HALF | {"int8", "int4"}
_NOT_COMPUTED = frozenset(
    {"Const", "Input", "Output", "Reorder", "Convert", "Reshape", "Transpose", "Concatenation", "Split", "Gather"}
    | {"MemoryInput", "MemoryOutput", "Parameter", "Result"}
)
"""Layers of a compiled model that move numbers."""
_EXACT: Mapping[str, str] = {
    "INFERENCE_PRECISION_HINT": "f32",
    "EXECUTION_MODE_HINT": "ACCURACY",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    "KV_CACHE_PRECISION": "f32",
}
"""What makes a device compute in float32: each is set where the device knows it."""


@dataclass(frozen=True)
class Device:
    """A device that was asked for: "auto", or one by its kind and perhaps its number.

    "auto" is the CPU, which every machine has. OpenVINO's own AUTO would begin on the CPU and go over to another
    device in the midst of an audit, with other answers.
    """

    kind: str
    number: int | None = None

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read "auto", "cpu", "gpu", "gpu.1" (or "gpu:1") or "npu", in either case."""
        asked = parse_device(text, "openvino", ("gpu", "npu"), ("gpu", "npu"), ".")
        return cls(asked.kind, asked.number)

    def __str__(self) -> str:
        return self.kind if self.number is None else f"{self.kind}.{self.number}"

    @property
    def name(self) -> str:
        """Return what OpenVINO calls the device, such as "CPU" or "GPU.1"."""
        return "CPU" if self.kind == "auto" else str(self).upper()

    def check(self, core: Any) -> None:
        """Refuse a device that this machine lacks.

        Raises
        ------
        ModelError
            OpenVINO does not list it.
        """
        if self.kind in ("auto", "cpu"):
            return
        there = [str(name) for name in core.available_devices]
        if self.name not in there and not (self.number is None and f"{self.name}.0" in there):
            raise ModelError(
                f"device {str(self)!r} was asked for, but openvino finds only {', '.join(there) or 'none'}; "
                "install the driver of the device, or use --device cpu"
            )


@dataclass(frozen=True)
class Computed:
    """In which precision a compiled model computes.

    Parameters
    ----------
    hint : the precision that the device says it prefers, or None if it does not tell
    operations : how many operations run in each precision, where the device tells
    """

    hint: str | None
    operations: Mapping[str, int]

    @property
    def is_float32(self) -> bool:
        """Tell whether everything that is not quantised in the file itself is computed in float32."""
        return self.hint == "float32" and not self.is_half

    @property
    def is_half(self) -> bool:
        """Tell whether some of it is computed in half precision, whatever the type of the answers."""
        return self.hint in _HALF or not _HALF.isdisjoint(self.operations)

    @property
    def shown(self) -> str:
        """Return what runs, such as "float32", "bfloat16" or "float32 with int8"."""
        ranked = sorted(_LOW & self.operations.keys(), key=lambda name: -self.operations[name])
        if self.hint is None or self.hint not in ("float32", "float64"):
            base = ranked.pop(0) if ranked and ranked[0] != "int8" else "float32" if self.operations else self.hint
        else:
            base = self.hint
        others = [name for name in ranked if name != base]
        return f"{base or 'unknown'} with {' and '.join(others)}" if others else base or "unknown"


def exact_settings(core: Any, device: str) -> dict[str, str]:
    """Return the settings by which a device computes in float32."""
    known: Mapping[str, str] = core.get_property(device, "SUPPORTED_PROPERTIES")
    return {key: value for key, value in _EXACT.items() if known.get(key) == "RW"}  # "RO" can be told, not set


def read_back(compiled: Any) -> Computed:
    """Return what a compiled model says of its precision, and what its operations really run in."""
    try:
        told = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        hint = _NAMES.get(told)
    except Exception:  # devices that do not know the property raise the runtime's own error
        hint = None
    counts: Counter[str] = Counter()
    try:
        nodes = compiled.get_runtime_model().get_ordered_ops()
    except Exception:  # so do those that do not show what they run
        nodes = []
    for node in nodes:
        name = _NAMES.get(_kernel_precision(node.get_rt_info()))
        if name is not None:
            counts[name] += 1
    return Computed(hint, counts)


def _kernel_precision(facts: Any) -> str:
    """Return the precision of the kernel that an operation runs, "" where none is told.

    The kernel's name tells it ("brgconv_avx512_bf16"); what is called the precision at run time is that of the
    weights as they are kept, which may be fewer bits than are computed with.
    """
    told = {key: str(facts[key].value) for key in ("layerType", "primitiveType", "runtimePrecision") if key in facts}
    if told.get("layerType", "Const") in _NOT_COMPUTED:
        return ""
    kernel = told.get("primitiveType", "").rpartition("_")[2].lower()
    return kernel if kernel in _NAMES else told.get("runtimePrecision", "").lower()

"""Where a module runs and how exactly it computes: the device that was asked for or an error, nothing left changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmcore.devices import parse_device
from pmcore.errors import ModelError
from pmcore.runtime_failures import first_line
from pmcore_torch.quiet import ONE_AT_A_TIME, start_torch

if TYPE_CHECKING:
    import torch

_REMEDY = "install a torch built for it and check the driver (nvidia-smi), or use --device cpu"


@dataclass(frozen=True)
class Device:
    """A device that was asked for: "auto", or one by its kind and number."""

    kind: str
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read "auto", "cpu", "cuda", "cuda:1" or "mps"."""
        asked = parse_device(text, "torch", ("cuda", "mps"), ("cuda",))
        return cls(asked.kind, asked.number or 0)

    @property
    def title(self) -> str:
        """Return the device as reports show it, such as "CPU" or "CUDA:0"."""
        return f"CUDA:{self.number}" if self.kind == "cuda" else self.kind.upper()

    @property
    def spec(self) -> str:
        """Return the device as PyTorch spells it."""
        return f"cuda:{self.number}" if self.kind == "cuda" else self.kind

    @property
    def schema(self) -> Mapping[str, Any]:
        """Return the device as exported programs spell it."""
        return {"type": self.kind, "index": self.number if self.kind == "cuda" else None}

    def open(self) -> Device:
        """Return the device that really comes up: for "auto" CUDA where there is one, else the CPU.

        Raises
        ------
        ModelError
            The device that was asked for is not there.
        """
        start_torch()
        import torch

        if self.kind == "auto":
            return Device("cuda") if torch.cuda.is_available() else Device("cpu")
        asked = f"device {self.spec!r} was asked for"
        if self.kind == "mps" and not torch.backends.mps.is_available():
            raise ModelError(f"{asked}, but this torch does not find it; {_REMEDY}")
        if self.kind == "cuda":
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
            if self.number >= count:
                raise ModelError(f"{asked}, but torch finds {count or 'no'} CUDA devices; {_REMEDY}")
        try:
            torch.empty(1, device=self.spec)
        except RuntimeError as error:
            raise ModelError(f"{asked}, but did not come up ({first_line(error)}); {_REMEDY}") from None
        return self


def device_of(module: torch.nn.Module) -> Device | None:
    """Return where the weights of a module are, or None if it has none or they are spread out."""
    places = {value.device for value in (*module.parameters(), *module.buffers())}
    if len(places) != 1:
        return None
    place = places.pop()
    return Device(place.type, place.index or 0)


@contextlib.contextmanager
def exact(device: Device, threads: int | None, *, deployed: bool) -> Iterator[None]:
    """Compute without gradients, without autocast, on this many threads, and in full float32 unless `deployed`.

    What is set is set for the block alone: threads, and the permission to round the inputs of float32 products, are
    settings of the whole process, so one thread at a time is in such a block.
    """
    import torch

    with ONE_AT_A_TIME, contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if torch.is_autocast_enabled(device.kind):
            stack.enter_context(torch.autocast(device.kind, enabled=False))
        if threads is not None and torch.get_num_threads() != threads:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        if not deployed:
            stack.enter_context(_full_precision(device))
        yield


@contextlib.contextmanager
def _full_precision(device: Device) -> Iterator[None]:
    """Keep the inputs of float32 products as they are for the block, whatever the process allows."""
    import torch

    backends: Any = torch.backends
    own: tuple[Any, ...] = (backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn)
    if device.kind == "cuda":
        own = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    rounded = [(kind, kind.fp32_precision) for kind in own if kind.fp32_precision not in ("ieee", "none")]
    for kind, _ in rounded:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, before in rounded:
            kind.fp32_precision = "none"
            if kind.fp32_precision != before:  # else it follows a general setting, as it did
                kind.fp32_precision = before

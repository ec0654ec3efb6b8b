"""Where a module runs: the device that was asked for, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmcore.devices import parse_device
from pmcore.errors import ModelError
from pmcore.runtime_failures import first_line
from pmcore_autograd.quiet import start_torch

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

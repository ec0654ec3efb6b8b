"""How a network uses its parameters, for inputs of one shape."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pmcore_autograd.per_record.sites import Site
from pmcore_autograd.per_record.tracing import Step
from pmcore_autograd.per_record.views import Parameters


@dataclass(frozen=True)
class Plan:
    """What is done for inputs of one shape.

    Parameters
    ----------
    parameters : finds parameters
    steps : that a forward pass takes
    sites : uses of parameters
    rejected : number of a parameter -> why it is not taken from its uses
    each : bytes that a forward and a backward pass take per record
    without : libraries that are switched off, "mkldnn" or "cudnn"
    """

    parameters: Parameters
    steps: tuple[Step, ...]
    sites: tuple[Site, ...]
    rejected: Mapping[int, str]
    each: int
    without: frozenset[str] = frozenset()

    def of(self, parameter: int) -> list[Site]:
        """Return the uses of a parameter."""
        return [site for site in self.sites if parameter in site.parameters]

    def rejecting(self, reasons: Mapping[int, str]) -> Plan:
        """Return the plan without some parameters, nor the uses of those that are rejected."""
        rejected = {**self.rejected, **reasons}
        sites = tuple(site for site in self.sites if not rejected.keys() >= set(site.parameters))
        return replace(self, sites=sites, rejected=rejected)


@contextlib.contextmanager
def switched_off(libraries: frozenset[str]) -> Iterator[None]:
    """Have torch compute without some libraries for the block."""
    import torch

    with contextlib.ExitStack() as stack:
        if "mkldnn" in libraries:  # its own context changes, and warns of, more than that
            stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
            torch._C._set_mkldnn_enabled(False)
        if "cudnn" in libraries:
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield

"""OpenVINO's rounding to levels: gradients pass between its ends as if nothing were rounded, and not beyond them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import given, refusal, whole, word

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def _fake_quantise(node: Node, values: Values) -> torch.Tensor:
    x, low, high, out_low, out_high = (given(node, values, place) for place in range(5))
    steps = whole(node, "levels", 2) - 1
    if word(node, "auto_broadcast", "numpy none pdpd") == "pdpd" or steps < 1:
        raise refusal(node, f"{steps + 1} levels, or auto_broadcast='pdpd', are not known here")
    least, most = torch.minimum(low, high), torch.maximum(low, high)
    width = torch.where(high == low, torch.ones_like(high), high - low)
    rounded = torch.round(x * (steps / width) - low * (steps / width)) / steps  # in the order in which the CPU does it
    share = (x - low) / width
    level = torch.where(x <= least, torch.zeros_like(share), torch.where(x > most, torch.ones_like(share), rounded))
    exact = level * (out_high - out_low) + out_low
    # A range that starts at 0 stands for a rectifier that was left out; other ends are no part of the network.
    passing = torch.where(low == 0, torch.clamp(share, 0.0, 1.0), share)
    straight = passing * (out_high - out_low) + out_low
    return straight + (exact - straight).detach()


def _convert(node: Node, values: Values) -> torch.Tensor:
    """Return quantised numbers as real ones, whether they are kept in integers or are about to be."""
    x = given(node, values, 0)
    return x + (torch.round(x) - x).detach() if x.is_floating_point() else x.to(torch.get_default_dtype())


TABLE: Mapping[str, Known] = {
    "ConvertQuantized": Known(_convert, "destination_type no_clamp use_rounding"),
    "FakeQuantize": Known(_fake_quantise, "levels auto_broadcast auto_broadcast.auto_broadcast_axis"),
}

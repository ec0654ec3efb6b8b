"""The networks in double precision, with the parameters that an export really holds, and their gradients."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pmcore.interfaces import Floats
from tests.whitebox.attention import Bert
from tests.whitebox.networks import Records, built

_DISTURBANCE = 1e-6
_JUMP = 1e-6
"""Relative; a gradient that is smooth leaves a straight line by less than a tenth of this over the disturbance."""


@dataclass(frozen=True)
class Expected:
    """What a reference says about some records.

    Parameters
    ----------
    title : how the parameters differ from those that were trained
    sizes : parameter -> its numbers that count
    norms : parameter that counts -> norm of each record's loss gradient, (n,)
    logits : (n, k)
    """

    title: str
    sizes: Mapping[str, int]
    norms: Mapping[str, Floats]
    logits: Floats


@dataclass(frozen=True)
class Reference:
    """A network in double precision, and which of its parameters count.

    Parameters
    ----------
    title : how its parameters differ from those that were trained
    net : in eval mode
    dropped : name of a parameter -> leading rows of it that an export has merged into another parameter
    """

    title: str
    net: nn.Module
    dropped: Mapping[str, int] = field(default_factory=dict)

    def logits(self, records: Records) -> Floats:
        """Return the logits (n, k)."""
        with torch.no_grad():
            found: Floats = self.net(*records.tensors(torch.float64)).numpy()
        return found

    def about(self, records: Records) -> Expected:
        """Return the norms of each record's loss gradient, by a loop over records."""
        names, values = zip(*self.net.named_parameters(), strict=True)
        counted = [name for name, value in zip(names, values, strict=True) if self._counted(name, value).numel()]
        norms = np.array([self._norms(records, i, values) for i in range(len(records.labels))])
        return Expected(
            self.title,
            {name: self._counted(name, value).numel() for name, value in zip(names, values, strict=True)},
            {name: norms[:, names.index(name)] for name in counted},
            self.logits(records),
        )

    def smooth(self, candidates: Records, n: int) -> Records:
        """Return the first n records whose gradients do not jump where the weights are disturbed by a millionth.

        A record for which a rectifier or a maximum stands within rounding of its bend has two gradients, and which of
        them is found depends on the order in which numbers were added up.
        """
        here = self._total(candidates)
        random = torch.Generator().manual_seed(1)
        disturb = (torch.randn(value.shape, generator=random) * _DISTURBANCE for value in self.net.parameters())
        steps = [value.detach() * share for value, share in zip(self.net.parameters(), disturb, strict=True)]
        around = []
        for sign in (1, -2, 1):
            with torch.no_grad():
                for value, step in zip(self.net.parameters(), steps, strict=True):
                    value.add_(step, alpha=sign)
            around.append(self._total(candidates))
        jumps = np.abs(around[0] + around[1] - 2 * here) / here
        chosen = np.flatnonzero(jumps < _JUMP)[:n]
        assert len(chosen) == n, f"{len(chosen)} of {len(jumps)} records are far from all bends"
        return candidates.take(chosen)

    def _total(self, records: Records) -> Floats:
        total: Floats = np.sqrt(np.sum(np.square(list(self.about(records).norms.values())), axis=0))
        return total

    def _norms(self, records: Records, record: int, values: tuple[Tensor, ...]) -> list[float]:
        inputs = (tensor[record : record + 1] for tensor in records.tensors(torch.float64))
        label = torch.from_numpy(records.labels[record : record + 1])
        gradients = torch.autograd.grad(nn.functional.cross_entropy(self.net(*inputs), label), values)
        names = (name for name, _ in self.net.named_parameters())
        return [float(self._counted(name, each).norm()) for name, each in zip(names, gradients, strict=True)]

    def _counted(self, name: str, value: Tensor) -> Tensor:
        return value[self.dropped.get(name, 0) :]


def as_trained(name: str) -> Reference:
    """Return the network itself."""
    return Reference("as trained", _double(name))


def as_shipped_by_onnx(name: str) -> Reference:
    """Return the network as torch's exporters write it: a BatchNorm behind a convolution is folded into it."""
    net = _double(name)
    return Reference("BatchNorm folded", folded(net)) if _has_norms(net) else as_trained(name)


def as_unrolled(name: str) -> Reference:
    """Return the network as it is exported for a batch of one: tables read at constant places become their rows."""
    if name != "bert":
        return as_shipped_by_onnx(name)
    net = _double(name)
    assert isinstance(net, Bert)
    net.set_submodule("types", _Rows(net.types.weight[:1].detach().repeat(net.place.shape[1], 1)))
    return Reference("a row of types for each place", net)


def as_shipped_by_openvino(name: str) -> Reference:
    """Return the network as OpenVINO writes it: every BatchNorm scales and shifts, recurrent biases are summed."""
    net = _double(name)
    if _has_norms(net):
        return with_affine_norms(folded(net))
    dropped: dict[str, int] = {}
    for path, module in net.named_modules():
        if isinstance(module, nn.LSTM | nn.GRU):
            # A GRU keeps two biases of the new state alone: one of them stands inside the product with the reset gate.
            gates = 4 if isinstance(module, nn.LSTM) else 2
            biases = [key for key, _ in module.named_parameters() if key.startswith("bias_hh")]
            dropped |= {f"{path}.{key}": gates * module.hidden_size for key in biases}
    return Reference("recurrent biases summed", net, dropped) if dropped else as_trained(name)


def folded(net: nn.Module) -> nn.Module:
    """Return the network with each BatchNorm that follows a convolution folded into it."""
    from torch.fx.experimental.optimization import fuse  # pairs by torch.nn.utils.fusion.fuse_conv_bn_eval

    fused: nn.Module = fuse(net, no_trace=False)
    return fused.eval().requires_grad_()  # a bias that folding made is not trained by itself


def with_affine_norms(net: nn.Module, centred: bool = False) -> Reference:
    """Return the network whose BatchNorms scale and shift the input, or its distance from the mean."""
    left = [path for path, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for path in left:
        module = net.get_submodule(path)
        assert isinstance(module, nn.BatchNorm2d)
        net.set_submodule(path, _Affine(module, centred))
    if centred:
        return Reference("BatchNorm as scale and shift", net)
    return Reference("BatchNorm folded, else scale and shift" if left else "BatchNorm folded", net)


class _Affine(nn.Module):
    """What is left of a BatchNorm in eval mode: a scale and a shift, of the input or of its distance from the mean."""

    def __init__(self, norm: nn.BatchNorm2d, centred: bool) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        mean = norm.running_mean if centred else torch.zeros_like(norm.running_mean)
        self.mean: Tensor
        self.register_buffer("mean", mean[:, None, None])
        self.scale = nn.Parameter(scale[:, None, None])
        self.shift = nn.Parameter((norm.bias.detach() - (norm.running_mean - mean) * scale)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.scale + self.shift


class _Rows(nn.Module):
    """Rows of a table that were looked up once and for all."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows[None])

    def forward(self, places: Tensor) -> Tensor:
        return self.rows


def _double(name: str) -> nn.Module:
    return copy.deepcopy(built(name)).double()


def _has_norms(net: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in net.modules())

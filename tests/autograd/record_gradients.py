"""Gradients of single records by plain backward passes, one after the other, reduced with numpy: the known answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pmcore.interfaces import Array, Floats, GradientRequest
from pmcore.sketches import parameter_sketch
from pmcore_autograd.per_record import PerRecord

Forward = Callable[[Mapping[str, Tensor]], Tensor]
TOTAL = GradientRequest()


@dataclass
class Case:
    """A network with records, and gradients of losses at its predictions that are drawn.

    Parameters
    ----------
    module : taken in float64 unless `dtype` says otherwise
    inputs : name -> (n, ...)
    batched : whether it takes several records at a time
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    dtype: torch.dtype = torch.float64
    batched: bool = True
    budget: int = 256 * 2**20
    forward: Forward = field(init=False)

    def __post_init__(self) -> None:
        self.module.to(self.dtype)
        self.inputs = {k: v.to(self.dtype) if v.is_floating_point() else v for k, v in self.inputs.items()}
        self.forward = lambda inputs: self.module(*inputs.values())

    @property
    def records(self) -> int:
        """Return n."""
        return len(next(iter(self.inputs.values())))

    @property
    def layers(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each innermost module."""
        found: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self.module.named_parameters():
            found.setdefault(name.rpartition(".")[0], []).append(parameter)
        return found

    @property
    def cotangents(self) -> Floats:
        """Return gradients of losses at the predictions, (n, k)."""
        with torch.no_grad():
            columns = self.forward(rows(self.inputs, slice(0, 1))).numel()
        return np.random.default_rng(0).standard_normal((self.records, columns))

    def engine(self) -> PerRecord:
        """Return the engine under test."""
        return PerRecord(self.module, self.forward, self.layers, batched=self.batched, budget=self.budget)

    def requests(self) -> list[GradientRequest]:
        """Return every kind of request, for all parameters together and for every layer."""
        each = tuple(self.layers)
        norms = [GradientRequest(layers, order=order) for layers in ((), each) for order in (1.0, 2.0, np.inf)]
        return [*norms, GradientRequest((), "sketch", size=24), GradientRequest(each, "sketch", size=7)]

    def reduced(self, engine: PerRecord) -> dict[GradientRequest, Array]:
        """Return what an engine gives."""
        cotangents = self.cotangents
        return engine.reduce(self.inputs, lambda _, some: cotangents[some], self.requests())


def check(case: Case, relative: float = 1e-9) -> PerRecord:
    """Hold every reduction against plain backward passes; return the engine."""
    engine = case.engine()
    found = case.reduced(engine)
    expected = expected_reductions(case, case.cotangents, case.requests())
    assert list(found) == list(expected)
    for request, values in expected.items():
        size = np.where(expected[TOTAL] > 0, expected[TOTAL], 1.0)
        np.testing.assert_allclose(found[request] / size, values / size, rtol=relative, atol=relative)
    return engine


def expected_reductions(
    case: Case, cotangents: Floats, requests: Sequence[GradientRequest]
) -> dict[GradientRequest, Floats]:
    """Return the reductions of gradients that are written out record by record in float64."""
    layers = case.layers
    every = [parameter for several in layers.values() for parameter in several]
    found: dict[GradientRequest, list[Floats]] = {request: [] for request in requests}
    for at in range(case.records):
        predictions = case.forward(rows(case.inputs, slice(at, at + 1)))
        weights = torch.from_numpy(cotangents[at : at + 1]).to(predictions).reshape(predictions.shape)
        gradients = torch.autograd.grad(predictions, every, weights, allow_unused=True)
        arrays = {
            id(parameter): np.zeros(parameter.shape) if gradient is None else gradient.double().numpy()
            for parameter, gradient in zip(every, gradients, strict=True)
        }
        for request in requests:
            columns = [layers[name] for name in request.layers] or [every]
            parts = [_reduced([arrays[id(parameter)] for parameter in column], request) for column in columns]
            found[request].append(np.concatenate(parts))
    return {request: np.array(values) for request, values in found.items()}


def rows(inputs: Mapping[str, Tensor], some: slice) -> dict[str, Tensor]:
    """Return copies of some records."""
    return {name: value[some].clone() for name, value in inputs.items()}


def _reduced(gradients: Sequence[Floats], request: GradientRequest) -> Floats:
    if request.reduction == "norm":
        flat = np.concatenate([gradient.reshape(-1) for gradient in gradients])
        return np.array([np.linalg.norm(flat, request.order)])
    total = np.zeros(request.size)
    for position, gradient in enumerate(gradients):
        table = parameter_sketch(gradient.shape, request.size, position)
        matrix = gradient.reshape(1, len(table.row_sign), len(table.column_sign))
        total += table.of_matrices(matrix)[0]
    return total

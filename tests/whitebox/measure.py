"""How far the gradients that are taken of an export are from torch autograd in double precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax
from scipy.stats import spearmanr

import pmcore_autograd
from pmcore.interfaces import Array, Floats, GradientRequest
from pmcore_autograd.per_record import PerRecord
from tests.whitebox.bounds import SHARE
from tests.whitebox.cases import Shipped
from tests.whitebox.exports import answers
from tests.whitebox.networks import Records


@dataclass(frozen=True)
class Agreement:
    """What is taken of one file, against its reference.

    Parameters
    ----------
    parameters, expected : numbers that gradients are taken of, and those that the reference has
    reference : its title
    forward : largest difference of a logit from the file's runtime, over the largest logit
    change : largest difference of a logit of the runtime from the reference's, over the largest logit
    gradient : largest relative error of a record's norm over all parameters
    parameter : largest error of a record's norm over one parameter; relative to that norm or, where it is below
        `SHARE` of the norm over all, to this share
    compared, tensors : parameters that stand one to one with those of the reference, of how many
    rank : Spearman's correlation of the norms over all parameters with the reference's
    ratio : median of the ratio of these norms
    surrogate : whether the module says that its gradients are no gradients of what the file computes
    method : how the norms were taken, with how many parameters each way
    """

    parameters: int
    expected: int
    reference: str
    forward: float
    change: float
    gradient: float
    parameter: float
    compared: int
    tensors: int
    rank: float
    ratio: float
    surrogate: bool
    method: str


def measure(shipped: Shipped) -> Agreement:
    """Open a file, take gradient norms by record and parameter, and compare."""
    outputs = None if shipped.output is None else [shipped.output]
    module, records = pmcore_autograd.load(shipped.path, outputs), shipped.records
    parameters = dict(module.named_parameters())
    step = shipped.batch or len(records.labels)
    engine = PerRecord(
        module,
        lambda inputs: module(*inputs.values()),
        {name: [value] for name, value in parameters.items()},
        batched=shipped.batch is None,
        title=shipped.path,
    )
    by_parameter = _norms(engine, records, tuple(parameters))
    exact = shipped.expected.norms
    ours, theirs = _total(by_parameter), _total(exact)
    sizes = {name: value.numel() for name, value in parameters.items()}
    pairs = paired(by_parameter, sizes, exact, shipped.expected.sizes)
    errors = [_error(by_parameter[own], exact[other], theirs) for own, other in pairs.items()]
    runtime = answers(shipped.path, records.inputs, shipped.batch, shipped.output)
    return Agreement(
        parameters=sum(sizes.values()),
        expected=sum(shipped.expected.sizes.values()),
        reference=shipped.expected.title,
        forward=_difference(_logits(module, records, step), runtime),
        change=_difference(runtime, shipped.expected.logits),
        gradient=float(np.abs(ours / theirs - 1).max()),
        parameter=max(errors, default=0.0),
        compared=len(pairs),
        tensors=len(parameters),
        rank=float(spearmanr(ours, theirs).statistic),
        ratio=float(np.median(ours / theirs)),
        surrogate=module.surrogate,
        method=engine.method,
    )


def paired(
    ours: Mapping[str, Floats],
    our_sizes: Mapping[str, int],
    theirs: Mapping[str, Floats],
    their_sizes: Mapping[str, int],
) -> dict[str, str]:
    """Return which parameter is which, for sizes of which both sides have as many: names say nothing after an export.

    Parameters
    ----------
    ours, theirs : parameter -> (n,) norms; those that differ least belong together
    """
    found: dict[str, str] = {}
    for size in set(our_sizes.values()):
        own = [name for name in ours if our_sizes[name] == size]
        other = [name for name in theirs if their_sizes[name] == size]
        if len(own) == len(other):
            costs = [[np.abs(ours[a] - theirs[b]).max() for b in other] for a in own]
            rows, columns = linear_sum_assignment(np.array(costs))
            found |= {own[row]: other[column] for row, column in zip(rows, columns, strict=True)}
    return found


def _norms(engine: PerRecord, records: Records, names: tuple[str, ...]) -> dict[str, Floats]:
    def cotangent(predictions: Array, rows: slice) -> Floats:
        """Return the gradient of the cross-entropy at the logits."""
        found: Floats = softmax(predictions.astype(np.float64), axis=1)
        found[np.arange(len(found)), records.labels[rows]] -= 1.0
        return found

    request = GradientRequest(names)
    inputs = dict(zip(records.inputs, records.tensors(), strict=True))
    norms = engine.reduce(inputs, cotangent, [request])[request]
    return dict(zip(names, norms.T, strict=True))


def _total(norms: Mapping[str, Floats]) -> Floats:
    total: Floats = np.sqrt(np.sum(np.square(list(norms.values())), axis=0))
    return total


def _difference(ours: Array, theirs: Array) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _error(ours: Floats, theirs: Floats, total: Floats) -> float:
    return float((np.abs(ours - theirs) / np.maximum(theirs, SHARE * total)).max())


def _logits(module: torch.nn.Module, records: Records, step: int) -> Array:
    tensors = records.tensors()
    with torch.no_grad():
        parts = [module(*(each[i : i + step] for each in tensors)) for i in range(0, len(records.labels), step)]
    logits: Array = torch.cat(parts).numpy()
    return logits

"""Checks of what a backend answers: the numbers, and that each record's are its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from pmcore.interfaces import Scale, Task
from pmcore.testing.backend_case import (
    BackendCase,
    answers,
    distance,
    rows,
)
from pmcore.testing.checking import NotApplicable
from pmcore.testing.refusals import require

EXACT = 1e-5
"""How far float32 answers may be from those of plain numpy, relative to the largest."""
MANY = 1500
THREADS = 4


def check_known_answers(case: BackendCase) -> None:
    """Predict for a dense network what plain numpy computes, within 1e-5 of the largest."""
    network = case.known()
    model = case.prepared()
    (x,) = (inputs := case.records(model)).values()
    found = answers(model, inputs).reshape(len(x), -1)
    logits, probabilities = network.logits(x), network.probabilities(x)
    off = min(distance(found, logits), distance(found, probabilities))
    require(off <= EXACT, f"predictions are {off:.1e} of the largest off, neither logits nor their softmax")


def check_scale(case: BackendCase) -> None:
    """Tell rightly whether predictions are logits or probabilities."""
    network = case.known()
    model = case.prepared()
    (x,) = (inputs := case.records(model)).values()
    found = answers(model, inputs).reshape(len(x), -1)
    near = {
        Scale.LOGITS: distance(found, network.logits(x)),
        Scale.PROBABILITIES: distance(found, network.probabilities(x)),
    }
    really = min(near, key=lambda scale: near[scale])
    if near[really] > 0.1:
        raise NotApplicable("predictions are neither, which check_known_answers tells")
    told = model.describe().scale
    require(told is really, f"the description says {told.value!r}, predictions are {really.value}")


def check_prediction_shape(case: BackendCase) -> None:
    """Return predictions as one numpy array of floats, shape (b, k), k the number of classes described."""
    model = case.prepared()
    found = model.predict(case.records(model, 5))
    require(isinstance(found, np.ndarray), f"predict returned {type(found).__name__}; return a numpy array")
    require(found.dtype.kind == "f", f"predictions are of type {found.dtype}; return floats")
    description = model.describe()
    columns = {description.classes} | ({1, 2} if description.task is Task.BINARY else set())
    require(
        found.ndim == 2 and len(found) == 5 and found.shape[1] in columns,
        f"predictions about 5 records have shape {found.shape}; return (5, {description.classes})",
    )


def check_batch_independence(case: BackendCase) -> None:
    """Answer a record alone as it is answered within a batch."""
    model = case.prepared()
    inputs = case.records(model)
    together = answers(model, inputs)
    for place in range(len(together)):
        off = distance(answers(model, rows(inputs, slice(place, place + 1))), together[place : place + 1])
        require(off <= case.tolerance, f"record {place} alone is answered {off:.1e} of the largest differently")


def check_order(case: BackendCase) -> None:
    """Answer in the order of the records, whatever that order is."""
    model = case.prepared()
    inputs = case.records(model)
    first = next(iter(inputs.values()))
    ascending = np.argsort(first.reshape(len(first), -1)[:, 0], kind="stable")
    for order in (ascending, ascending[::-1]):
        off = distance(answers(model, rows(inputs, order)), answers(model, inputs)[order])
        require(off <= case.tolerance, f"records in another order are answered {off:.1e} of the largest differently")


def check_determinism(case: BackendCase) -> None:
    """Give the same answer to the same question bit for bit: asked again, and loaded again."""
    model, again = case.prepared(), case.prepared()
    inputs = case.records(model)
    expected = answers(model, inputs)
    for other, what in ((model, "asked again"), (again, "loaded again")):
        off = distance(answers(other, inputs), expected)
        require(off == 0.0, f"{what}, the answers differ by {off:.1e} of the largest")


def check_large_batches(case: BackendCase) -> None:
    """Answer many records at once as in small batches."""
    model = case.prepared()
    size = MANY if case.network is not None else 64
    inputs = case.records(model, size)
    step = size // 8
    pieces = [answers(model, rows(inputs, slice(start, start + step))) for start in range(0, size, step)]
    off = distance(answers(model, inputs), np.concatenate(pieces))
    require(off <= case.tolerance, f"{size} records at once are answered {off:.1e} of the largest differently")


def check_nan_stays_with_its_record(case: BackendCase) -> None:
    """Let a record that holds NaN change no other record's answer."""
    model = case.prepared()
    inputs = case.records(model)
    floats = [array for array in inputs.values() if array.dtype.kind == "f"]
    if not floats:
        raise NotApplicable("no input takes floating point")
    others = np.arange(len(floats[0])) != 3
    expected = answers(model, inputs)[others]
    for array in floats:
        array[3] = np.nan
    with np.errstate(invalid="ignore"):
        off = distance(answers(model, inputs)[others], expected)
    require(off <= case.tolerance, f"NaN in record 3 changes other records' answers by {off:.1e} of the largest")


def check_threads(case: BackendCase) -> None:
    """Give several threads that ask at once the answers about their own records."""
    model = case.prepared()
    asked = [case.records(model, 32, seed) for seed in range(THREADS)]
    expected = [answers(model, inputs) for inputs in asked]
    together = Barrier(THREADS)

    def ask(number: int) -> float:
        worst = 0.0
        for _ in range(10):
            together.wait(60)
            worst = max(worst, distance(answers(model, asked[number]), expected[number]))
        return worst

    with ThreadPoolExecutor(THREADS) as pool:
        worst = max(pool.map(ask, range(THREADS)))
    require(worst <= case.tolerance, f"threads that ask at once get answers {worst:.1e} of the largest off")

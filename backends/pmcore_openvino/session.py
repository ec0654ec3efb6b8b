"""Compiled models: the device and precision that were asked for or an error; batches shared among requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmcore.devices import check_threads
from pmcore.errors import ModelError
from pmcore.intake import Shape, refuse_misfit
from pmcore.interfaces import Array, LoadOptions, Precision
from pmcore_openvino.device import Computed, Device, exact_settings, read_back
from pmcore_openvino.feeding import input_names
from pmcore_openvino.graph import Graph, shape_of
from pmcore_openvino.requests import Requests
from pmcore_openvino.runtime import failed, untaken

MOST_REQUESTS = 64
"""Requests that may be under way at once, whatever the device would like."""
LEAST_PIECE = 8
"""Records that a request must be worth."""


@dataclass(frozen=True)
class Settings:
    """How models are compiled.

    Parameters
    ----------
    device : where they must run
    threads : threads in all, or None for the runtime's choice
    deployed : whether the device may compute in the precision that it takes by itself
    """

    device: Device
    threads: int | None = None
    deployed: bool = False

    @classmethod
    def of(cls, options: LoadOptions) -> Settings:
        """Return what options ask for.

        Raises
        ------
        InputError
            The device is not known, or there are to be no threads.
        """
        check_threads(options.threads)
        return cls(Device.parse(options.device), options.threads, options.precision is Precision.DEPLOYED)


@dataclass(frozen=True)
class Session:
    """A compiled model with its requests.

    Parameters
    ----------
    inputs, outputs : names in the model's order, and shapes, None where the number of dimensions is open
    device : where it really runs, such as "CPU" or "GPU.0"
    computed : in which precision
    """

    requests: Requests
    inputs: Mapping[str, Shape | None]
    outputs: Mapping[str, Shape | None]
    device: str
    computed: Computed
    path: Path

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Return the named outputs for one batch, asked in pieces where several requests can share it.

        Raises
        ------
        OutOfMemory
            The batch did not fit.
        ModelError
            The runtime failed for another reason.
        """
        sizes = self._pieces(outputs, feeds)
        if len(sizes) > 1:
            answers = self.run_each(outputs, _cut(feeds, sizes))
            if all(len(a) == size for parts, size in zip(answers, sizes, strict=True) for a in parts):
                return [np.concatenate(column) for column in zip(*answers, strict=True)]
        return self.run_each(outputs, [feeds])[0]

    def run_each(self, outputs: Sequence[str], parts: Iterable[Mapping[str, Array]]) -> list[list[Array]]:
        """Return the named outputs for each of several batches, several of which are under way at once."""
        places = list(self.outputs)
        indices = [places.index(name) for name in outputs]
        try:
            return self.requests.answer(map(self._by_index, parts), indices)
        except Exception as error:  # the runtime's exceptions share no base class but this
            raise failed(error, self.path) from None

    def _by_index(self, feeds: Mapping[str, Array]) -> dict[int, Array]:
        for name, shape in self.inputs.items():
            if shape is not None:
                refuse_misfit(name, shape, feeds[name].shape, self.path)
        return {index: feeds[name] for index, name in enumerate(self.inputs)}

    def _pieces(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[int]:
        """Return how many records each request is given: as many to each, in pieces that are worth one."""
        records = {len(array) if array.ndim else 0 for array in feeds.values()}
        shapes = [*self.inputs.values(), *(self.outputs[name] for name in outputs)]
        if len(records) > 1 or not all(shape and shape[0] is None for shape in shapes):
            return []
        total = records.pop()
        count = min(self.requests.count, total // LEAST_PIECE)
        return [(total + i) // count for i in range(count)] if count > 1 else []


def open_session(core: Any, graph: Graph, outputs: tuple[str, ...], settings: Settings, path: Path) -> Session:
    """Compile a model for some of its tensors.

    Raises
    ------
    ModelError
        The device did not come up, does not take the model, or does not compute in float32 when it must.
    """
    settings.device.check(core)
    name = settings.device.name
    model = graph.with_outputs(outputs)
    try:
        asked: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT"}
        if not settings.deployed:
            asked |= exact_settings(core, name)
        if settings.threads is not None and name == "CPU":
            asked["INFERENCE_NUM_THREADS"] = settings.threads
        compiled = core.compile_model(model, name, asked)
        devices = [str(found) for found in compiled.get_property("EXECUTION_DEVICES")]
        computed = read_back(compiled)
        count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        requests = Requests(compiled, max(1, min(count, MOST_REQUESTS)))
    except Exception as error:  # the runtime's exceptions share no base class but this
        raise untaken(error, path) from None
    if not all(found.startswith(name.partition(".")[0]) for found in devices):
        raise ModelError(
            f"device {str(settings.device)!r} was asked for, but openvino came up on {', '.join(devices)}; "
            "install the driver of the device, or use --device cpu"
        )
    if not settings.deployed and not computed.is_float32:
        raise ModelError(
            f"{path}: float32 was asked for, but {', '.join(devices)} computes in {computed.shown}; "
            "audit what it really runs with --precision deployed, or use --device cpu"
        )
    inputs = dict(zip(input_names(graph.model), map(_shape, compiled.inputs), strict=True))
    made = dict(zip(outputs, map(_shape, compiled.outputs), strict=True))
    return Session(requests, inputs, made, ", ".join(devices), computed, path)


def _cut(feeds: Mapping[str, Array], sizes: Sequence[int]) -> Iterator[dict[str, Array]]:
    start = 0
    for size in sizes:
        yield {name: array[start : start + size] for name, array in feeds.items()}
        start += size


def _shape(value: Any) -> Shape | None:
    return shape_of(value.get_partial_shape())

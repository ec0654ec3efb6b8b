"""A dense network in a `.npz` file as a model of pmcore."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pmcore.cotangents import Cotangents
from pmcore.dense_gradients import reduced
from pmcore.errors import AuditError, InputError
from pmcore.heads import Ending, Head
from pmcore.intake import Intake
from pmcore.interfaces import (
    Array,
    GradientRequest,
    GradientSource,
    HeadInput,
    Inputs,
    Layer,
    LoadOptions,
    Model,
    ModelDescription,
    Outputs,
    TensorSpec,
)
from pmcore.reading import presume
from threadpoolctl import threadpool_limits

from numpy_backend.files import Stored, looks_like_ours, read_network, write_network
from numpy_backend.network import Network


@dataclass(frozen=True)
class NumpyOptions(LoadOptions):
    """Options of the numpy backend: those of every backend, and one of its own.

    Parameters
    ----------
    dtype : "float32" or "float64", the type that is computed in; by default that of the file
    """

    dtype: str | None = None


class NumpyModel(Model):
    """A dense network stored in `.npz`, computed by numpy; its logits are read, whatever activation follows them."""

    options: ClassVar[type[LoadOptions]] = NumpyOptions
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    def __init__(self, path: Path, stored: Stored, options: LoadOptions) -> None:
        network = stored.network
        columns = len(network.biases[-1])
        if stored.activation == "none":
            head = Head("logits")
        else:
            head = Head("probabilities", "logits", Ending(stored.activation))
        self._path = path
        self._network: Network | None = network
        self._head = head
        self._threads = options.threads
        self._source: GradientSource | None = None
        self._reading = presume(head, columns, options.task, path)
        if self._reading.tensor != "logits":
            raise InputError(
                f"{path}: ends in {stored.activation}, with which {columns} column(s) are no {self._reading.task}"
            )
        features = len(network.weights[0])
        self._intake = Intake((TensorSpec("x", ("batch", features), str(network.dtype)),), None, False, path)

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """Tell a network by how its file begins; records are kept in `.npz` too."""
        return looks_like_ours(head)

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        """Load a network; see `Model.load`."""
        dtype = options.dtype if isinstance(options, NumpyOptions) else None
        if dtype not in (None, "float32", "float64"):
            raise InputError(f"dtype: {dtype!r} - give float32 or float64")
        if options.device not in ("auto", "cpu"):
            raise InputError(f"device {options.device!r} was asked for, but numpy computes on the CPU; leave it out")
        if options.threads is not None and options.threads < 1:
            raise InputError(f"threads: {options.threads} cannot be had; give a number from 1 on, or none")
        if options.output not in (None, "logits"):
            raise InputError(f"{source}: has no output {options.output!r}; its predictions are 'logits'")
        stored = read_network(source)
        if dtype is not None:
            stored = Stored(stored.network.astype(dtype), stored.activation)
        return cls(source, stored, options)

    @classmethod
    def write_dense(cls, path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """Write a dense network that ends in logits; see `Model.write_dense`."""
        write_network(path, weights, biases)

    def describe(self) -> ModelDescription:
        """Return what the network is."""
        return ModelDescription(
            inputs=self._intake.specs,
            task=self._reading.task,
            classes=self._reading.classes,
            output=self._reading.tensor,
            scale=self._reading.scale,
            device="CPU",
            precision=str(self._open().dtype),
            runtime=f"numpy {np.__version__}",
            pre_softmax=self._reading.tensor != self._head.output,
            notes=self._reading.notes,
        )

    def predict(self, inputs: Inputs) -> Array:
        """Return logits (or values), shape (b, k)."""
        return self._outputs(inputs)[-1]

    def layers(self) -> Sequence[Layer]:
        """Return dense layers and ReLUs, in order of computation."""
        return self._open().layers()

    def activations(self, inputs: Inputs, layers: Sequence[str]) -> Mapping[str, Array]:
        """Return the outputs of the named layers, each (b, h)."""
        names = [layer.name for layer in self.layers()]
        outputs = dict(zip(names, self._outputs(inputs), strict=True))
        return {name: outputs[self._known(name, names)] for name in layers}

    def gradients(
        self, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        """Return norms and sketches of each record's gradient, by backpropagation in closed form."""
        outputs = Outputs(self._reading.task, self._reading.scale, labels, self.predict(inputs))
        cotangents = Cotangents.of(outputs)
        with threadpool_limits(self._threads):
            layers = self._open().gradients(self._records(inputs), cotangents.directions)
            self._source = GradientSource("framework", "outer products in closed form", "float64")
            return reduced(layers, requests, cotangents)

    def gradient_source(self) -> GradientSource | None:
        """Return how gradients were taken."""
        return self._source

    def head_input(self, inputs: Inputs) -> HeadInput:
        """Return what enters the last layer, (b, h)."""
        hidden = self._outputs(inputs)[:-1]  # the last of them is the ReLU before the last layer
        return HeadInput(hidden[-1] if hidden else self._records(inputs), bias=True)

    def close(self) -> None:
        """Let go of the weights."""
        self._network = None

    def _open(self) -> Network:
        if self._network is None:
            raise AuditError(f"{self._path}: was closed; load the model again")
        return self._network

    def _outputs(self, inputs: Inputs) -> list[Array]:
        x = self._records(inputs)
        with threadpool_limits(self._threads):
            return self._open().outputs(x)

    def _records(self, inputs: Inputs) -> Array:
        """Return the records in the network's type, having checked their shape."""
        (x,) = self._intake.taken(inputs).values()
        if x.shape[1:] != self._intake.specs[0].record_shape:
            raise InputError(
                f"{self._path}: takes records of shape {list(self._intake.specs[0].record_shape)} and was given "
                f"{list(x.shape[1:])}; give it records of the shape that it was trained on"
            )
        return x

    def _known(self, name: str, names: Sequence[str]) -> str:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise InputError(f"{self._path}: has no layer {name!r}{hint}; it has {', '.join(names)}")
        return name

"""What a backend is checked on: a dense network with known weights in a file that the backend itself wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np

from pmcore.interfaces import Array, Floats, Inputs, Model, TensorSpec
from pmcore.testing.checking import Check, CheckFailed, NotApplicable, check_of

WIDTHS = (6, 8, 7, 4)
"""Features, hidden units and classes of the network."""
RECORDS = 12
LARGEST = 2**22
"""Numbers per record beyond which no records are made up."""


@dataclass(frozen=True)
class BackendExample:
    """A backend that cannot write a dense network, and a file that it can read."""

    backend: type[Model]
    example: Path


Subject: TypeAlias = type[Model] | BackendExample


@dataclass(frozen=True)
class Network:
    """A dense network with ReLU between its layers, computed by plain numpy in float64.

    Parameters
    ----------
    weights : (d, h1), (h1, h2), ... float32
    biases : (h1,), ... float32
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]

    def hidden(self, x: Array) -> list[Floats]:
        """Return what enters each layer, the records first: the inputs, then the outputs of each ReLU."""
        values: list[Floats] = [x.astype(np.float64)]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            values.append(np.maximum(values[-1] @ weight.astype(np.float64) + bias, 0.0))
        return values

    def logits(self, x: Array) -> Floats:
        """Return the logits, shape (n, k)."""
        value: Floats = self.hidden(x)[-1] @ self.weights[-1].astype(np.float64) + self.biases[-1]
        return value

    def probabilities(self, x: Array) -> Floats:
        """Return the softmax of the logits, shape (n, k)."""
        z = self.logits(x)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        value: Floats = e / e.sum(axis=1, keepdims=True)
        return value

    @property
    def parameters(self) -> int:
        """Return the number of weights and biases."""
        return sum(array.size for array in (*self.weights, *self.biases))


def make_network() -> Network:
    """Return the network of the checks: always the same weights."""
    rng = np.random.default_rng(7)
    pairs = list(pairwise(WIDTHS))
    weights = [(rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32) * 2 for shape in pairs]
    biases = [rng.normal(size=shape[1]).astype(np.float32) / 2 for shape in pairs]
    return Network(tuple(weights), tuple(biases))


@dataclass
class BackendCase:
    """A backend, a model file of its own kind in a folder of its own, and records for it.

    Parameters
    ----------
    network : what the file holds, or None for an example of unknown weights
    folder : free for other files
    """

    backend: type[Model]
    source: Path
    folder: Path
    network: Network | None
    _open: list[Model] = field(default_factory=list)

    def load(self, source: Path | None = None, **options: Any) -> Model:
        """Load the model, or another file."""
        model = self.backend.load(source or self.source, self.backend.options(**options))
        self._open.append(model)
        return model

    def prepared(self) -> Model:
        """Load the model and let it see a few records."""
        model = self.load()
        model.prepare(self.records(model, 4, seed=99))
        return model

    def known(self) -> Network:
        """Return the network in the file.

        Raises
        ------
        NotApplicable
            Its weights are not known.
        """
        if self.network is None:
            raise NotApplicable(f"the weights of the example {self.source.name} are not known")
        return self.network

    @property
    def tolerance(self) -> float:
        """Return how far two answers about one record may be apart, relative to the largest."""
        return 1e-6 if self.network is not None else 1e-5

    def records(self, model: Model, n: int = RECORDS, seed: int = 0) -> dict[str, Array]:
        """Return n made-up records, a new array per input, in the type and shape that the model wants."""
        rng = np.random.default_rng(seed)
        return {spec.name: _made_up(spec, n, rng, self.network is None) for spec in model.describe().inputs}

    def labels(self, model: Model, n: int = RECORDS) -> Array:
        """Return n labels that the model's classes allow."""
        return np.arange(n, dtype=np.int64) % max(model.describe().classes, 1)

    def close(self) -> None:
        """Close every model that was loaded."""
        for model in self._open:
            model.close()


def answers(model: Model, inputs: Inputs) -> Floats:
    """Return predictions about copies of the inputs, which are of a kind that no backend may refuse, in float64."""
    found = np.asarray(model.predict({name: np.array(array, order="C") for name, array in inputs.items()}))
    if found.dtype == object or found.ndim == 0:
        raise CheckFailed(f"predict returned {type(found).__name__} of {found.dtype}; return floats, shape (b, k)")
    wide: Floats = found.astype(np.float64)
    return wide


def rows(inputs: Inputs, chosen: slice | Array) -> dict[str, Array]:
    """Return some of the records."""
    return {name: array[chosen] for name, array in inputs.items()}


def distance(found: Array, expected: Array) -> float:
    """Return the largest difference relative to the largest expected number; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    worst = float(np.abs(found - expected).max(initial=0.0)) / scale
    return worst if np.isfinite(worst) else float("inf")


def backend_check(function: Callable[[BackendCase], None]) -> Check[Subject]:
    """Return a check of a backend from a function of a case, which gets a case with files of its own."""
    check = check_of(function)

    def run(subject: Subject) -> None:
        with open_case(subject) as case:
            function(case)

    return Check(check.name, check.promise, run)


def class_of(subject: Subject) -> type[Model]:
    """Return the class of a backend."""
    return subject.backend if isinstance(subject, BackendExample) else subject


@contextmanager
def open_case(subject: Subject) -> Iterator[BackendCase]:
    """Write the files of a case, and remove them afterwards.

    Raises
    ------
    NotApplicable
        The backend can write no file, and there is no example.
    """
    backend = class_of(subject)
    with TemporaryDirectory(prefix="pmcore-check-") as name:
        folder = Path(name)
        if isinstance(subject, BackendExample):
            case = BackendCase(backend, subject.example, folder, None)
        elif "write_dense" in _overridden(backend):
            home = folder / "own"
            home.mkdir()
            for path, content in _written(backend).items():
                if content is None:
                    (home / path).mkdir()
                else:
                    (home / path).write_bytes(content)
            case = BackendCase(backend, home / f"network{suffix(backend)}", folder, make_network())
        else:
            raise NotApplicable("the backend does not override write_dense, and no example file was given")
        try:
            yield case
        finally:
            case.close()


@lru_cache(maxsize=8)
def _written(backend: type[Model]) -> Mapping[str, bytes | None]:
    """Return what `write_dense` makes of the network: files by path, and None for folders, parents first."""
    network = make_network()
    with TemporaryDirectory(prefix="pmcore-check-") as name:
        home = Path(name)
        backend.write_dense(home / f"network{suffix(backend)}", network.weights, network.biases)
        made = sorted(home.rglob("*"))
        return {str(path.relative_to(home)): None if path.is_dir() else path.read_bytes() for path in made}


def suffix(backend: type[Model]) -> str:
    """Return the suffix that the kit gives to files of a backend."""
    return backend.suffixes[0] if backend.suffixes else ""


def overrides(backend: type[Model], method: str) -> bool:
    """Return whether a backend implements an optional method."""
    return method in _overridden(backend)


def _overridden(backend: type[Model]) -> set[str]:
    return {
        name
        for name in ("activations", "head_input", "gradients", "fit", "layers", "write_dense", "ask", "files")
        if getattr(getattr(backend, name), "__func__", getattr(backend, name))
        is not getattr(getattr(Model, name), "__func__", getattr(Model, name))
    }


def _made_up(spec: TensorSpec, n: int, rng: np.random.Generator, example: bool) -> Array:
    shape = (n, *(size or 1 for size in spec.record_shape))
    if np.prod(shape[1:]) > LARGEST:
        raise NotApplicable(f"a record of input {spec.name} is too large to make up")
    if spec.dtype == "str":
        raise NotApplicable(f"input {spec.name} is text, which the checks do not make up")
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return (rng.random(shape) if example else rng.normal(size=shape)).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)

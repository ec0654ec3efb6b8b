"""What a model says about itself, and the options that every backend understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from pmcore.outputs import Scale, Task


class Precision(StrEnum):
    """In which precision a model is asked.

    "float32" computes as exactly as the file's own numbers allow. "deployed" takes what the runtime would take by
    itself where the model is served: bfloat16 on some CPUs, TF32 on some GPUs.
    """

    FLOAT32 = "float32"
    DEPLOYED = "deployed"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model. A dimension is a number, a symbol such as "batch", or None if unknown."""

    name: str
    shape: tuple[int | str | None, ...]
    dtype: str

    @property
    def record_shape(self) -> tuple[int | None, ...]:
        """Return the shape of one record: without the batch axis, symbols as None."""
        return tuple(size if isinstance(size, int) else None for size in self.shape[1:])

    def __str__(self) -> str:
        if not self.shape:
            return f"{self.name} {self.dtype} [?,…]"
        sizes = ",".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} [{sizes}]"


@dataclass(frozen=True)
class Layer:
    """One operation of a model that produces a tensor of its own."""

    index: int
    name: str
    kind: str
    shape: tuple[int | str | None, ...] | None
    parameters: int


@dataclass(frozen=True)
class ModelDescription:
    """What a model says about itself. Everything here is what really is, not what was asked for.

    Parameters
    ----------
    inputs : one specification per input, in the model's order
    task : the task head
    classes : number of classes or labels; for regression the number of predicted values
    output : name of the tensor that `predict` returns
    scale : what its numbers are
    pre_softmax : whether the model itself ends in probabilities and `predict` reads the tensor before them
    resolution_limited : whether only probabilities could be had, so that very confident records tie
    device, precision : what runs, for example "CPU" and "float32"
    runtime : name and version, for example "onnxruntime 1.31.1"
    batch : a batch size that the model insists on, or None
    properties : metadata found in the file, by key; preprocessing is discovered from it
    notes : what a reader of the report must know, one sentence each
    """

    inputs: tuple[TensorSpec, ...]
    task: Task
    classes: int
    output: str
    scale: Scale
    device: str
    precision: str
    runtime: str
    pre_softmax: bool = False
    resolution_limited: bool = False
    batch: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GradientSource:
    """Where the gradients of a model come from, for the report.

    Parameters
    ----------
    tier : "framework" where the model's own framework differentiates it, "exported graph" where pmcore does, "closed
        form" where the gradient is written down
    method : how they are taken record by record, in words
    precision : the type that is computed in
    agreement : how far the differentiated graph is from what the runtime answers, at most over all records, relative to
        how far a record's answers lie apart; None where both are the same
    surrogate : whether rounding in the model was differentiated as if it were none
    """

    tier: str
    method: str
    precision: str
    agreement: float | None = None
    surrogate: bool = False


@dataclass(frozen=True)
class LoadOptions:
    """Options that every backend understands. A backend adds its own by subclassing.

    Parameters
    ----------
    device : "auto", "cpu", "cuda", "cuda:1", ... A device that is asked for and does not come up is an error.
    threads : threads of the runtime, or None for its own choice
    output : name of the output that holds the predictions, where the model has several
    task : the task head, where the model alone does not tell
    precision : "float32", or "deployed" for what the runtime takes by itself
    trust_model : "sha256:..." of a model that may run code of its own when it is loaded; see `pmcore.trust`
    """

    device: str = "auto"
    threads: int | None = None
    output: str | None = None
    task: Task | None = None
    precision: Precision = Precision.FLOAT32
    trust_model: str | None = None

    @classmethod
    def of(cls, options: LoadOptions) -> Self:
        """Return options as a backend's own: what it adds is left at its defaults where they are the common ones."""
        return options if isinstance(options, cls) else cls(**vars(options))

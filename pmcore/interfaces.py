"""What a plugin implements: Model, Signal, Attack, Report, Reader and Trainer. One screen each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pmcore.description import GradientSource, Layer, LoadOptions, ModelDescription, Precision, TensorSpec
from pmcore.errors import AuditError
from pmcore.evidence import Access, Evidence, LabelQueries, Needs, PValues
from pmcore.outputs import (
    ALL_TASKS,
    CLASSIFICATION,
    Array,
    Capability,
    Floats,
    GradientRequest,
    HeadInput,
    Inputs,
    Outputs,
    Scale,
    Task,
    Want,
)
from pmcore.training import Trained, TrainingJob, TrainingProgress, TrainingTask

if TYPE_CHECKING:
    from pmcore.schema import AuditReport

__all__ = [
    "ALL_TASKS",
    "CLASSIFICATION",
    "Access",
    "Array",
    "Attack",
    "Capability",
    "Direction",
    "Evidence",
    "Floats",
    "GradientRequest",
    "GradientSource",
    "HeadInput",
    "Inputs",
    "LabelQueries",
    "Layer",
    "LoadOptions",
    "Model",
    "ModelDescription",
    "Needs",
    "Outputs",
    "PValues",
    "Precision",
    "Reader",
    "Report",
    "Scale",
    "Signal",
    "Table",
    "Task",
    "TensorSpec",
    "Trained",
    "Trainer",
    "TrainingJob",
    "TrainingProgress",
    "TrainingTask",
    "Want",
]


class Direction(StrEnum):
    """Which side of a signal speaks for membership; NEITHER for features that an attack must learn to read."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


class Model(ABC):
    """A trained model: made from a file and plain options, asked with numpy arrays, answering with numpy arrays.

    `capabilities` is whatever a subclass overrides; nothing is promised twice. No framework object leaves it.
    """

    options: ClassVar[type[LoadOptions]] = LoadOptions
    suffixes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """Tell from a path and the first 4 096 bytes of the file (b"" for a folder) whether this may be ours."""
        return path.suffix.lower() in cls.suffixes

    @classmethod
    @abstractmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        """Load a model; `options` is an instance of ``cls.options``.

        Raises
        ------
        InputError
            The file is missing, damaged or not of this kind; the message names it and the remedy.
        UntrustedError
            Loading the file could run code that it carries.
        ModelError
            The runtime cannot run it (unknown operator, device not available).
        """

    @classmethod
    def wraps(cls, model: object) -> bool:
        """Tell whether an object in memory is a model of this framework; imports no framework to find out."""
        return False

    @classmethod
    def wrap(cls, model: Any, options: LoadOptions) -> Self:
        """Take a model that is in memory, such as a module; it is asked as it stands and never changed.

        Raises
        ------
        InputError
            It has no predictions that can be read.
        ModelError
            The device is not available.
        """
        raise AuditError(f"{cls.__name__} reads models from files alone")

    @abstractmethod
    def describe(self) -> ModelDescription:
        """Return what the model is. May be refined by `prepare`; stable after it."""

    def prepare(self, sample: Inputs) -> None:  # noqa: B027 - optional: most models have nothing to settle
        """See a few real records once before the first query: settle what only data can tell.

        For example whether rows sum to one, or whether a fixed batch dimension could be widened.
        """

    @abstractmethod
    def predict(self, inputs: Inputs) -> Array:
        """Return predictions for b records, shape (b, k), in the scale that `describe` names.

        A record's answer does not depend on the records that it shares the batch with; half precision is widened.

        Raises
        ------
        InputError
            The arrays are not what the model takes.
        OutOfMemory
            The batch is too large; the caller retries with half of it.
        ModelError
            The runtime failed for another reason.
        """

    def layers(self) -> Sequence[Layer]:
        """Return the layers in order of computation."""
        return ()

    def files(self) -> tuple[Path, ...]:
        """Return the files that hold the model besides its source, such as external weights."""
        return ()

    def sha256(self) -> str | None:
        """Return a SHA-256 of what a model in memory computes with, or None where that cannot be told.

        Models from files are told apart by their files.
        """
        return None

    @classmethod
    def write_dense(cls, path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """Write a dense network with ReLU between its layers, ending in logits, as a file of this format.

        The demo and the checks of backends make their models this way.

        Parameters
        ----------
        weights : (d, h1), (h1, h2), ... (hl, k) float32
        biases : (h1,), ... (k,) float32
        """
        raise AuditError(f"{cls.__name__} cannot write models")

    def activations(self, inputs: Inputs, layers: Sequence[str]) -> Mapping[str, Array]:
        """Return the outputs of layers, each (b, ...), under the names by which they were asked for.

        Parameters
        ----------
        layers : names of `layers`, or their indices as text, negative ones from the end

        Raises
        ------
        InputError
            There is no such layer.
        """
        raise AuditError(f"{type(self).__name__} does not give activations")

    def gradients(
        self, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        """Return per-record reductions of the gradient of the loss with respect to the parameters.

        The loss is that of the signal `loss`; `Outputs.loss_gradient` is its gradient at the predictions.

        Parameters
        ----------
        requests : their layers are names of `layers`; a layer without parameters has norm and sketch 0

        Returns
        -------
        Mapping
            Request -> (b, l) norms, or (b, l * size) sketches, in the order of the request's layers; l is 1 for ().
        """
        raise AuditError(f"{type(self).__name__} does not give gradients")

    def head_input(self, inputs: Inputs) -> HeadInput:
        """Return what enters the last linear layer, whose output `predict` returns; values (b, h)."""
        raise AuditError(f"{type(self).__name__} does not give the input of the last layer")

    def gradient_source(self) -> GradientSource | None:
        """Return where gradients came from, once some have been asked for; None before, or where that is unknown."""
        return None

    def obstacle(self, want: Want) -> str | None:
        """Return why the model cannot answer a wish, in one phrase with a remedy if there is one, or None if it can.

        Asked when an audit is planned, and again after `prepare`: override where it depends on the file, on what is
        installed, or on what `prepare` found. The layers of `want` are names.
        """
        missing = want.capabilities - self.capabilities
        return f"this backend does not give {', '.join(sorted(missing))}" if missing else None

    def fit(self, inputs: Inputs, labels: Array, seed: int) -> Model:
        """Return a model of the same architecture, trained on these records from fresh weights."""
        raise AuditError(f"{type(self).__name__} cannot be retrained")

    def ask(self, inputs: Inputs, labels: Array, want: Want) -> Outputs:
        """Answer everything in `want` about one batch; override where one pass can serve several wishes."""
        description = self.describe()
        return Outputs(
            task=description.task,
            scale=description.scale,
            labels=labels,
            predictions=self.predict(inputs) if want.predictions else None,
            activations=self.activations(inputs, sorted(want.activations)) if want.activations else {},
            gradients=self.gradients(inputs, labels, sorted(want.gradients, key=repr)) if want.gradients else {},
            head_input=self.head_input(inputs) if want.head_input else None,
        )

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Return what this model can answer: the methods that its class overrides."""
        optional = {
            Capability.ACTIVATIONS: "activations",
            Capability.HEAD_INPUT: "head_input",
            Capability.GRADIENTS: "gradients",
            Capability.FIT: "fit",
        }
        mine = type(self)
        overridden = {c for c, method in optional.items() if getattr(mine, method) is not getattr(Model, method)}
        return frozenset({Capability.PREDICTIONS} | overridden)

    def close(self) -> None:  # noqa: B027 - optional: most models are freed by the garbage collector
        """Release the runtime's resources and the weights; whoever asks afterwards is refused with an AuditError."""


class Signal(ABC):
    """A number (or vector) per record, read off the model's answers: a pure function of `Outputs`.

    A signal with options is a frozen dataclass. `direction` says which side speaks for membership, `tasks` for
    which task heads the signal is defined, `access` what an attacker must see of the model to compute it.
    """

    direction: ClassVar[Direction]
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION
    access: ClassVar[Access] = Access.SCORES

    @property
    def want(self) -> Want:
        """Return what must be asked of the model; predictions unless overridden."""
        return Want(predictions=True)

    @abstractmethod
    def compute(self, outputs: Outputs) -> Floats:
        """Return the signal, shape (n,) or (n, d) float64. Never depends on which records share the batch."""


class Attack(ABC):
    """A membership-inference attack: a frozen dataclass whose fields are its options.

    The docstring opens with the question it asks of a record, gives the formula and cites the paper:
    `pmcore plugins show NAME` prints it. `knowledge` says in one phrase what the attacker is assumed to know;
    what he must see of the model follows from the signals.
    """

    knowledge: ClassVar[str]

    @property
    def fallback(self) -> Attack | None:
        """Return what is run instead where the model does not give what this attack reads; None for nothing.

        Usually the same attack with a signal that asks less. The report names the reason.
        """
        return None

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """Declare, by role, everything that `score` will read."""

    @abstractmethod
    def score(self, evidence: Evidence) -> Floats:
        """Return one score per audited record, shape (n,) float64; higher means more likely a member."""

    def p_values(self, evidence: Evidence) -> PValues | None:
        """Return valid p-values of "not a member" for the n audited records, where the attack has them."""
        return None


class Report(ABC):
    """A form of the report, rendered from the report's JSON model alone: no model, no data, no framework."""

    @abstractmethod
    def render(self, report: AuditReport) -> Mapping[str, bytes]:
        """Return file contents by file name; nothing that `report` lacks, and no figure if it is invalid."""

    def file_names(self, report: AuditReport) -> tuple[str, ...]:
        """Return the names of the files that `render` makes; override where that can be told without making them."""
        return tuple(self.render(report))


@dataclass(frozen=True)
class Table:
    """Records as they stand in a file.

    Parameters
    ----------
    inputs : name -> (n, ...) array; memory-mapped where the format allows
    labels : (n, ...) as found, not yet checked against a model
    files : every file that was read, for the fingerprint
    """

    inputs: Inputs
    labels: Array
    files: tuple[Path, ...]


class Reader(ABC):
    """A data format."""

    suffixes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def read(self, path: Path, x_keys: Sequence[str], y_key: str) -> Table:
        """Read inputs and labels.

        Parameters
        ----------
        path : the file or folder
        x_keys : names of the inputs in the file; () takes "x", or else all that is not the label
        y_key : name of the labels

        Raises
        ------
        InputError
            The file is missing, damaged, holds objects, or lacks a key; the message names all three.
        """

    @classmethod
    def write(cls, path: Path, inputs: Inputs, labels: Array) -> None:
        """Write records as a file (or folder) of this format, the labels under the key "y".

        The checks of readers make their files this way.

        Raises
        ------
        AuditError
            The format, or this writer, has no place for such arrays.
        """
        raise AuditError(f"{cls.__name__} cannot write records")


class Trainer(ABC):
    """A way to train reference models of a target's architecture: a frozen dataclass whose fields are its options.

    `suffixes` are those of the targets for which it is chosen where none is named.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()

    def obstacle(self, task: TrainingTask) -> str | None:
        """Return why references of this target cannot be trained, in one phrase with a remedy, or None if they can."""
        return None

    def settled(self, task: TrainingTask, job: TrainingJob, progress: TrainingProgress) -> Trainer:
        """Return the trainer with what it was asked to find out first, such as a learning rate, found on one job."""
        return self

    def side_by_side(self, task: TrainingTask) -> int:
        """Return how many models are best trained at once in one process; the same for the same task, anywhere."""
        return 1

    @abstractmethod
    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        """Train one model for each job from fresh weights, and write it; return what came of each, in their order.

        The same task and jobs give the same files, byte by byte. Called in a process of its own, with one thread.

        Raises
        ------
        ModelError
            Training diverges, runs out of memory, or a command fails: what, where, and what to change.
        """

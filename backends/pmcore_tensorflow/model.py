"""A Keras model or a SavedModel, as TensorFlow answers for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pmcore.asking import activations, few, first_look, predictions, still_open, together
from pmcore.errors import InputError, ModelError, OutOfMemory
from pmcore.intake import Intake, intake_of
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
    Want,
)
from pmcore.reading import Reading, presume
from pmcore.trial import count_columns, same_answers
from pmcore_tensorflow.archive import check_archive
from pmcore_tensorflow.dense import write_dense
from pmcore_tensorflow.device import Device, choose_device
from pmcore_tensorflow.inside import Inside, last_layer, no_last_layer, tensors
from pmcore_tensorflow.network import Network, is_keras_model, load_network, read_network
from pmcore_tensorflow.options import TensorflowOptions
from pmcore_tensorflow.saved import GRAPH, check_saved_model, files_of, is_saved_model
from pmcore_tensorflow.signatures import Signature, load_signature
from pmcore_tensorflow.starting import check_keras, tensorflow, unnoticed
from pmcore_tensorflow.trace import Program, trace

_OLD = (".h5", ".hdf5")


@dataclass(frozen=True)
class _Facts:
    """What the model says about itself."""

    precision: str
    properties: Mapping[str, str]
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


class TensorflowModel(Model):
    """A Keras model or a SavedModel, run by TensorFlow; one that ends in probabilities is read before them."""

    options: ClassVar[type[LoadOptions]] = TensorflowOptions
    suffixes: ClassVar[tuple[str, ...]] = (".keras",)

    def __init__(
        self, source: Network | Signature, options: TensorflowOptions, device: Device, facts: _Facts, path: Path
    ) -> None:
        tf = tensorflow()
        self._path = path
        self._options = options
        self._device = device
        self._facts = facts
        self._version = f"tensorflow {tf.__version__}"
        self._source: Network | Signature | None = source
        body = source.body() if isinstance(source, Network) else source.body
        program = trace(tf, body, source.specs, options.output, device, path)
        self._program: Program | None = program
        self._head = program.head
        self._intake: Intake = intake_of(source.specs, program.shapes[program.head.output], path)
        columns = count_columns(program, self._intake, program.head.tensors, program.shapes, path)
        self._reading: Reading = presume(program.head, columns, options.task, path)
        self._inside: Inside | None = Inside(source, program.head.output, device, path)

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """Tell a .keras file (or one of the old form) by its suffix or its first member, a SavedModel by its graph."""
        if path.is_dir():
            return is_saved_model(path)
        keras_zip = head.startswith(b"PK\x03\x04") and head[30:43] == b"metadata.json"
        return path.suffix.lower() in (*cls.suffixes, *_OLD) or path.name == GRAPH or keras_zip

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        """Load a .keras file or the folder of a SavedModel, after a check of what it would do; see `Model.load`."""
        chosen = TensorflowOptions.of(options)
        if source.name == GRAPH and source.is_file():
            raise InputError(f"{source}: is one file of a SavedModel; name the folder {source.parent}")
        if source.is_dir():
            return cls._load_saved(source, chosen)
        if chosen.signature is not None:
            raise InputError(f"{source}: signature: a Keras model has none; leave the option out")
        found = check_archive(source)
        if source.suffix != ".keras":
            raise InputError(f"{source}: is a Keras model under another name; let its name end in .keras")
        tf = tensorflow()
        with unnoticed():
            device = choose_device(tf, chosen)
        with device.computing(tf):
            network = load_network(source)
        return cls(network, chosen, device, _Facts(network.precision, found.properties), source)

    @classmethod
    def wraps(cls, model: object) -> bool:
        """Tell a `keras.Model`; Keras is not imported to find out."""
        return is_keras_model(model)

    @classmethod
    def wrap(cls, model: Any, options: LoadOptions) -> Self:
        """Take a Keras model that is in memory; see `Model.wrap`. It is asked as it stands and never changed."""
        chosen = TensorflowOptions.of(options)
        path = Path(f"{type(model).__name__} in memory")
        if not is_keras_model(model):
            raise InputError(f"{path}: is no keras.Model; wrap a function with pmcore.from_callable")
        if chosen.signature is not None:
            raise InputError(f"{path}: signature: a Keras model has none; leave the option out")
        import keras

        check_keras(keras)
        tf = tensorflow()
        network = read_network(model, path)
        with unnoticed():
            device = choose_device(tf, chosen, network.home)
        facts = _Facts(network.precision, {"keras_version": keras.__version__})
        return cls(network, chosen, device, facts, path)

    @classmethod
    def write_dense(cls, path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """Write a dense network as a .keras file; see `pmcore.interfaces.Model.write_dense`."""
        write_dense(path, weights, biases)

    def files(self) -> tuple[Path, ...]:
        """Return all files of a SavedModel; a .keras file is one."""
        return self._facts.files

    def sha256(self) -> str | None:
        """Return a SHA-256 of the layers and weights of a Keras model."""
        return self._source.sha256() if isinstance(self._source, Network) else None

    def describe(self) -> ModelDescription:
        """Return what the model is; before `prepare`, as far as its graph tells."""
        reading = self._reading
        return ModelDescription(
            inputs=self._intake.specs,
            task=reading.task,
            classes=reading.classes,
            output=reading.tensor,
            scale=reading.scale,
            device=self._device.shown,
            precision=self._facts.precision,
            runtime=self._version,
            pre_softmax=reading.tensor != self._head.output,
            resolution_limited=reading.limited,
            batch=self._intake.batch,
            properties=self._facts.properties,
            notes=(*self._facts.notes, *reading.notes, *self._device.notes, *self._intake.notes),
        )

    def prepare(self, sample: Inputs) -> None:
        """Settle what the numbers are, and that looking into a model's functions changes no answer."""
        some = few(sample)
        if not some:
            return
        program = self._open()
        if program.outer is not None and not self._answers_as(program, program.outer, some):
            self._program = program = program.outer
            self._head = program.head
        half = "float16" in self._facts.precision  # bfloat16 is another
        self._reading = first_look(program, self._intake, self._head, some, self._options.task, coarse=half)

    def predict(self, inputs: Inputs) -> Array:
        """Return predictions, shape (b, k), in their own type; halves are widened to float32."""
        return predictions(self._open(), self._intake, self._reading, inputs)

    def layers(self) -> Sequence[Layer]:
        """Return the layers of a functional or sequential Keras model; () for any other."""
        return self._look().layers.table.layers

    def activations(self, inputs: Inputs, layers: Sequence[str]) -> Mapping[str, Array]:
        """Return the outputs of layers that are given by name or by index, each (b, ...)."""
        taps = self._look().taps(layers)
        return activations(self._look().program(taps), self._intake, tensors(taps), inputs) if taps else {}

    def gradients(
        self, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        """Return norms and sketches of each record's gradient with respect to all weights, frozen ones too."""
        return self.ask(inputs, labels, Want(gradients=frozenset(requests))).gradients

    def gradient_source(self) -> GradientSource | None:
        """Return how gradients were taken, once some have been asked for."""
        return self._look().differentiation.source

    def head_input(self, inputs: Inputs) -> HeadInput:
        """Return what enters the dense layer that the predictions leave, (b, h)."""
        last = last_layer(self._open(), self._reading.tensor)
        (found,) = self._intake.ask(self._open(), (last.entering,), inputs)
        return HeadInput(found.reshape(len(found), -1), last.bias)

    def obstacle(self, want: Want) -> str | None:
        """Return what the model cannot answer, in one phrase: not all have gradients, or end in a dense layer."""
        reason = self._look().differentiation.obstacle if want.gradients else None
        if reason is None and want.head_input:
            reason = no_last_layer(self._open(), self._reading.tensor)
        return super().obstacle(want) if reason is None else reason

    def ask(self, inputs: Inputs, labels: Array, want: Want) -> Outputs:
        """Answer everything in `want` about one batch: in one pass forward, and one back for gradients."""
        taps = self._look().taps(sorted(want.activations))
        program = self._look().program(taps) if taps else self._open()
        as_it_stands = self._reading.tensor == self._head.output
        reading = replace(self._reading, tensor=program.head.tensors[-1 if as_it_stands else 0])
        names = tensors(taps)
        last = last_layer(program, reading.tensor) if want.head_input else None
        if last is not None:
            names[last.entering] = last.entering
        outputs = together(program, self._intake, reading, names, inputs, labels)
        found = dict(outputs.activations)
        if last is not None:
            entering = found.pop(last.entering)
            outputs = replace(outputs, head_input=HeadInput(entering.reshape(len(entering), -1), last.bias))
        outputs = replace(outputs, activations=found)
        if not want.gradients:
            return outputs
        requests = sorted(want.gradients, key=repr)
        differentiation = self._look().differentiation
        taken = differentiation.ask(self._open(), self._intake, self._reading.tensor, requests, outputs, inputs)
        return replace(outputs, gradients=taken)

    def close(self) -> None:
        """Let go of the model."""
        self._source = self._program = self._inside = None

    @classmethod
    def _load_saved(cls, source: Path, options: TensorflowOptions) -> Self:
        tf = tensorflow()
        found = check_saved_model(source, options.trust_model)
        with unnoticed():
            device = choose_device(tf, options)
        with device.computing(tf):
            signature = load_signature(tf, source, options.signature)
        properties = {**found.properties, "signature": signature.name}
        facts = _Facts(signature.precision, properties, files_of(source), found.notes)
        return cls(signature, options, device, facts, source)

    def _open(self) -> Program:
        return still_open(self._program, self._path)

    def _look(self) -> Inside:
        return still_open(self._inside, self._path)

    def _answers_as(self, program: Program, outer: Program, sample: Inputs) -> bool:
        """Tell whether looking into a model's functions changes no answer."""
        (expected,) = self._intake.ask(outer, outer.head.tensors, sample)
        try:
            (found,) = self._intake.ask(program, outer.head.tensors, sample)
        except OutOfMemory:
            raise
        except ModelError:
            return False
        return same_answers(found, expected)

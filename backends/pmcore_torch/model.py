"""A model as PyTorch answers for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pmcore.asking import activations, few, first_look, predictions, still_open
from pmcore.devices import check_threads
from pmcore.errors import AuditError, InputError, ModelError, OutOfMemory
from pmcore.heads import Head
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
from pmcore.last_layer import LastLayer, ask_head_input, ask_together
from pmcore.reading import Reading, presume
from pmcore.trial import VERIFIED, count_columns, same_answers
from pmcore_torch.archives import kind_of
from pmcore_torch.gradients import TorchGradients
from pmcore_torch.intakes import intake_for
from pmcore_torch.options import TorchOptions
from pmcore_torch.outputs import choose
from pmcore_torch.runtime import Looking, TorchRuntime
from pmcore_torch.sources import LEGACY, Opened, is_safetensors, open_object, open_source

_KNOWN = frozenset({"torch.nn.modules.module.Module", "torch.export.exported_program.ExportedProgram"})


class TorchModel(Model):
    """A model that PyTorch runs: an exported program, TorchScript, weights with a class, or a module in memory.

    One that ends in probabilities is read before them.
    """

    options: ClassVar[type[LoadOptions]] = TorchOptions
    suffixes: ClassVar[tuple[str, ...]] = (".pt2", ".pt", ".pth", ".safetensors")

    def __init__(self, opened: Opened, options: LoadOptions, *, in_memory: bool) -> None:
        import torch

        self._path = opened.title
        self._options = options
        self._opened: Opened | None = opened
        self._in_memory = in_memory
        self._settings = opened.settings
        self._version = f"torch {torch.__version__}"
        self._intake = intake_for(opened)
        self._narrow = {spec.name: torch.bfloat16 for spec in opened.inputs if spec.dtype == "bfloat16"}
        self._head: Head | None = None
        self._reading: Reading | None = None
        self._batch_notes = self._intake.notes
        self._gradients: TorchGradients | None = None
        self._presume()

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """Tell a file of PyTorch by how it begins, an archive by its directory, an export also by its suffix."""
        known = path.suffix.lower() == ".pt2" or head.startswith(LEGACY)
        return known or is_safetensors(path, head) or kind_of(path, head) is not None

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        """Load a model; see `Model.load`. The file is never changed, and nothing is written."""
        check_threads(options.threads)
        given = TorchOptions.of(options)
        return cls(open_source(source, given), given, in_memory=False)

    @classmethod
    def wraps(cls, model: object) -> bool:
        """Tell whether an object is a module or an exported program."""
        return any(f"{kind.__module__}.{kind.__qualname__}" in _KNOWN for kind in type(model).__mro__)

    @classmethod
    def wrap(cls, model: Any, options: LoadOptions) -> Self:
        """Take a module that is in memory; see `Model.wrap`. On another device than its own a copy is asked."""
        check_threads(options.threads)
        given = TorchOptions.of(options)
        return cls(open_object(model, given, Path(f"{type(model).__name__} in memory")), given, in_memory=True)

    @classmethod
    def write_dense(cls, path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """Write a dense network as a torch.export archive; see `pmcore.interfaces.Model.write_dense`."""
        from pmcore_torch.dense import write_dense

        write_dense(path, weights, biases)

    def files(self) -> tuple[Path, ...]:
        """Return the files of weights that an index names."""
        return self._open().files

    def sha256(self) -> str | None:
        """Return a SHA-256 of the class and the weights of a model in memory."""
        from pmcore_torch.fingerprints import module_sha256

        return module_sha256(self._open().module) if self._in_memory else None

    def describe(self) -> ModelDescription:
        """Return what the model is; before `prepare`, as far as it declares that."""
        from pmcore_torch.signatures import precision_of

        opened = self._open()
        reading = self._reading or presume(Head("output"), None, self._options.task, self._path)
        return ModelDescription(
            inputs=self._intake.specs,
            task=reading.task,
            classes=reading.classes,
            output=reading.tensor,
            scale=reading.scale,
            device=opened.settings.device.title,
            precision=precision_of(opened.module),
            runtime=self._version,
            pre_softmax=self._head is not None and reading.tensor != self._head.output,
            resolution_limited=reading.limited,
            batch=self._intake.batch,
            notes=(*opened.notes, *reading.notes, *self._batch_notes, *opened.settings.notes),
        )

    def prepare(self, sample: Inputs) -> None:
        """Find the output and settle what its numbers are; see whether the model takes a batch at all."""
        self._open()
        some = few(sample)
        if not some:
            return
        try:
            self._settle(some)
            self._try_channels_last(some)
        except OutOfMemory:
            raise
        except (InputError, ModelError):
            if len(next(iter(some.values()))) == 1 or self._intake.batch is not None or self._intake.single:
                raise
            self._ask_one_by_one(some)

    def predict(self, inputs: Inputs) -> Array:
        """Return predictions, shape (b, k), in their own type; half precision is widened to float32."""
        reading = self._read(inputs)
        return predictions(self._runtime(), self._intake, reading, inputs)

    def layers(self) -> Sequence[Layer]:
        """Return the operations on the records, or the innermost modules."""
        return self._open().network.layers().layers

    def activations(self, inputs: Inputs, layers: Sequence[str]) -> Mapping[str, Array]:
        """Return the outputs of layers that are given by name or by index, each (b, ...)."""
        tensors = self._tensors(layers)
        return activations(self._runtime(), self._intake, tensors, inputs)

    def head_input(self, inputs: Inputs) -> HeadInput:
        """Return what enters the last linear layer, values (b, h)."""
        reading = self._read(inputs)
        return ask_head_input(self._runtime(), self._intake, reading, self._last_layer(reading), inputs)

    def gradients(
        self, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        """Return reductions of the network's gradients; see `Model.gradients`."""
        reading = self._read(inputs)
        return self._differentiated(reading).answers(self._intake, reading, inputs, labels, requests)

    def gradient_source(self) -> GradientSource | None:
        """Return how the network was differentiated, once it was."""
        return None if self._gradients is None else self._gradients.source

    def obstacle(self, want: Want) -> str | None:
        """Return why the model cannot answer a wish, or None if it can; see `Model.obstacle`."""
        reason = super().obstacle(want)
        if reason is None and want.head_input:
            reason = self._obstacle_to_head_input()
        if reason is None and want.gradients:
            reason = self._obstacle_to_gradients()
        return reason

    def ask(self, inputs: Inputs, labels: Array, want: Want) -> Outputs:
        """Answer everything in `want` about one batch; all but gradients in one pass."""
        if not want.predictions or not (want.activations or want.head_input):
            return super().ask(inputs, labels, want)
        reading = self._read(inputs)
        tensors = self._tensors(sorted(want.activations))
        last = self._last_layer(reading) if want.head_input else None
        outputs = ask_together(self._runtime(), self._intake, reading, tensors, last, inputs, labels)
        if not want.gradients:
            return outputs
        return replace(outputs, gradients=self.gradients(inputs, labels, sorted(want.gradients, key=repr)))

    def close(self) -> None:
        """Let go of the network."""
        self._opened = self._gradients = None

    def _open(self) -> Opened:
        return still_open(self._opened, self._path)

    def _runtime(self) -> TorchRuntime:
        opened = self._open()
        return TorchRuntime(opened.network, self._settings, opened.title, self._narrow)

    def _tensors(self, layers: Sequence[str]) -> dict[str, str]:
        table = self._open().network.layers()
        return {name: table.tensor(name, self._path) for name in layers}

    def _differentiated(self, reading: Reading) -> TorchGradients:
        runtime = self._runtime()
        if self._gradients is None or not self._gradients.is_of(runtime, reading.tensor, self._intake):
            self._gradients = TorchGradients(runtime, reading.tensor, self._intake)
        return self._gradients

    def _obstacle_to_gradients(self) -> str | None:
        """Return why nothing can be differentiated; None also while a module has not been asked yet."""
        if next(self._open().module.parameters(), None) is None:
            return "it has no parameters that torch could differentiate"
        if self._reading is None:
            return None
        try:
            self._open().network.differentiable(self._reading.tensor)
        except ModelError as error:
            return str(error)
        return None

    def _obstacle_to_head_input(self) -> str | None:
        """Return why there is no last linear layer; None also while a module has not been asked yet."""
        if self._reading is None:
            return None
        found = self._open().network.last_layer(self._reading.tensor)
        return found.obstacle(self._reading) if isinstance(found, LastLayer) else found

    def _last_layer(self, reading: Reading) -> LastLayer:
        found, reason = self._open().network.last_layer(reading.tensor), self._obstacle_to_head_input()
        if reason is not None or not isinstance(found, LastLayer):
            raise ModelError(f"{self._path}: {reason}")
        return found

    def _presume(self) -> None:
        """Read the outputs as far as the network declares them."""
        network = self._open().network
        outputs = network.outputs()
        if outputs is None:
            return
        self._head = choose(outputs, network.head, self._options.output, self._path)
        known = all(spec.shape for spec in self._intake.specs)
        tensors = self._head.tensors
        columns = count_columns(self._runtime(), self._intake, tensors, outputs, self._path) if known else None
        self._reading = presume(self._head, columns, self._options.task, self._path)

    def _settle(self, sample: Inputs) -> None:
        network = self._open().network
        self._intake.ask(Looking(self._runtime()), (), sample)
        outputs = network.outputs() or {}
        self._head = choose(outputs, network.head, self._options.output, self._path)
        self._reading = first_look(
            self._runtime(), self._intake, self._head, sample, self._options.task, coarse=self._computes_in_half
        )

    @property
    def _computes_in_half(self) -> bool:
        from pmcore_torch.signatures import precision_of

        return bool(self._narrow) or "float16" in precision_of(self._open().module)  # bfloat16 is another

    def _try_channels_last(self, sample: Inputs) -> None:
        """Hand images over with the channels innermost, which convolutions compute fastest, if no answer changes."""
        if self._settings.channels_last or self._reading is None or not self._is_convolutional(sample):
            return
        plain, wanted = self._settings, (self._reading.tensor,)
        some = few(sample, VERIFIED)
        expected = self._intake.ask(self._runtime(), wanted, some)
        self._settings = replace(plain, channels_last=True)
        try:
            same = all(map(same_answers, self._intake.ask(self._runtime(), wanted, some), expected))
        except AuditError:  # some modules insist on the other order
            same = False
        if not same:
            self._settings = plain

    def _is_convolutional(self, sample: Inputs) -> bool:
        """Tell whether images go through two-dimensional convolutions."""
        images = any(array.ndim == 4 for array in sample.values())
        kernels = any(value.ndim == 4 for value in self._open().module.parameters())
        return images and kernels and self._settings.device.kind != "mps"

    def _ask_one_by_one(self, sample: Inputs) -> None:
        """Ask about single records, where the model fails about several; if that fails, too, say how."""
        several = self._intake
        self._intake = replace(several, batch=1)
        try:
            self._settle(sample)
        except AuditError:
            self._intake = several
            self._settle(sample)
        self._batch_notes = ("The model answers about single records alone: they are sent one by one.",)

    def _read(self, inputs: Inputs) -> Reading:
        """Return how predictions are read; a network that does not declare its outputs is looked at first."""
        self._open()
        if self._reading is None:
            self.prepare(inputs)
        if self._reading is None:
            raise InputError(f"{self._path}: was asked about no records; give at least one")
        return self._reading

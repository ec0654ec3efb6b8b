"""A backend in plain numpy that keeps every promise, and for each promise one that breaks it and no other."""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import socket
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from pmcore.dense_gradients import DenseGradient
from pmcore.errors import AuditError, InputError
from pmcore.interfaces import (
    Array,
    Capability,
    Floats,
    GradientRequest,
    HeadInput,
    Inputs,
    Layer,
    LoadOptions,
    Model,
    ModelDescription,
    Outputs,
    Scale,
    Task,
    TensorSpec,
    Want,
)


class GoodModel(Model):
    """A dense network in an archive of arrays, computed by numpy in float64."""

    suffixes: ClassVar[tuple[str, ...]] = (".plain",)

    def __init__(self, source: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        self.source = source
        self.weights = [weight.astype(np.float64) for weight in weights]
        self.biases = [bias.astype(np.float64) for bias in biases]
        self.asked = 0
        self.closed = False

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        return head.startswith(b"PK") and path.suffix not in (".npz", ".zip")

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        cls.check_device(options.device)
        cls.check_output(options.output)
        try:
            head = source.read_bytes()[:2]
        except OSError:
            return cls.when_missing(source)
        return cls.from_bytes(source, head)

    @classmethod
    def check_device(cls, device: str) -> None:
        if device not in ("auto", "cpu"):
            raise InputError(f"device {device!r} is not known; use cpu")

    @classmethod
    def check_output(cls, output: str | None) -> None:
        if output not in (None, "logits"):
            raise InputError(f"there is no output {output!r}; use logits")

    @classmethod
    def when_missing(cls, source: Path) -> Self:
        raise InputError(f"{source}: no such file; check the path")

    @classmethod
    def from_bytes(cls, source: Path, head: bytes) -> Self:
        if head != b"PK":
            raise InputError(f"{source}: not an archive of arrays; write it with numpy.savez")
        try:
            with np.load(source, allow_pickle=False) as archive:
                count = len(archive.files) // 2
                weights = [archive[f"w{i}"] for i in range(count)]
                return cls(source, weights, [archive[f"b{i}"] for i in range(count)] if weights else [archive["b0"]])
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError):
            raise InputError(f"{source}: damaged; write it again") from None

    @classmethod
    def write_dense(cls, path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        arrays = {f"w{i}": weight for i, weight in enumerate(weights)} | {f"b{i}": b for i, b in enumerate(biases)}
        with path.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]

    def describe(self) -> ModelDescription:
        return ModelDescription(
            inputs=(TensorSpec("x", ("batch", len(self.weights[0])), "float32"),),
            task=Task.MULTICLASS,
            classes=len(self.biases[-1]),
            output="logits",
            scale=Scale.LOGITS,
            device="CPU",
            precision="float64",
            runtime=f"numpy {np.__version__}",
        )

    def predict(self, inputs: Inputs) -> Array:
        if self.closed:
            raise AuditError("the model was closed; load it again")
        self.asked += 1
        return self.logits(self.checked(inputs))

    def checked(self, inputs: Inputs) -> Array:
        if "x" not in inputs:
            raise InputError(f"input 'x' is missing among {', '.join(inputs) or 'nothing'}")
        return self.checked_array(np.asarray(inputs["x"]))

    def checked_array(self, x: Array) -> Array:
        if x.dtype.kind not in "biuf":
            raise InputError(f"input 'x' holds {x.dtype}; give numbers")
        if x.shape[1:] != (len(self.weights[0]),):
            raise InputError(f"records of shape {x.shape[1:]}; give {len(self.weights[0])} features")
        return x

    def entering(self, x: Array) -> list[Floats]:
        """Return what enters each layer; each record is computed by itself."""
        values: list[Floats] = [x.astype(np.float64)]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            values.append(np.maximum(values[-1] @ weight + bias, 0.0))
        return values

    def logits(self, x: Array) -> Array:
        last = self.entering(x)[-1]
        value: Array = (last[:, :, np.newaxis] * self.weights[-1]).sum(axis=1) + self.biases[-1]
        return value

    def layers(self) -> Sequence[Layer]:
        found: list[Layer] = []
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            shape = ("batch", weight.shape[1])
            found.append(Layer(len(found), f"fc{i}", "Dense", shape, weight.size + bias.size))
            if i < len(self.weights) - 1:
                found.append(Layer(len(found), f"relu{i}", "Relu", shape, 0))
        return found

    def activations(self, inputs: Inputs, layers: Sequence[str]) -> Mapping[str, Array]:
        values = self.entering(self.checked(inputs))
        known: dict[str, Array] = {}
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            known[f"fc{i}"] = values[i] @ weight + bias
            if i < len(self.weights) - 1:
                known[f"relu{i}"] = values[i + 1]
        for name in layers:
            if name not in known:
                raise self.unknown_layer(name)
        return {name: known[name] for name in layers}

    def unknown_layer(self, name: str) -> Exception:
        return InputError(f"there is no layer {name!r}; see pmcore inspect")

    def head_input(self, inputs: Inputs) -> HeadInput:
        return HeadInput(self.entering(self.checked(inputs))[-1], bias=True)

    def gradients(
        self, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        x = self.checked(inputs)
        z = self.logits(x)
        delta = np.exp(z - z.max(axis=1, keepdims=True))
        delta /= delta.sum(axis=1, keepdims=True)
        delta[np.arange(len(x)), labels] -= 1
        layers: dict[str, DenseGradient] = {}
        for i in range(len(self.weights) - 1, -1, -1):
            inside = self.entering(x)[i]
            layers = {f"fc{i}": DenseGradient(inside, delta), **layers}
            delta = (delta @ self.weights[i].T) * (inside > 0)
        return {request: self.reduced(layers, request) for request in requests}

    def reduced(self, layers: Mapping[str, DenseGradient], request: GradientRequest) -> Array:
        """Return what is asked of the gradients of the layers."""
        wanted = [layers[name] for name in request.layers] or list(layers.values())
        if request.reduction == "sketch":
            return np.hstack([layer.sketches(request.size) for layer in wanted])
        norms = np.stack([layer.norms(request.order) for layer in wanted], axis=1)
        return norms if request.layers else np.linalg.norm(norms, request.order, axis=1, keepdims=True)

    def close(self) -> None:
        self.closed = True


class PredictsOnly(GoodModel):
    """A backend that gives predictions alone, and lists no layers."""

    layers = Model.layers
    activations = Model.activations
    head_input = Model.head_input
    gradients = Model.gradients


class ReadsOnly(GoodModel):
    """A backend that cannot write models."""

    write_dense = Model.write_dense


class _Undocumented(GoodModel): ...


@dataclass(frozen=True)
class _UndocumentedOptions(LoadOptions):
    """Options of which one is not documented.

    Parameters
    ----------
    told : an option that is
    """

    told: int = 1
    untold: int = 2


class _UndocumentedOption(GoodModel):
    """A planted fault: an option is not documented."""

    options: ClassVar[type[LoadOptions]] = _UndocumentedOptions


class _SuffixWithoutDot(GoodModel):
    """A planted fault: the suffix lacks its dot."""

    suffixes: ClassVar[tuple[str, ...]] = ("plain",)


class _RecognisesNothing(GoodModel):
    """A planted fault: its own files are not recognised."""

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        return False


class _RecognisesEverything(GoodModel):
    """A planted fault: everything is taken for a model."""

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        return True


class _RecognisesByFramework(GoodModel):
    """A planted fault: a framework is imported to look at a file."""

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        importlib.import_module("mxnet")
        return super().recognises(path, head)


class _WrapsAnyClass(GoodModel):
    """A planted fault: any class in memory is taken for a model."""

    @classmethod
    def wraps(cls, model: object) -> bool:
        return isinstance(model, type)


class _Chatters(GoodModel):
    """A planted fault: loading writes on the stream itself."""

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        if "pmcore-check" in str(source):
            os.write(2, b"2026-01-01 I this framework was built with care\n")
        return super().load(source, options)


class _Telephones(GoodModel):
    """A planted fault: loading opens a connection."""

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        with suppress(OSError), socket.create_connection(("127.0.0.1", 9), timeout=0.2):
            pass
        return super().load(source, options)


class _TakesTruncated(GoodModel):
    """A planted fault: a file that is cut short gives a network of noughts."""

    @classmethod
    def from_bytes(cls, source: Path, head: bytes) -> Self:
        try:
            return super().from_bytes(source, head)
        except InputError:
            if head == b"PK" and not zipfile.is_zipfile(source):
                return cls(source, [np.zeros((6, 4))], [np.zeros(4)])
            raise


class _CrashesOnNoise(GoodModel):
    """A planted fault: noise ends the process."""

    @classmethod
    def from_bytes(cls, source: Path, head: bytes) -> Self:
        if source.parent.name == "noise":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().from_bytes(source, head)


class _StumblesOverNothing(GoodModel):
    """A planted fault: an empty file is an error of another kind."""

    @classmethod
    def from_bytes(cls, source: Path, head: bytes) -> Self:
        return super().from_bytes(source, bytes([head[0], head[1]]))


class _Unpickles(GoodModel):
    """A planted fault: pickles are read before they are refused."""

    @classmethod
    def from_bytes(cls, source: Path, head: bytes) -> Self:
        if head[:1] == b"\x80":
            pickle.loads(source.read_bytes()).close()
        return super().from_bytes(source, head)


class _RuntimeWithoutVersion(GoodModel):
    """A planted fault: the version of the runtime is not told."""

    def describe(self) -> ModelDescription:
        return replace(super().describe(), runtime="numpy")


class _WrongTask(GoodModel):
    """A planted fault: classes are described as labels of which several may hold."""

    def describe(self) -> ModelDescription:
        return replace(super().describe(), task=Task.MULTILABEL)


class _ChangingDescription(GoodModel):
    """A planted fault: the description counts the questions."""

    def describe(self) -> ModelDescription:
        return replace(super().describe(), notes=(f"It was asked {self.asked} times.",))


class _ClaimsTooMuch(GoodModel):
    """A planted fault: it claims that it can be retrained."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability)


class _CountsFromOne(GoodModel):
    """A planted fault: layers are counted from one."""

    def layers(self) -> Sequence[Layer]:
        return [replace(layer, index=layer.index + 1) for layer in super().layers()]


class _MiscountsParameters(GoodModel):
    """A planted fault: biases are not counted."""

    def layers(self) -> Sequence[Layer]:
        return [replace(layer, parameters=max(layer.parameters - 4, 0)) for layer in super().layers()]


class _NamesMissingFiles(GoodModel):
    """A planted fault: it says that it is held in a file that is not there."""

    def files(self) -> tuple[Path, ...]:
        return (self.source.with_suffix(".weights"),)


class _SlightlyOff(GoodModel):
    """A planted fault: answers are a thousandth too large."""

    def predict(self, inputs: Inputs) -> Array:
        value: Array = super().predict(inputs) * 1.001
        return value


class _WrongScale(GoodModel):
    """A planted fault: logits are described as probabilities."""

    def describe(self) -> ModelDescription:
        return replace(super().describe(), scale=Scale.PROBABILITIES)


class _AnswersInLists(GoodModel):
    """A planted fault: predictions are lists."""

    def predict(self, inputs: Inputs) -> Array:
        answer: Array = super().predict(inputs).tolist()
        return answer


class _MindsItsCompany(GoodModel):
    """A planted fault: a record alone is answered a little differently."""

    def logits(self, x: Array) -> Array:
        value: Array = super().logits(x) * (1 + 4e-6 * (len(x) == 1))
        return value


class _SortsRecords(GoodModel):
    """A planted fault: batches in descending order are answered in ascending order."""

    def logits(self, x: Array) -> Array:
        descending = len(x) > 8 and bool((np.diff(x[:, 0]) <= 0).all())
        return super().logits(x)[::-1] if descending else super().logits(x)


class _Drifts(GoodModel):
    """A planted fault: each question moves the answers by a hair."""

    def logits(self, x: Array) -> Array:
        value: Array = super().logits(x) * (1 + 1e-10 * self.asked)
        return value


class _LosesTheTail(GoodModel):
    """A planted fault: of a large batch only the first thousand records are answered."""

    def logits(self, x: Array) -> Array:
        value = super().logits(x)
        value[1000:] = 0
        return value


class _SpreadsNaN(GoodModel):
    """A planted fault: NaN in one record spoils the whole batch."""

    def logits(self, x: Array) -> Array:
        value: Array = super().logits(x) + 0.0 * x.sum()
        return value


class _SharesABuffer(GoodModel):
    """A planted fault: all threads share a buffer."""

    def logits(self, x: Array) -> Array:
        self.buffer = x
        time.sleep(0.003)
        return super().logits(self.buffer)


class _ChangesInputs(GoodModel):
    """A planted fault: an input is changed, if only in its last digit."""

    def predict(self, inputs: Inputs) -> Array:
        answer = super().predict(inputs)
        x = inputs["x"]
        if x.size and x.flags.writeable:
            x[0, 0] = np.nextafter(x[0, 0], np.inf, dtype=x.dtype)
        return answer


class _WantsToWrite(GoodModel):
    """A planted fault: read-only arrays are not taken."""

    def checked_array(self, x: Array) -> Array:
        if not x.flags.writeable:
            raise ValueError("buffer source array is read-only")
        return super().checked_array(x)


class _IgnoresStrides(GoodModel):
    """A planted fault: memory is read as it lies."""

    def checked_array(self, x: Array) -> Array:
        checked = super().checked_array(x)
        return np.frombuffer(checked.tobytes(order="A"), checked.dtype).reshape(checked.shape)


class _RefusesFloat64(GoodModel):
    """A planted fault: float64 is not cast."""

    def checked_array(self, x: Array) -> Array:
        if x.dtype == np.float64:
            raise InputError("the input is float64, not float32; cast it")
        return super().checked_array(x)


class _StumblesOverNoRecords(GoodModel):
    """A planted fault: no records are an error of another kind."""

    def logits(self, x: Array) -> Array:
        return super().logits(x.reshape(len(x), -1))


class _CutsRecords(GoodModel):
    """A planted fault: features too many are left out."""

    def checked_array(self, x: Array) -> Array:
        return super().checked_array(x[:, : len(self.weights[0])])


class _StumblesOverMissingInput(GoodModel):
    """A planted fault: an input that lacks is an error of another kind."""

    def checked(self, inputs: Inputs) -> Array:
        return self.checked_array(np.asarray(inputs["x"]))


class _StumblesOverText(GoodModel):
    """A planted fault: text is an error of another kind."""

    def checked_array(self, x: Array) -> Array:
        return super().checked_array(x.astype(np.float64))


class _ActivatesInLists(GoodModel):
    """A planted fault: activations are lists."""

    def activations(self, inputs: Inputs, layers: Sequence[str]) -> Mapping[str, Array]:
        return {name: array.tolist() for name, array in super().activations(inputs, layers).items()}


class _ActivatesByCompany(GoodModel):
    """A planted fault: the activations of a record alone are a little different."""

    def activations(self, inputs: Inputs, layers: Sequence[str]) -> Mapping[str, Array]:
        factor = 1 + 5e-5 * (len(inputs["x"]) == 1)
        return {name: array * factor for name, array in super().activations(inputs, layers).items()}


class _ActivatesNothing(GoodModel):
    """A planted fault: activations are noughts."""

    def activations(self, inputs: Inputs, layers: Sequence[str]) -> Mapping[str, Array]:
        return {name: np.zeros_like(array) for name, array in super().activations(inputs, layers).items()}


class _StumblesOverLayers(GoodModel):
    """A planted fault: an unknown layer is an error of another kind."""

    def unknown_layer(self, name: str) -> Exception:
        return KeyError(name)


class _AsksOtherwise(GoodModel):
    """A planted fault: one pass answers otherwise than several."""

    def ask(self, inputs: Inputs, labels: Array, want: Want) -> Outputs:
        outputs = super().ask(inputs, labels, want)
        return replace(outputs, predictions=None if outputs.predictions is None else 2 * outputs.predictions)


class _ForgetsTheBias(GoodModel):
    """A planted fault: the last layer is said to have no bias."""

    def head_input(self, inputs: Inputs) -> HeadInput:
        return replace(super().head_input(inputs), bias=False)


class _DoublesGradients(GoodModel):
    """A planted fault: norms are twice what they are."""

    def reduced(self, layers: Mapping[str, DenseGradient], request: GradientRequest) -> Array:
        doubled = request.reduction == "norm" and request.order == 2
        return super().reduced(layers, request) * (2 if doubled else 1)


class _KnowsOneOrder(GoodModel):
    """A planted fault: norms are of order 2, whatever order was asked for."""

    def reduced(self, layers: Mapping[str, DenseGradient], request: GradientRequest) -> Array:
        return super().reduced(layers, replace(request, order=2.0))


class _SketchesTheBiasFirst(GoodModel):
    """A planted fault: sketches count the bias before the weight."""

    def reduced(self, layers: Mapping[str, DenseGradient], request: GradientRequest) -> Array:
        if request.reduction == "norm":
            return super().reduced(layers, request)
        parts = [layers[name] for name in request.layers]
        weights = [replace(layer, bias=False).sketches(request.size, position=1) for layer in parts]
        biases = [replace(layer, inputs=np.ones((len(layer.inputs), 1)), bias=False) for layer in parts]
        sketches = [weight + bias.sketches(request.size) for weight, bias in zip(weights, biases, strict=True)]
        return np.hstack(sketches)


class _GradientsByCompany(GoodModel):
    """A planted fault: the gradient of a record alone is a little different."""

    def gradients(
        self, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        factor = 1 + 5e-5 * (len(labels) == 1)
        return {request: norms * factor for request, norms in super().gradients(inputs, labels, requests).items()}


class _LayersDoNotAddUp(GoodModel):
    """A planted fault: the gradients of several layers do not add up."""

    def gradients(
        self, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        found = super().gradients(inputs, labels, requests)
        return {request: norms * (1.1 if len(request.layers) > 1 else 1) for request, norms in found.items()}


class _StaysOpen(GoodModel):
    """A planted fault: a closed model answers."""

    def close(self) -> None:
        return


class _SeedsNumpy(GoodModel):
    """A planted fault: numpy's global state is seeded."""

    def logits(self, x: Array) -> Array:
        np.random.seed(0)
        return super().logits(x)


class _LeavesACache(GoodModel):
    """A planted fault: a cache is left beside the model."""

    @classmethod
    def from_bytes(cls, source: Path, head: bytes) -> Self:
        model = super().from_bytes(source, head)
        source.with_suffix(".cache").write_bytes(head)
        return model


class _StumblesOverMissingFile(GoodModel):
    """A planted fault: a missing file is an error of another kind."""

    @classmethod
    def when_missing(cls, source: Path) -> Self:
        raise FileNotFoundError(source)


class _TakesAnyDevice(GoodModel):
    """A planted fault: a device that is not there is passed over."""

    @classmethod
    def check_device(cls, device: str) -> None:
        return


class _TakesAnyOutput(GoodModel):
    """A planted fault: an output that is not there is passed over."""

    @classmethod
    def check_output(cls, output: str | None) -> None:
        return


PLANTED: dict[str, type[Model]] = {
    "check_docstring": _Undocumented,
    "check_options": _UndocumentedOption,
    "check_suffixes": _SuffixWithoutDot,
    "check_recognises_own_files": _RecognisesNothing,
    "check_recognises_no_strangers": _RecognisesEverything,
    "check_recognition_without_framework": _RecognisesByFramework,
    "check_wraps_no_strangers": _WrapsAnyClass,
    "check_silence": _Chatters,
    "check_no_network": _Telephones,
    "check_truncated_files": _TakesTruncated,
    "check_noise": _CrashesOnNoise,
    "check_empty_file": _StumblesOverNothing,
    "check_pickles": _Unpickles,
    "check_description": _RuntimeWithoutVersion,
    "check_described_network": _WrongTask,
    "check_description_stable": _ChangingDescription,
    "check_capabilities": _ClaimsTooMuch,
    "check_layers": _CountsFromOne,
    "check_layer_parameters": _MiscountsParameters,
    "check_files": _NamesMissingFiles,
    "check_known_answers": _SlightlyOff,
    "check_scale": _WrongScale,
    "check_prediction_shape": _AnswersInLists,
    "check_batch_independence": _MindsItsCompany,
    "check_order": _SortsRecords,
    "check_determinism": _Drifts,
    "check_large_batches": _LosesTheTail,
    "check_nan_stays_with_its_record": _SpreadsNaN,
    "check_threads": _SharesABuffer,
    "check_inputs_unchanged": _ChangesInputs,
    "check_read_only_inputs": _WantsToWrite,
    "check_strided_inputs": _IgnoresStrides,
    "check_wider_inputs": _RefusesFloat64,
    "check_no_records": _StumblesOverNoRecords,
    "check_misshapen_records": _CutsRecords,
    "check_missing_input": _StumblesOverMissingInput,
    "check_text_inputs": _StumblesOverText,
    "check_activations": _ActivatesInLists,
    "check_activations_per_record": _ActivatesByCompany,
    "check_known_activations": _ActivatesNothing,
    "check_unknown_layer": _StumblesOverLayers,
    "check_one_pass": _AsksOtherwise,
    "check_known_head_input": _ForgetsTheBias,
    "check_known_gradients": _DoublesGradients,
    "check_gradients_per_record": _GradientsByCompany,
    "check_gradients_by_layer": _LayersDoNotAddUp,
    "check_gradient_orders": _KnowsOneOrder,
    "check_sketches": _SketchesTheBiasFirst,
    "check_close": _StaysOpen,
    "check_random_state": _SeedsNumpy,
    "check_source_unchanged": _LeavesACache,
    "check_missing_file": _StumblesOverMissingFile,
    "check_unknown_device": _TakesAnyDevice,
    "check_unknown_output": _TakesAnyOutput,
}
"""For each check the backend that fails it alone; those on imports are modules of their own, see `IMPORTS`."""

IMPORTS: dict[str, str] = {
    "check_import": "import os\nos.environ['PLANTED'] = str(os.getpid())\n",
    "check_import_without_framework": "import mxnet\n",
}
"""For each check of a module's import what the module does at import."""

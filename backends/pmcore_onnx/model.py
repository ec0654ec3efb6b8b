"""An exported ONNX model, as ONNX Runtime answers for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from pmcore.asking import few, first_look, predictions, still_open
from pmcore.errors import AuditError
from pmcore.heads import Head
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
    Want,
)
from pmcore.last_layer import LastLayer
from pmcore.layers import LayerTable
from pmcore.reading import Reading, presume
from pmcore.trial import VERIFIED, count_columns, freed_note
from pmcore_autograd import load
from pmcore_autograd.answering import Running
from pmcore_autograd.inside import Inside, Opening
from pmcore_autograd.onnx_files import external_files, looks_like_onnx
from pmcore_onnx.dense import write_dense
from pmcore_onnx.feeding import read_intake
from pmcore_onnx.graph import Graph, drop_weights, read_model
from pmcore_onnx.head import find_head
from pmcore_onnx.last_layer import find_last_layer
from pmcore_onnx.layers import precision_of, read_layers
from pmcore_onnx.rewrite import Edit, edited, is_as_it_stands
from pmcore_onnx.session import Session, Settings, open_session


@dataclass(frozen=True)
class _Facts:
    """What the file says about itself."""

    precision: str
    runtime: str
    properties: Mapping[str, str]
    files: tuple[Path, ...]


class OnnxModel(Model):
    """A model in an ONNX file, run by ONNX Runtime; one that ends in probabilities is read before them."""

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def __init__(
        self,
        path: Path,
        options: LoadOptions,
        settings: Settings,
        edit: Edit,
        session: Session,
        intake: Intake,
        head: Head,
        reading: Reading,
        facts: _Facts,
    ) -> None:
        self._path = path
        self._options = options
        self._settings = settings
        self._edit = edit
        self._session: Session | None = session
        self._intake = intake
        self._head = head
        self._reading = reading
        self._facts = facts
        self._batch_notes = intake.notes
        self._known: Graph | None = None
        self._table: LayerTable | None = None
        self._deeper: dict[tuple[str, ...], Session] = {}
        self._sample: Inputs = {}
        self._within: Inside | None = None

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """Tell an ONNX file by its suffix, or by how it begins."""
        return path.suffix.lower() in cls.suffixes or looks_like_onnx(head)

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        """Load a model; see `Model.load`. The file is never changed, and nothing is written."""
        settings = Settings.of(options)
        model = read_model(source)
        import onnxruntime

        graph = Graph(model)
        head = find_head(graph, options.output, source)
        facts = _Facts(
            precision_of(graph),
            f"onnxruntime {onnxruntime.__version__}",
            {entry.key: entry.value for entry in model.metadata_props}
            | (
                {"producer_name": f"{model.producer_name} {model.producer_version}".strip()}
                if model.producer_name
                else {}
            ),
            external_files(source, model),
        )
        edit = Edit(head.tensors, head.raw, head.before if head.raw is not None else None)
        payload = None if is_as_it_stands(graph, edit) else edited(model, edit, source)
        del graph, model
        session = open_session(source, settings, payload)
        intake = read_intake(session.runtime, (head.output,), source)
        declared = {value.name: tuple(value.shape or ()) for value in session.runtime.get_outputs()}
        columns = count_columns(session, intake, head.tensors, declared, source)
        reading = presume(head, columns, options.task, source)
        return cls(source, options, settings, edit, session, intake, head, reading, facts)

    @classmethod
    def write_dense(cls, path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """Write a dense network as an ONNX file; see `pmcore.interfaces.Model.write_dense`."""
        write_dense(path, weights, biases)

    def files(self) -> tuple[Path, ...]:
        """Return the files of external weights."""
        return self._facts.files

    def describe(self) -> ModelDescription:
        """Return what the model is; before `prepare`, as far as its graph tells."""
        reading = self._reading
        return ModelDescription(
            inputs=self._intake.specs,
            task=reading.task,
            classes=reading.classes,
            output=reading.tensor,
            scale=reading.scale,
            device=self._open().shown_device,
            precision=self._facts.precision,
            runtime=self._facts.runtime,
            pre_softmax=reading.tensor != self._head.output,
            resolution_limited=reading.limited,
            batch=self._intake.batch,
            properties=self._facts.properties,
            notes=(*reading.notes, *self._batch_notes, *self._open().notes),
        )

    def prepare(self, sample: Inputs) -> None:
        """Free a fixed batch if that changes no answer, and settle what the numbers are."""
        some = few(sample)
        if not some:
            return
        self._sample = some
        if self._intake.batch is not None and len(next(iter(some.values()))) > 1:
            self._free_batch(few(some, VERIFIED))
        half = "float16" in self._facts.precision  # bfloat16 is another
        self._reading = first_look(self._open(), self._intake, self._head, some, self._options.task, coarse=half)

    def predict(self, inputs: Inputs) -> Array:
        """Return predictions, shape (b, k), in their own type; float16 is widened to float32."""
        return predictions(self._open(), self._intake, self._reading, inputs)

    def layers(self) -> Sequence[Layer]:
        """Return the operations on the records, in order of computation."""
        return self._layers().layers

    def activations(self, inputs: Inputs, layers: Sequence[str]) -> Mapping[str, Array]:
        """Return the outputs of layers that are given by name or by index, each (b, ...)."""
        return self._inside().activations(self._running(), inputs, layers)

    def head_input(self, inputs: Inputs) -> HeadInput:
        """Return what enters the last linear layer, values (b, h)."""
        return self._inside().head_input(self._running(), inputs)

    def gradients(
        self, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        """Return reductions of gradients of the file's own graph, differentiated by torch; see `Model.gradients`."""
        return self._inside().gradients(self._running(), inputs, labels, requests)

    def gradient_source(self) -> GradientSource | None:
        """Return how the graph was differentiated, once it was."""
        return None if self._within is None else self._within.source

    def obstacle(self, want: Want) -> str | None:
        """Return why the model cannot answer a wish, or None if it can; see `Model.obstacle`."""
        return super().obstacle(want) or self._inside().obstacle(self._running(), want)

    def ask(self, inputs: Inputs, labels: Array, want: Want) -> Outputs:
        """Answer everything in `want` about one batch; all but gradients in one pass."""
        if not want.predictions or not (want.activations or want.head_input or want.gradients):
            return super().ask(inputs, labels, want)
        return self._inside().ask(self._running(), inputs, labels, want)

    def close(self) -> None:
        """Release the sessions, and the graph that was differentiated."""
        self._session = None
        self._within = None
        self._deeper.clear()

    def _open(self) -> Session:
        return still_open(self._session, self._path)

    def _running(self) -> Running:
        return Running(self._open(), self._intake, self._reading, self._facts.precision, self._sample)

    def _inside(self) -> Inside:
        if self._within is None:
            device = self._open().device
            self._within = Inside(
                Opening(self._layers, self._last_layer, self._looking_at, lambda tensor: load(self._path, (tensor,))),
                self._path,
                "cpu" if device.kind == "cpu" else f"cuda:{device.number}",
                self._settings.threads,
            )
        return self._within

    def _structure(self) -> Graph:
        if self._known is None:
            model = read_model(self._path)
            drop_weights(model)
            self._known = Graph(model)
        return self._known

    def _layers(self) -> LayerTable:
        if self._table is None:
            self._table = read_layers(self._structure())
        return self._table

    def _last_layer(self, tensor: str) -> LastLayer | str:
        raw = self._edit.raw if tensor == self._edit.scores else None
        return find_last_layer(self._structure(), raw or tensor, raw)

    def _looking_at(self, tensors: Iterable[str]) -> Session:
        """Return a session that gives these tensors beside the predictions; kept until others are wanted."""
        self._open()
        key = tuple(sorted(set(tensors)))
        found = self._deeper.get(key)
        if found is None:
            edit = replace(self._edit, outputs=tuple(dict.fromkeys((*self._edit.outputs, *key))))
            payload = edited(read_model(self._path), edit, self._path)
            found = open_session(self._path, self._settings, payload)
            self._deeper = {key: found}
        return found

    def _free_batch(self, sample: Inputs) -> None:
        """Replace the session by one whose batch is free, if it answers each record as the fixed one does."""
        edit = replace(self._edit, free_batch=self._intake.batch)
        expected = self._intake.ask(self._open(), edit.outputs, sample)
        try:
            payload = edited(read_model(self._path), edit, self._path)
            session = open_session(self._path, self._settings, payload)
            intake = read_intake(session.runtime, (self._head.output,), self._path)
            found = intake.ask(session, edit.outputs, sample)
        except AuditError:
            return
        note = freed_note(self._intake, expected, intake, found)
        if note is not None:
            self._batch_notes = (note,)
            self._session, self._intake, self._edit = session, intake, edit
            self._deeper.clear()
            self._within = None

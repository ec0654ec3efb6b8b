"""A model as OpenVINO runs it: compiled once, in float32 unless the deployed precision is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

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
from pmcore.layers import LayerTable
from pmcore.reading import Reading, presume
from pmcore.trial import VERIFIED, count_columns, freed_note
from pmcore_autograd import load
from pmcore_autograd.answering import Running
from pmcore_autograd.inside import Inside, Opening
from pmcore_openvino.dense import write_dense
from pmcore_openvino.digest import model_sha256
from pmcore_openvino.facts import properties_of, weight_notes
from pmcore_openvino.feeding import read_intake
from pmcore_openvino.files import check_files, looks_like_ir
from pmcore_openvino.graph import Graph, refuse_state
from pmcore_openvino.head import find_head
from pmcore_openvino.last_layer import find_last_layer
from pmcore_openvino.layers import read_layers
from pmcore_openvino.rewrite import freed
from pmcore_openvino.runtime import make_core, read_model, version
from pmcore_openvino.session import Session, Settings, open_session


@dataclass(frozen=True)
class _Facts:
    """What the files say about themselves, and what a model in memory is told apart by."""

    properties: Mapping[str, str]
    notes: tuple[str, ...]
    files: tuple[Path, ...] = ()
    sha256: str | None = None


class OpenvinoModel(Model):
    """A model in OpenVINO IR or ONNX, run by OpenVINO; one that ends in probabilities is read before them."""

    suffixes: ClassVar[tuple[str, ...]] = (".xml",)

    def __init__(
        self,
        path: Path,
        options: LoadOptions,
        settings: Settings,
        core: Any,
        graph: Graph,
        session: Session,
        intake: Intake,
        head: Head,
        reading: Reading,
        facts: _Facts,
    ) -> None:
        self._path = path
        self._options = options
        self._settings = settings
        self._core = core
        self._graph: Graph | None = graph
        self._session: Session | None = session
        self._intake = intake
        self._head = head
        self._reading = reading
        self._facts = facts
        self._batch_notes = intake.notes
        self._table: LayerTable | None = None
        self._deeper: dict[tuple[str, ...], Session] = {}
        self._sample: Inputs = {}
        self._within: Inside | None = None

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """Tell an IR by its suffix together with how it begins; ONNX files are another backend's by default."""
        return path.suffix.lower() in cls.suffixes and looks_like_ir(head)

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        """Load a model from .xml and .bin, or from .onnx; see `Model.load`. Nothing is written."""
        settings = Settings.of(options)
        told = check_files(source)
        core = make_core()
        settings.device.check(core)
        weights = told.files[0] if told.files and source.suffix.lower() != ".onnx" else None
        graph = Graph(read_model(core, source, weights))
        facts = _Facts(
            {**properties_of(graph.model), **told.properties}, weight_notes(graph), tuple(map(Path, told.files))
        )
        return cls._of(source, options, settings, core, graph, facts)

    @classmethod
    def wraps(cls, model: object) -> bool:
        """Tell an ``openvino.Model`` in memory."""
        openvino = sys.modules.get("openvino")
        return openvino is not None and isinstance(model, openvino.Model)

    @classmethod
    def wrap(cls, model: Any, options: LoadOptions) -> Self:
        """Take an ``openvino.Model`` that is in memory; a copy of it is asked, which shares its weights."""
        settings = Settings.of(options)
        core = make_core()
        settings.device.check(core)
        graph = Graph(model.clone())
        facts = _Facts(properties_of(model), weight_notes(graph), sha256=model_sha256(model))
        return cls._of(Path("Model in memory"), options, settings, core, graph, facts)

    @classmethod
    def _of(cls, path: Path, options: LoadOptions, settings: Settings, core: Any, graph: Graph, facts: _Facts) -> Self:
        refuse_state(graph.model, path)
        head = find_head(graph, options.output, path)
        intake = read_intake(graph.model, graph.tensors[head.output].shape or (), path)
        session = open_session(core, graph, head.tensors, settings, path)
        declared = {name: shape or () for name, shape in session.outputs.items()}
        columns = count_columns(session, intake, head.tensors, declared, path)
        reading = presume(head, columns, options.task, path)
        return cls(path, options, settings, core, graph, session, intake, head, reading, facts)

    @classmethod
    def write_dense(cls, path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """Write a dense network as IR; see `pmcore.interfaces.Model.write_dense`."""
        write_dense(path, weights, biases)

    def files(self) -> tuple[Path, ...]:
        """Return the .bin of an IR, or the files of external weights."""
        return self._facts.files

    def sha256(self) -> str | None:
        """Return a SHA-256 of the operations and constants of a model that came from memory."""
        return self._facts.sha256

    def describe(self) -> ModelDescription:
        """Return what the model is; before `prepare`, as far as its graph tells."""
        reading = self._reading
        session = self._open()
        return ModelDescription(
            inputs=self._intake.specs,
            task=reading.task,
            classes=reading.classes,
            output=reading.tensor,
            scale=reading.scale,
            device=session.device,
            precision=session.computed.shown,
            runtime=version(),
            pre_softmax=reading.tensor != self._head.output,
            resolution_limited=reading.limited,
            batch=self._intake.batch,
            properties=self._facts.properties,
            notes=(*reading.notes, *self._batch_notes, *self._facts.notes, *self._precision_notes(session)),
        )

    def prepare(self, sample: Inputs) -> None:
        """Free a fixed batch if that changes no answer, and settle what the numbers are."""
        some = few(sample)
        if not some:
            return
        self._sample = some
        if self._intake.batch is not None and len(next(iter(some.values()))) > 1:
            self._free_batch(few(some, VERIFIED))
        session = self._open()
        self._reading = first_look(
            session, self._intake, self._head, some, self._options.task, coarse=session.computed.is_half
        )

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
        """Release the compiled models, and the weights that they were made of."""
        self._session = self._graph = self._within = None
        self._deeper.clear()

    def _open(self) -> Session:
        return still_open(self._session, self._path)

    def _running(self) -> Running:
        session = self._open()
        return Running(session, self._intake, self._reading, session.computed.shown, self._sample)

    def _inside(self) -> Inside:
        if self._within is None:
            opening = Opening(
                self._layers,
                lambda tensor: find_last_layer(self._structure(), tensor),
                self._looking_at,
                lambda tensor: load(self._structure().model, (tensor,)),
            )
            self._within = Inside(opening, self._path, threads=self._settings.threads)
        return self._within

    def _structure(self) -> Graph:
        return still_open(self._graph, self._path)

    def _layers(self) -> LayerTable:
        if self._table is None:
            self._table = read_layers(self._structure())
        return self._table

    def _looking_at(self, tensors: Iterable[str]) -> Session:
        """Return a session that gives these tensors beside the predictions; kept until others are wanted."""
        key = tuple(sorted(set(tensors)))
        found = self._deeper.get(key)
        if found is None:
            wanted = tuple(dict.fromkeys((*self._head.tensors, *key)))
            found = open_session(self._core, self._structure(), wanted, self._settings, self._path)
            self._deeper = {key: found}
        return found

    def _free_batch(self, sample: Inputs) -> None:
        """Replace the session by one whose batch is free, if it answers each record as the fixed one does."""
        wanted = self._head.tensors
        expected = self._intake.ask(self._open(), wanted, sample)
        try:
            graph = freed(self._structure(), self._intake.batch or 1, self._path)
            session = open_session(self._core, graph, wanted, self._settings, self._path)
            intake = read_intake(graph.model, graph.tensors[self._head.output].shape or (), self._path)
            found = intake.ask(session, wanted, sample)
        except AuditError:
            return
        note = freed_note(self._intake, expected, intake, found)
        if note is not None:
            self._batch_notes = (note,)
            self._session, self._intake, self._graph, self._table = session, intake, graph, None
            self._deeper.clear()
            self._within = None

    def _precision_notes(self, session: Session) -> Iterator[str]:
        if self._settings.deployed:
            ran = ", ".join(f"{name} ({count})" for name, count in sorted(session.computed.operations.items()))
            told = f": its operations run in {ran}" if ran else ""
            yield f"Computed in the precision that {session.device} takes by itself, {session.computed.shown}{told}."

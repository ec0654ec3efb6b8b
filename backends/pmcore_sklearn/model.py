"""A fitted estimator, from a `.skops` file or from memory, as scikit-learn answers for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pmcore.asking import few, predictions, still_open
from pmcore.cotangents import Cotangents
from pmcore.dense_gradients import reduced
from pmcore.devices import check_threads
from pmcore.errors import InputError, ModelError
from pmcore.heads import Ending
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
    Scale,
    Task,
    TensorSpec,
    Want,
)
from pmcore.quoting import printable
from pmcore.reading import Reading
from pmcore_sklearn.choosing import Chosen, choose
from pmcore_sklearn.dense import write_dense
from pmcore_sklearn.estimators import (
    check_estimator,
    is_regressor,
    log_shares,
    looks_like_an_estimator,
    probabilities,
    values,
)
from pmcore_sklearn.files import is_archive, load_estimator
from pmcore_sklearn.fingerprints import fingerprint
from pmcore_sklearn.layered import Layered, at_the_scores, explains, layered, transformed
from pmcore_sklearn.runtime import ONE_AT_A_TIME, EstimatorRuntime, OneAnswer


class SklearnModel(Model):
    """A fitted classifier or regressor of scikit-learn, read where its answers have the highest resolution."""

    suffixes: ClassVar[tuple[str, ...]] = (".skops",)

    def __init__(self, estimator: Any, path: Path, options: LoadOptions, notes: tuple[str, ...] = ()) -> None:
        check_estimator(estimator, path)
        features = getattr(estimator, "n_features_in_", None)
        width = int(features) if isinstance(features, int | np.integer) else None
        shape = () if width is None else ("batch", width)
        self._path = path
        self._options = options
        self._notes = notes
        self._name = printable(_name(estimator), 80)
        self._intake = Intake((TensorSpec("x", shape, "float64"),), None, False, path)
        self._runtime: EstimatorRuntime | None = EstimatorRuntime(
            estimator, path, width, hasattr(estimator, "feature_names_in_"), options.threads
        )
        self._chosen = _unsettled(estimator)
        self._source: GradientSource | None = None
        self._layered: Layered | None = None
        with contextlib.suppress(ModelError):  # what only looks like an estimator may fail to tell of its weights
            self._layered = self._runtime.ask(lambda found, _: layered(found), np.zeros((1, width or 0)))
        self._explained = True
        if width is not None:
            with contextlib.suppress(ModelError):  # zeros may be no record of this estimator: real ones settle it
                self._settle(np.zeros((1, width)))

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """Tell a file by its suffix, or an archive of skops by its directory."""
        return path.suffix.lower() in cls.suffixes or is_archive(path, head)

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        """Load an estimator from a `.skops` file; see `Model.load`."""
        _check_options(options)
        with ONE_AT_A_TIME:  # skops warns, and is listened to
            saved = load_estimator(source, options.trust_model)
        return cls(saved.estimator, source, options, saved.notes)

    @classmethod
    def wraps(cls, model: object) -> bool:
        """Tell whether an object is an estimator, or has the methods of one."""
        return looks_like_an_estimator(model)

    @classmethod
    def wrap(cls, model: Any, options: LoadOptions) -> Self:
        """Take a fitted estimator that is in memory; see `Model.wrap`."""
        _check_options(options)
        return cls(model, Path(f"{type(model).__name__} in memory"), options)

    @classmethod
    def write_dense(cls, path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """Write a dense network as a `.skops` file; see `pmcore.interfaces.Model.write_dense`."""
        write_dense(path, weights, biases)

    def describe(self) -> ModelDescription:
        """Return what the model is; before `prepare`, as far as a record of zeros tells."""
        reading = self._chosen.reading
        return ModelDescription(
            inputs=self._intake.specs,
            task=reading.task,
            classes=reading.classes if reading.columns is not None else 0,
            output=reading.tensor,
            scale=reading.scale,
            device="CPU",
            precision="float64",
            runtime=_runtime(self._open().estimator),
            pre_softmax=reading.ending is not Ending.NONE,
            resolution_limited=reading.limited,
            properties={"estimator": self._name},
            notes=(*self._notes, *reading.notes),
        )

    def prepare(self, sample: Inputs) -> None:
        """Settle which answer is read, on a few records."""
        some = few(sample)
        if some:
            (x,) = self._intake.taken(some).values()
            self._settle(x)

    def predict(self, inputs: Inputs) -> Array:
        """Return predictions, shape (b, k)."""
        chosen = self._chosen
        return predictions(OneAnswer(self._open(), chosen.way), self._intake, chosen.reading, inputs)

    def layers(self) -> Sequence[Layer]:
        """Return the layers of a linear model or a perceptron; () for any other."""
        self._open()
        return self._layered.described() if self._layered is not None and self._explained else ()

    def gradients(
        self, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        """Return norms and sketches of each record's gradient, by backpropagation in closed form."""
        found, x = self._dense(Want(gradients=frozenset(requests))), self._finite(inputs)
        reading, way = self._chosen.reading, self._chosen.way
        outputs = Outputs(reading.task, reading.scale, labels, self.predict(inputs))

        def question(estimator: Any, records: Array) -> Mapping[GradientRequest, Array]:
            entering = transformed(estimator, records)
            scores = found.outputs(entering)[-1]
            cotangents = Cotangents.along(at_the_scores(scores, outputs.loss_gradient, way))
            return reduced(found.gradients(entering, cotangents.directions), requests, cotangents)

        answers = self._open().ask(question, x)
        self._source = GradientSource("framework", "outer products in closed form", "float64")
        return answers

    def gradient_source(self) -> GradientSource | None:
        """Return how gradients were taken, once some have been asked for."""
        return self._source

    def head_input(self, inputs: Inputs) -> HeadInput:
        """Return what enters the last layer of a linear model or a perceptron, (b, h)."""
        found, x = self._dense(Want(head_input=True)), self._finite(inputs)
        values = self._open().ask(lambda estimator, records: found.entering(transformed(estimator, records)), x)
        return HeadInput(values, list(found.layers.values())[-1].fitted)

    def obstacle(self, want: Want) -> str | None:
        """Return what the estimator cannot answer, in one phrase: only linear models and perceptrons have gradients."""
        if self._layered is None or not self._explained:
            if want.gradients or want.head_input:
                return f"{self._name} has no {'gradient' if want.gradients else 'last linear layer'}"
        elif want.head_input and self._chosen.way is log_shares:
            return "its predictions are logarithms of shares, not what its last layer gives"
        return super().obstacle(want)

    def sha256(self) -> str | None:
        """Return a SHA-256 of the estimator as Python would write it down, or None if it cannot be written."""
        return fingerprint(self._open().estimator)

    def close(self) -> None:
        """Let go of the estimator."""
        self._runtime = self._layered = None

    def _open(self) -> EstimatorRuntime:
        return still_open(self._runtime, self._path)

    def _settle(self, x: Array) -> None:
        def question(estimator: Any, records: Array) -> Chosen:
            return choose(estimator, records, self._options.output, self._options.task, self._path)

        self._chosen = chosen = self._open().ask(question, x)
        found = self._layered
        if found is not None:
            self._explained = False
            with contextlib.suppress(ModelError):
                self._explained = self._open().ask(lambda own, records: explains(found, own, records, chosen.way), x)

    def _dense(self, want: Want) -> Layered:
        """Return the dense layers that answer a wish.

        Raises
        ------
        ModelError
            They do not.
        """
        self._open()
        reason = self.obstacle(want)
        if self._layered is None or reason is not None:
            raise ModelError(f"{self._path}: {reason}; ask for attacks that read predictions alone")
        return self._layered

    def _finite(self, inputs: Inputs) -> Array:
        """Return the records with zeros for one that no estimator takes; its predictions are not finite either."""
        (x,) = self._intake.taken(inputs).values()
        return np.where(np.isfinite(x).all(axis=1, keepdims=True), x, 0.0)


def _check_options(options: LoadOptions) -> None:
    check_threads(options.threads)
    if options.device.strip().lower() not in ("auto", "cpu"):
        raise InputError(f"device {options.device!r} was asked for, but scikit-learn runs on the CPU; leave it out")


def _unsettled(estimator: Any) -> Chosen:
    """Return what is presumed of an estimator that has not been asked yet."""
    if is_regressor(estimator):
        return Chosen(values, replace(_NOTHING, tensor="predict", task=Task.REGRESSION, scale=Scale.VALUES))
    return Chosen(probabilities, _NOTHING)


_NOTHING = Reading("predict_proba", Ending.NONE, Task.MULTICLASS, None, Scale.PROBABILITIES)


def _name(estimator: Any) -> str:
    """Return the class of an estimator; of a pipeline, those of its steps."""
    steps = getattr(estimator, "steps", None)
    kind = type(estimator).__name__
    if not isinstance(steps, list):
        return kind
    return f"{kind}({', '.join(type(step[-1]).__name__ for step in steps)})"


def _runtime(estimator: Any) -> str:
    import sklearn

    home = type(estimator).__module__.partition(".")[0]
    version = getattr(sys.modules.get(home), "__version__", None)
    own = f"scikit-learn {sklearn.__version__}"
    return own if home == "sklearn" or not isinstance(version, str) else f"{own}, {home} {version}"

"""A fitted estimator, from a `.skops` file or from memory, as scikit-learn answers for it."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pmcore.asking import few, predictions, still_open
from pmcore.devices import check_threads
from pmcore.errors import AuditError, InputError, ModelError
from pmcore.heads import Ending
from pmcore.intake import Intake
from pmcore.interfaces import Array, Inputs, LoadOptions, Model, ModelDescription, Scale, Task, TensorSpec
from pmcore.quoting import printable
from pmcore.reading import Reading
from pmcore_sklearn.choosing import Chosen, choose
from pmcore_sklearn.dense import write_dense
from pmcore_sklearn.estimators import check_estimator, is_regressor, looks_like_an_estimator, probabilities, values
from pmcore_sklearn.files import is_archive, load_estimator
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
            (x,) = self._intake.ask(_Echo(), ("x",), some)
            self._settle(x)

    def predict(self, inputs: Inputs) -> Array:
        """Return predictions, shape (b, k)."""
        chosen = self._chosen
        return predictions(OneAnswer(self._open(), chosen.way), self._intake, chosen.reading, inputs)

    def sha256(self) -> str | None:
        """Return a SHA-256 of the estimator as Python would write it down, or None if it cannot be written."""
        digest = hashlib.sha256()
        try:
            pickle.Pickler(_Sink(digest), protocol=5).dump(self._open().estimator)
        except AuditError:
            raise
        except Exception:  # parts of an estimator may be anything, and refuse in any way
            return None
        return digest.hexdigest()

    def close(self) -> None:
        """Let go of the estimator."""
        self._runtime = None

    def _open(self) -> EstimatorRuntime:
        return still_open(self._runtime, self._path)

    def _settle(self, x: Array) -> None:
        def question(estimator: Any, records: Array) -> Chosen:
            return choose(estimator, records, self._options.output, self._options.task, self._path)

        self._chosen = self._open().ask(question, x)


class _Echo:
    """A runtime that gives back what it is given: what an estimator takes of the records."""

    def run(self, outputs: Sequence[str], feeds: Any) -> list[Array]:
        """Return the inputs that are named."""
        return [feeds[name] for name in outputs]


class _Sink:
    """A file that keeps nothing but a hash of what is written to it."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, piece: Any) -> int:
        """Take a piece, which may be any buffer."""
        self._digest.update(piece)
        return memoryview(piece).nbytes


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

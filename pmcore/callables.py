"""A Python function as a model: what can be asked with arrays can be audited."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from pmcore.errors import InputError, ModelError, OutOfMemory
from pmcore.heads import Head, rows
from pmcore.interfaces import Array, Inputs, LoadOptions, Model, ModelDescription, Scale, Task, TensorSpec
from pmcore.quoting import LONGEST, printable, quoted
from pmcore.reading import Reading, presume, settle

SAMPLE = 32
"""Records that settle what a function answers."""


def from_callable(
    function: Callable[..., ArrayLike],
    *,
    inputs: str | Sequence[str] | Mapping[str, Sequence[int | None]] = ("x",),
    classes: int | None = None,
    task: Task | str | None = None,
    scale: Scale | str | None = None,
    dtype: str = "float32",
    title: str | None = None,
) -> CallableModel:
    """Make a model of a function, to be given to `pmcore.Audit`.

    Parameters
    ----------
    function : called with one array (b, ...) per input, in this order; returns (b, k) logits, probabilities or
        values, anything that numpy makes an array of. A record's answer must not depend on the others.
    inputs : names of the inputs, or name -> shape of a record (None where it is open)
    classes : number of classes; by default it is told by the first answers
    task : the task head; by default from the number of columns, as for files
    scale : "logits" or "probabilities"; by default the first answers tell: rows of shares that sum to one
    dtype : type of the arrays that the function is given
    title : how reports call the model

    Raises
    ------
    InputError
        There is no function or input, a value is no such task, scale, type or number of classes, or task and scale
        contradict each other.

    Examples
    --------
    >>> from pmcore import Audit, from_callable
    >>> model = from_callable(estimator.predict_proba)
    >>> Audit(model=model, members="train.npz", non_members="test.npz").run()
    """
    if not callable(function):
        raise InputError(f"function: {type(function).__name__} - give something that can be called with arrays")
    if not isinstance(inputs, str | Sequence | Mapping):
        raise InputError(f"inputs: {quoted(inputs)} - give names, such as ('x',), or name -> shape of a record")
    if classes is not None and classes < 1:
        raise InputError(f"classes: {classes} - give 1 or more, or leave it out")
    try:
        np.dtype(dtype)
    except TypeError:
        raise InputError(f"dtype: {quoted(dtype)} - give a type that numpy knows, such as float32 or int64") from None
    names = (inputs,) if isinstance(inputs, str) else inputs
    shapes = names if isinstance(names, Mapping) else dict.fromkeys(names, None)
    if not shapes:
        raise InputError("inputs: none named - name at least one, such as ('x',)")
    specs = tuple(TensorSpec(name, () if shape is None else ("batch", *shape), dtype) for name, shape in shapes.items())
    chosen = Task(_named(Task, task, "task")) if task is not None else None
    read_as = Scale(_named(Scale, scale, "scale")) if scale is not None else None
    if None not in (chosen, read_as) and (chosen is Task.REGRESSION) != (read_as is Scale.VALUES):
        raise InputError(
            f"scale: {read_as} does not fit task {chosen}; a regression has values, anything else has none"
        )
    return CallableModel(function, specs, chosen, read_as, classes, title or f"{_called(function)} in memory")


class CallableModel(Model):
    """A Python function that answers with numbers; made by `pmcore.from_callable`."""

    def __init__(
        self,
        function: Callable[..., ArrayLike],
        specs: tuple[TensorSpec, ...],
        task: Task | None,
        scale: Scale | None,
        classes: int | None,
        title: str,
    ) -> None:
        self._function = function
        self._specs = specs
        self._task = task or (Task.REGRESSION if scale is Scale.VALUES else None)
        self._scale = scale
        self.title = title
        self._path = Path(title)
        self._head = Head("answer", probabilities=scale is Scale.PROBABILITIES)
        self._classes = classes
        self._reading: Reading = presume(self._head, classes, self._task, self._path)

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        """Refuse: a function has no file."""
        raise InputError(f"{source}: functions are not read from files - make a model with pmcore.from_callable")

    def describe(self) -> ModelDescription:
        """Return what the model is; before `prepare`, as far as the arguments tell."""
        reading = self._reading
        return ModelDescription(
            inputs=self._specs,
            task=reading.task,
            classes=reading.classes,
            output=reading.tensor,
            scale=reading.scale,
            device="Python",
            precision="as the function computes",
            runtime=f"numpy {np.__version__}",
            resolution_limited=reading.limited,
            notes=("The model is a Python function: what it does to its inputs is not known.", *reading.notes),
        )

    def prepare(self, sample: Inputs) -> None:
        """Settle from a few answers how many columns there are and what the numbers are."""
        some = {name: array[:SAMPLE] for name, array in sample.items()}
        if min((len(array) for array in some.values()), default=0) == 0:
            return
        answers = self._ask(some)
        self._refuse_labels(answers)
        of_two = self._classes == 2 and answers.shape[1] == 1 and self._scale is not Scale.VALUES
        task = self._task or (Task.BINARY if of_two else None)
        reading = settle(self._head, None, answers, task, self._path)
        if self._classes not in (None, reading.classes):
            raise InputError(
                f"{self.title}: answers with {answers.shape[1]} columns, not for {self._classes} classes; "
                "correct one of them"
            )
        if self._scale is not None and reading.scale is not self._scale:
            if self._scale is Scale.PROBABILITIES:
                raise InputError(
                    f"{self.title}: answers are no probabilities - leave scale out, or correct the function"
                )
            reading = presume(Head("answer"), reading.columns, task, self._path)
        self._reading = reading

    def predict(self, inputs: Inputs) -> Array:
        """Return what the function answers, shape (b, k)."""
        answer = self._ask(inputs)
        return self._reading.scores(answer, len(answer), self._path)

    def _refuse_labels(self, answers: Array) -> None:
        """Refuse answers that are classes by all appearance: the figures of a regression would be false."""
        told = self._task is not None or self._classes is not None or self._scale is not None
        if not told and answers.shape[1] == 1 and bool((answers == np.rint(answers)).all()):
            raise InputError(
                f"{self.title}: answers with one whole number per record, as with a class; give a function that "
                "answers with scores, such as predict_proba, or say task='regression' or 'binary'"
            )

    def _ask(self, inputs: Inputs) -> Array:
        one = len(self._specs) == 1 and len(inputs) == 1
        found = [next(iter(inputs.values()))] if one else [self._of(inputs, spec) for spec in self._specs]
        arrays = [self._cast(array, spec) for array, spec in zip(found, self._specs, strict=True)]
        try:
            answer = np.asarray(self._function(*arrays))
        except MemoryError as error:
            raise OutOfMemory(f"{self.title}: the batch did not fit into memory") from error
        except Exception as error:  # somebody else's function may fail in any way
            raise ModelError(
                f"{self.title}: the function failed: {type(error).__name__}: {printable(str(error), LONGEST)}"
            ) from error
        if answer.dtype.kind not in "biuf":
            raise ModelError(
                f"{self.title}: the function answered with {answer.dtype}, not with numbers; return an array"
            )
        if answer.ndim == 0 or len(answer) != len(arrays[0]):
            raise ModelError(
                f"{self.title}: answered {len(arrays[0])} records with shape {list(answer.shape)}; "
                "return one row per record"
            )
        if answer.dtype.kind != "f":
            answer = answer.astype(np.float64)
        return rows(answer, len(arrays[0]), "answer", self._path)

    def _cast(self, array: Array, spec: TensorSpec) -> Array:
        """Return a copy, which is the function's own to change, having checked its shape."""
        if spec.shape and any(
            size not in (None, given)
            for size, given in itertools.zip_longest(spec.record_shape, array.shape[1:], fillvalue=-1)
        ):
            raise InputError(
                f"{self.title}: input {spec.name!r} takes records of shape {list(spec.record_shape)} and was given "
                f"{list(array.shape[1:])}; give it records of the shape that it was written for"
            )
        try:
            return np.array(array, dtype=spec.dtype)
        except (TypeError, ValueError):
            raise InputError(
                f"{self.title}: input {spec.name!r} takes {spec.dtype} and was given {array.dtype}; "
                "give an array of numbers, or another dtype to from_callable"
            ) from None

    def _of(self, inputs: Inputs, spec: TensorSpec) -> Array:
        if spec.name not in inputs:
            raise InputError(f"{self.title}: input {spec.name!r} is not among the arrays given: {', '.join(inputs)}")
        return inputs[spec.name]


def _called(function: Callable[..., ArrayLike]) -> str:
    """Return the name of a function; a method is called after the class of its object, which may inherit it."""
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", None)
    if owner is not None and name is not None and not isinstance(owner, ModuleType | type):
        return f"{type(owner).__name__}.{name}"
    return str(getattr(function, "__qualname__", type(function).__name__))


def _named(kind: type[Task] | type[Scale], given: str, key: str) -> str:
    if given not in list(kind):
        raise InputError(f"{key}: {given!r} - give {', '.join(kind)}")
    return given

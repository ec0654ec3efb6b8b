"""A Python function as a model: what can be asked with arrays can be audited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from pmcore.errors import AuditError, InputError, ModelError, OutOfMemory
from pmcore.heads import Ending, Head, rows
from pmcore.interfaces import Array, Inputs, LoadOptions, Model, ModelDescription, Scale, Task, TensorSpec
from pmcore.reading import Reading, presume, settle

SAMPLE = 32
"""Records that settle what a function answers."""


def from_callable(
    function: Callable[..., ArrayLike],
    *,
    inputs: Sequence[str] | Mapping[str, Sequence[int | None]] = ("x",),
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
        There is no input, or a name is no such task or scale.

    Examples
    --------
    >>> from pmcore import Audit, from_callable
    >>> model = from_callable(estimator.predict_proba)
    >>> Audit(model=model, members="train.npz", non_members="test.npz").run()
    """
    shapes = inputs if isinstance(inputs, Mapping) else dict.fromkeys(inputs, None)
    if not shapes:
        raise InputError("inputs: none named - name at least one, such as ('x',)")
    specs = tuple(TensorSpec(name, () if shape is None else ("batch", *shape), dtype) for name, shape in shapes.items())
    chosen = Task(_named(Task, task, "task")) if task is not None else None
    read_as = Scale(_named(Scale, scale, "scale")) if scale is not None else None
    name = title or f"{getattr(function, '__qualname__', type(function).__name__)} in memory"
    return CallableModel(function, specs, chosen, read_as, classes, name)


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
        self._function: Callable[..., ArrayLike] | None = function
        self._specs = specs
        self._task = task or (Task.REGRESSION if scale is Scale.VALUES else None)
        self._scale = scale
        self.title = title
        self._path = Path(title)
        self._head = Head("answer", probabilities=scale is Scale.PROBABILITIES)
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
        answers = self._ask(some)
        reading = settle(self._head, None, answers, self._task, self._path)
        declared = self._reading.columns
        if declared is not None and reading.columns != declared:
            raise InputError(
                f"{self.title}: answers with {reading.columns} columns, not {declared}; correct one of them"
            )
        if self._scale is not None and reading.scale is not self._scale:
            if self._scale is Scale.PROBABILITIES:
                raise InputError(
                    f"{self.title}: answers are no probabilities - leave scale out, or correct the function"
                )
            reading = presume(Head("answer"), reading.columns, self._task, self._path)
        self._reading = reading

    def predict(self, inputs: Inputs) -> Array:
        """Return what the function answers, shape (b, k)."""
        return Ending.NONE.scores(self._ask(inputs))

    def close(self) -> None:
        """Let go of the function."""
        self._function = None

    def _ask(self, inputs: Inputs) -> Array:
        if self._function is None:
            raise AuditError(f"{self.title}: was closed; make the model again")
        one = len(self._specs) == 1 and len(inputs) == 1
        found = [next(iter(inputs.values()))] if one else [self._of(inputs, spec) for spec in self._specs]
        arrays = [np.array(array, dtype=spec.dtype) for array, spec in zip(found, self._specs, strict=True)]
        try:
            answer = np.asarray(self._function(*arrays))
        except MemoryError as error:
            raise OutOfMemory(f"{self.title}: the batch did not fit into memory") from error
        except Exception as error:  # somebody else's function may fail in any way
            raise ModelError(f"{self.title}: the function failed: {type(error).__name__}: {error}") from error
        if answer.dtype.kind not in "biuf":
            raise ModelError(f"{self.title}: the function answered with {answer.dtype}, not with numbers")
        if answer.dtype.kind != "f":
            answer = answer.astype(np.float64)
        return rows(answer, len(arrays[0]), "answer", self._path)

    def _of(self, inputs: Inputs, spec: TensorSpec) -> Array:
        if spec.name not in inputs:
            raise InputError(f"{self.title}: input {spec.name!r} is not among the arrays given: {', '.join(inputs)}")
        return inputs[spec.name]


def _named(kind: type[Task] | type[Scale], given: str, key: str) -> str:
    if given not in list(kind):
        raise InputError(f"{key}: {given!r} - give {', '.join(kind)}")
    return given

"""A SavedModel as it is loaded: the signature that answers, and what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from pmcore.errors import InputError
from pmcore.interfaces import TensorSpec
from pmcore.quoting import quoted
from pmcore_tensorflow.device import explained
from pmcore_tensorflow.starting import unnoticed
from pmcore_tensorflow.trace import Answer, array_type, shape_of

_PREFERRED = ("serving_default", "serve")


@dataclass(frozen=True)
class Signature:
    """A signature of a loaded SavedModel; `root` keeps the variables alive."""

    root: Any
    name: str
    function: Any
    specs: tuple[TensorSpec, ...]

    def body(self, inputs: Sequence[Any]) -> Answer:
        """Compute with symbolic tensors."""
        given = {spec.name: tensor for spec, tensor in zip(self.specs, inputs, strict=True)}
        return Answer(self.function(**given))

    @property
    def precision(self) -> str:
        """Return the type that most of the weights are kept in."""
        counts: dict[str, int] = {}
        for variable in self.function.variables:
            if variable.dtype.is_floating:
                counts[variable.dtype.name] = counts.get(variable.dtype.name, 0) + prod(variable.shape.as_list())
        return max(counts, key=lambda kind: counts[kind], default="float32")


def load_signature(tf: Any, folder: Path, wanted: str | None) -> Signature:
    """Load a SavedModel that was checked, and choose the signature that answers.

    Raises
    ------
    InputError
        It has no signature, not the one that is wanted, or several of which none is the usual one.
    ModelError
        TensorFlow does not take it.
    """
    remedy = "copy the whole folder, or save the model again"
    with explained(folder, "TensorFlow does not load the model", remedy), unnoticed():
        root = tf.saved_model.load(str(folder.absolute()))
        signatures = dict(root.signatures)
    name = _choose(list(signatures), wanted, folder)
    function = signatures[name]
    taken = function.structured_input_signature[1]
    if not taken:
        raise InputError(
            f"{folder}: signature {quoted(name)} takes no inputs, so it cannot be asked about records; "
            "choose another one with --backend tensorflow:signature=NAME"
        )
    specs = tuple(
        TensorSpec(key, shape_of(spec) or (), array_type(spec.dtype.name, key, folder)) for key, spec in taken.items()
    )
    return Signature(root, name, function, specs)


def _choose(names: Sequence[str], wanted: str | None, folder: Path) -> str:
    if not names:
        raise InputError(
            f"{folder}: has no signature to be asked; save it with tf.saved_model.save(model, path, signatures=...)"
        )
    found = ", ".join(map(quoted, names))
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"{folder}: has no signature {quoted(wanted)}; its signatures are {found}")
        return wanted
    usual = next((name for name in _PREFERRED if name in names), names[0] if len(names) == 1 else None)
    if usual is None:
        raise InputError(f"{folder}: has signatures {found}; choose one with --backend tensorflow:signature=NAME")
    return usual

"""Checks of what a backend says about itself, its models and its options."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from pmcore.interfaces import Capability, LoadOptions, Model, Scale, Task
from pmcore.option_docs import describe_options
from pmcore.testing.backend_case import WIDTHS, BackendCase, overrides
from pmcore.testing.checking import NotApplicable
from pmcore.testing.refusals import require, require_documented


def check_description(case: BackendCase) -> None:
    """Describe inputs, output, device, precision and the runtime with its version."""
    model = case.prepared()
    told = model.describe()
    require(bool(told.inputs), "the description names no inputs")
    for spec in told.inputs:
        require(bool(spec.name), "an input has no name")
        require(spec.dtype == "str" or _is_type(spec.dtype), f"input {spec.name} has type {spec.dtype!r}, not numpy's")
        require(bool(spec.shape), f"input {spec.name} has no batch axis in its shape")
    for field in ("output", "device", "precision"):
        require(bool(getattr(told, field).strip()), f"the description says nothing about {field}")
    require(
        re.search(r"\S+ v?\d+(\.\d+)*", told.runtime) is not None,
        f"the runtime is told as {told.runtime!r}; give name and version, such as 'numpy {np.__version__}'",
    )
    require(isinstance(told.task, Task) and isinstance(told.scale, Scale), "task and scale must be of Task and Scale")
    require(told.classes >= 1, f"the description says {told.classes} classes")
    require(
        all(isinstance(note, str) and "\n" not in note for note in told.notes), "notes must be sentences of one line"
    )


def check_described_network(case: BackendCase) -> None:
    """Describe a dense network as what it is: one input of its features, multi-class, its classes."""
    case.known()
    told = case.prepared().describe()
    require(
        [spec.record_shape for spec in told.inputs] == [(WIDTHS[0],)],
        f"inputs {[str(spec) for spec in told.inputs]} are not one of {WIDTHS[0]} features",
    )
    require(told.task is Task.MULTICLASS, f"the task is told as {told.task!s}, not multiclass")
    require(told.classes == WIDTHS[-1], f"{told.classes} classes are told of, not {WIDTHS[-1]}")


def check_description_stable(case: BackendCase) -> None:
    """Keep the description after `prepare`, and give the same when the file is loaded again."""
    model, again = case.prepared(), case.prepared()
    before = model.describe()
    model.predict(case.records(model))
    for other, when in ((model, "after predict"), (again, "of the model loaded again")):
        changed = [
            field.name
            for field in dataclasses.fields(before)
            if getattr(before, field.name) != getattr(other.describe(), field.name)
        ]
        require(not changed, f"the description {when} differs in {', '.join(changed)}")


def check_capabilities(case: BackendCase) -> None:
    """Claim exactly those capabilities whose methods the class overrides."""
    backend = case.backend
    optional = {c: c.value for c in Capability if c is not Capability.PREDICTIONS}
    expected = {Capability.PREDICTIONS} | {c for c, method in optional.items() if overrides(backend, method)}
    found = set(case.load().capabilities)
    wrong = sorted(capability.value for capability in found ^ expected)
    require(not wrong, f"capabilities and overridden methods disagree about {', '.join(wrong)}")


def check_layers(case: BackendCase) -> None:
    """List layers in order, each under a name of its own."""
    layers = list(case.prepared().layers())
    if not layers and not overrides(case.backend, "activations"):
        raise NotApplicable("the backend lists no layers, and gives no activations")
    require(bool(layers), "the backend gives activations but lists no layers to ask for")
    require(
        [layer.index for layer in layers] == list(range(len(layers))),
        f"indices are {[layer.index for layer in layers]}; count from 0",
    )
    names = [layer.name for layer in layers]
    require(all(names) and len(set(names)) == len(names), f"names are empty or occur twice: {', '.join(names)}")


def check_layer_parameters(case: BackendCase) -> None:
    """Count parameters per layer so that they add up to those of the network."""
    network = case.known()
    layers = list(case.prepared().layers())
    if not layers:
        raise NotApplicable("the backend lists no layers")
    found = sum(layer.parameters for layer in layers)
    require(found == network.parameters, f"layers have {found} parameters together, the network {network.parameters}")


def check_files(case: BackendCase) -> None:
    """Name only files that are there as holding the model besides its source."""
    model = case.load()
    missing = [str(path) for path in model.files() if not path.is_file()]
    require(not missing, f"files() names {', '.join(missing)}, which is no file")


def check_docstring(backend: type[Model]) -> None:
    """Open the docstring of the class with one whole sentence."""
    require_documented(backend)


def check_options(backend: type[Model]) -> None:
    """Keep options in a frozen dataclass derived from LoadOptions, each with a default and documented."""
    options = backend.options
    require(issubclass(options, LoadOptions), f"options are {options.__name__}, which does not derive from LoadOptions")
    frozen = getattr(options.__dict__.get("__dataclass_params__"), "frozen", False)
    require(frozen, f"{options.__name__} is no frozen dataclass; decorate it with @dataclass(frozen=True)")
    for option in describe_options(options):
        require(not option.required, f"option {option.name} has no default")
        require(
            bool(option.description),
            f"option {option.name} is not documented; add `{option.name} : what it does` to the Parameters of "
            f"{options.__name__}",
        )


def check_suffixes(backend: type[Model]) -> None:
    """Write suffixes in lower case with their dot."""
    wrong = [suffix for suffix in backend.suffixes if not re.fullmatch(r"\.[^\s./\\A-Z][^\s/\\A-Z]*", suffix)]
    require(not wrong, f"suffixes {wrong} are not like '.onnx'")


def _is_type(name: str) -> bool:
    try:
        return np.dtype(name).kind in "biuf"
    except TypeError:
        return False

"""What the neutral graph is told of a node of OpenVINO: its kind, its version, its attributes, what it reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import Any

from pmcore_autograd.openvino_constants import LOW_BITS

QUANTISED = "ConvertQuantized"
"""The kind of a conversion of weights that are kept in integers to real numbers, and of rounded levels to integers."""
LEAKY = "LeakyRelu"
"""The kind of a rectifier whose slope is an attribute elsewhere."""
_INVENTED = re.compile(r"Constant_\d+")
_BIAS = "i32"
_BIASED = frozenset({"Add", "BatchNormInference", "GroupNormalization"})
_STEPS = 4
_SHAPED = frozenset({"Reshape", "Squeeze", "Unsqueeze"})
_SCALED = frozenset({"Multiply", "Subtract"})
_VERBATIM = frozenset({"equation"})
"""Attributes whose case means something."""


def kind_of(node: Any) -> str:
    """Return the kind of an operation, which is its type where that tells what is trained and what is rounded."""
    kind = str(node.get_type_name())
    if kind == "PRelu" and _is_fixed(node.input_value(1).get_node()):
        return LEAKY
    if kind != "Convert":
        return kind
    source = node.input_value(0).get_node()
    if not node.get_element_type().is_real():
        levels = source.get_type_name() == "FakeQuantize" and node.get_element_type().get_type_name() in LOW_BITS
        return QUANTISED if levels else kind
    readers = _readers(node)
    scaled = {reader.get_type_name() for reader in readers} <= _SCALED
    if source.get_type_name() != "Constant" or prod(source.get_output_shape(0)) == 1 or not scaled:
        return kind
    bits = source.get_element_type().get_type_name()
    return QUANTISED if bits in LOW_BITS or (bits == _BIAS and _ends(readers) & _BIASED) else kind


def _is_fixed(slope: Any) -> bool:
    """Tell whether the slope of a rectifier was never trained: one number that has no name of its own."""
    if slope.get_type_name() != "Constant" or prod(slope.get_output_shape(0)) != 1:
        return False
    return not len(slope.get_output_shape(0)) or bool(_INVENTED.fullmatch(str(slope.get_friendly_name())))


def _readers(node: Any) -> list[Any]:
    return [value.get_node() for value in node.output(0).get_target_inputs()]


def _ends(nodes: list[Any]) -> set[str]:
    """Return the kinds of operations in which constant tensors end that are scaled, shifted and shaped on the way."""
    found: set[str] = set()
    for _ in range(_STEPS):
        moved = [node for node in nodes if node.get_type_name() in _SCALED | _SHAPED]
        found.update(str(node.get_type_name()) for node in nodes if node.get_type_name() not in _SCALED | _SHAPED)
        nodes = [reader for node in moved for reader in _readers(node)]
        if not nodes:
            return found
    return set()


def version_of(node: Any) -> int:
    """Return the number of the operator set by which a node is defined, 0 for one without."""
    if _is_old_batch_norm(node):
        return 5  # but for the order of its inputs the same
    opset = str(node.get_type_info().version_id)
    number = opset.removeprefix("opset")
    return int(number) if number != opset and number.isdigit() else 0


def read_places(node: Any) -> Sequence[int]:
    """Return the inputs of a node in the order of the newest definition."""
    return (2, 0, 1, 3, 4) if _is_old_batch_norm(node) else range(node.get_input_size())


def attributes_of(node: Any) -> dict[str, Any]:
    """Return the attributes of a node: numbers, texts in lower case, and tuples of these."""
    try:
        given = node.get_attributes()
    except Exception:  # some operations that hold graphs have attributes that the runtime cannot show
        return {}
    return {str(key): value if key in _VERBATIM else _plain(value) for key, value in given.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_plain(part) for part in value)
    return value.lower() if isinstance(value, str) else value


def _is_old_batch_norm(node: Any) -> bool:
    return bool(node.get_type_name() == "BatchNormInference" and node.get_type_info().version_id == "opset1")

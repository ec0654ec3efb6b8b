"""What a model says of itself: its metadata, and the numbers that its weights are kept in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from pmcore.quoting import printable
from pmcore_openvino.graph import Graph

MOST = 1000
"""Entries of metadata that are kept."""
LONGEST = 2**16
"""Characters of a value that are kept whole; longer ones are left out."""
_DEEPEST = 8


def properties_of(model: Any) -> Mapping[str, str]:
    """Return the metadata (`rt_info`) of a model, the keys of nested entries joined by dots."""
    found: dict[str, str] = {}
    for key, value in _flat(model.get_rt_info(), "", 0):
        if len(found) >= MOST:
            break
        if len(value) <= LONGEST:
            found[key] = value
    return found


def weight_notes(graph: Graph) -> tuple[str, ...]:
    """Return what a reader must know of the weights: that they are kept in fewer bits than they are computed with."""
    counts: Counter[str] = Counter()
    quantised = 0
    for node in graph.nodes:
        kind = node.get_type_name()
        quantised += kind == "FakeQuantize"
        if kind == "Constant":
            counts[node.get_element_type().get_type_name()] += prod(node.get_output_shape(0))
    notes = []
    half = next((kind for kind in ("f16", "bf16") if counts[kind] > counts["f32"] + counts["f64"]), None)
    if half is not None:
        notes.append(f"The file keeps its weights in {'float16' if half == 'f16' else 'bfloat16'}.")
    if quantised:
        notes.append(
            f"The file is quantised ({quantised} FakeQuantize operations): it is audited as it is, rounding and all."
        )
    elif max((counts[kind] for kind in ("i8", "u8", "i4", "u4")), default=0) > counts["f32"] + counts["f16"]:
        notes.append("The file keeps its weights in 8 bits or fewer.")
    return tuple(notes)


def _flat(entries: Any, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for key in entries:
        value = entries[key]
        value = getattr(value, "value", value)
        name = f"{prefix}{printable(str(key))}"
        if isinstance(value, dict) or hasattr(value, "keys"):
            if depth < _DEEPEST:
                yield from _flat(value, f"{name}.", depth + 1)
        else:
            yield name, str(value)

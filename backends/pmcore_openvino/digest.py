"""A fingerprint of a model in memory: what it computes, and with which numbers."""

from __future__ import annotations

import hashlib
from typing import Any


def model_sha256(model: Any) -> str:
    """Return the SHA-256 of a model's operations, how they hang together, and the bytes of its constants."""
    digest = hashlib.sha256()
    numbers: dict[str, int] = {}
    for number, node in enumerate(model.get_ordered_ops()):
        numbers[node.get_name()] = number
        reads = [(numbers.get(value.get_node().get_name()), value.get_index()) for value in node.input_values()]
        attributes = sorted((str(key), str(value)) for key, value in node.get_attributes().items())
        digest.update(f"{node.get_type_name()} {reads} {attributes}\n".encode())
        if node.get_type_name() == "Constant":
            data = node.get_data()
            digest.update(f"{data.dtype} {data.shape}\n".encode())
            digest.update(data.tobytes())
    return digest.hexdigest()

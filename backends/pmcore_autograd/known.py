"""What of a graph is not known here, told before any work is done: every kind of operator, each with one node."""

from __future__ import annotations

from collections.abc import Iterable

from pmcore.quoting import printable
from pmcore_autograd.graph import Node
from pmcore_autograd.operators import find, table
from pmcore_autograd.unsupported import Unsupported

_SHOWN = 12


def refuse_unknown(nodes: Iterable[Node], where: str) -> None:
    """Refuse a graph of which some operator is not known.

    Raises
    ------
    Unsupported
        All kinds that are not known, each with its first node; or the first node with an attribute that is not known.
    """
    strange: dict[str, str] = {}
    for node in nodes:
        if node.kind not in table(node.dialect):
            domain = "" if node.dialect in ("onnx", "openvino") else f"{node.dialect}."
            name = node.name or next(filter(None, node.outputs), "")
            strange.setdefault(printable(f"{domain}{node.kind}", 60), f"'{printable(name, 60)}'")
    if strange:
        listed = ", ".join(f"{kind} ({name})" for kind, name in list(strange.items())[:_SHOWN])
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise Unsupported(f"{where}: no gradients here of {listed}{more}; signals that need none still work")
    for node in nodes:
        try:
            find(node)
        except Unsupported as error:
            raise Unsupported(f"{where}: {error}") from None

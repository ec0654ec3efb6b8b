"""What a network returns, however it is nested, as named leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

SINGLE = "output"


def leaves(returned: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves with their names: keys, fields, or "output0", "output1" where there are none of these."""
    if isinstance(returned, Mapping):
        for key, value in returned.items():
            yield from leaves(value, _joined(prefix, str(key)))
    elif isinstance(returned, tuple | list):
        fields = getattr(returned, "_fields", None)
        for place, value in enumerate(returned):
            own = fields[place] if fields is not None else f"{'' if prefix else SINGLE}{place}"
            one = len(returned) == 1 and fields is None and not prefix
            yield from leaves(value, SINGLE if one else _joined(prefix, own))
    elif dataclasses.is_dataclass(returned) and not isinstance(returned, type):
        for field in dataclasses.fields(returned):
            yield from leaves(getattr(returned, field.name), _joined(prefix, field.name))
    elif returned is not None:
        yield prefix or SINGLE, returned


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name

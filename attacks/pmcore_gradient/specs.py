"""Signals named with their options, as `Needs` holds them."""

from __future__ import annotations

from pmcore.errors import InputError
from pmcore.quoting import quoted

_MARKS = frozenset(",[](){}'\"")


def spec(signal: str, layers: tuple[str, ...] = (), **options: float | int | bool | None) -> str:
    """Return ``signal:layers=[a,b],option=value``; options that are None, and no layers, are left out."""
    words = [f"layers=[{','.join(layers)}]"] if layers else []
    words += [f"{name}={_text(value)}" for name, value in options.items() if value is not None]
    return f"{signal}:{','.join(words)}" if words else signal


def check_layers(attack: str, layers: tuple[str, ...]) -> None:
    """Refuse names of layers that cannot stand in a specification.

    Raises
    ------
    InputError
        A name holds a comma, a bracket or a quote.
    """
    for layer in layers:
        if not layer or _MARKS.intersection(layer):
            raise InputError(f"{attack}: layers: {quoted(layer)} - name this layer by its index (see pmcore inspect)")


def _text(value: float | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"

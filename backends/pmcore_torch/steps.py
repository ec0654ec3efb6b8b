"""One operation of a forward pass with what it reads, whatever the form of the program that it stands in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Step:
    """A value of a program: what an operator makes of others, a constant, or an input.

    Parameters
    ----------
    operator : its name in PyTorch, "" for constants and inputs
    arguments : in the order of the operator's schema; values as steps, the others as they are
    name : by which the program gives the value
    live : whether it depends on the records
    shape : None where it is not known, or in the places where it is open
    floating : whether it holds floating-point numbers
    constant : the tensor that it is, if it is one of the model's own
    trained : whether that is a parameter
    """

    operator: str
    arguments: tuple[Any, ...] = ()
    name: str = ""
    live: bool = False
    shape: tuple[int | None, ...] | None = None
    floating: bool = True
    constant: torch.Tensor | None = None
    trained: bool = False

    @property
    def sources(self) -> tuple[Step, ...]:
        """Return the values that it reads."""
        return tuple(_steps(self.arguments))

    def argument(self, place: int, default: Any = None) -> Any:
        """Return an argument, or a default where the operator has no such."""
        return self.arguments[place] if place < len(self.arguments) else default


def ordered(schema: Any, given: Sequence[Any], named: dict[str, Any]) -> tuple[Any, ...]:
    """Return the arguments of a call in the order of its operator's schema, defaults filled in."""
    if schema is None:
        return (*given, *named.values())
    rest = schema.arguments[len(given) :]
    return (*given, *(named.get(argument.name, argument.default_value) for argument in rest))


def ancestors(step: Step) -> list[Step]:
    """Return a value and all that it is made of, each once."""
    seen: dict[int, Step] = {}
    waiting = [step]
    while waiting:
        found = waiting.pop()
        if id(found) not in seen:
            seen[id(found)] = found
            waiting.extend(found.sources)
    return list(seen.values())


def _steps(arguments: Any) -> Iterator[Step]:
    for argument in arguments:
        if isinstance(argument, Step):
            yield argument
        elif isinstance(argument, tuple | list):
            yield from _steps(argument)

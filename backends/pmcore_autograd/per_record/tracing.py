"""Watches the operators of a forward pass: all of them once, then only those that use a parameter."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmcore_autograd.per_record.kinds import Kind
from pmcore_autograd.per_record.views import Parameters, memory_of

if TYPE_CHECKING:
    import torch

_UNCOUNTED = "detach"
"""Run by torch itself where somebody else holds a tensor: their number differs from one time to the next."""


class Diverged(Exception):
    """A forward pass did something else than the one by which it was planned."""


@dataclass
class Call:
    """One operator that ran.

    Parameters
    ----------
    operator : the overload of `torch.ops`
    given, options : its arguments by position and by name
    results : the tensors that it returned
    shape : of the first of them, which may be changed later in place
    edge : where the gradient at the first of them passes in the graph of autograd; None where none does
    """

    operator: Any
    given: tuple[Any, ...]
    options: dict[str, Any]
    results: list[torch.Tensor]
    shape: tuple[int, ...]
    edge: Any = None

    @property
    def named_tensors(self) -> list[torch.Tensor]:
        """Return the tensors among the arguments by name."""
        import torch

        return [value for value in self.options.values() if isinstance(value, torch.Tensor)]


@dataclass
class Kept:
    """What was kept of one operator that uses parameters.

    Parameters
    ----------
    edge : where the gradient at its result passes; None where none does
    arguments : of each kind of use, what it needs, and the versions of these tensors
    operands : of each use, the operand with its own history
    """

    edge: Any
    arguments: list[tuple[Any, ...]]
    versions: list[list[int]]
    operands: list[torch.Tensor]

    def check(self) -> None:
        """Raise `Diverged` if what was kept has been overwritten since."""
        for arguments, versions in zip(self.arguments, self.versions, strict=True):
            if _versions(arguments) != versions:
                raise Diverged("an input of an operator was overwritten")


@dataclass(frozen=True)
class Step:
    """An operator that is given parameters, or what is computed of them alone.

    Parameters
    ----------
    computes : whether its results, too, are computed of parameters alone
    """

    operator: Any
    computes: bool


@dataclass(frozen=True)
class Asked:
    """One use of a parameter, as the watcher must know it: how, and in which argument."""

    kind: Kind
    position: int
    place: int | None

    def of(self, given: tuple[Any, ...]) -> torch.Tensor:
        """Return the operand among the arguments."""
        found: torch.Tensor = given[self.position] if self.place is None else given[self.position][self.place]
        return found


@contextlib.contextmanager
def tracing() -> Iterator[list[Call]]:
    """Note every operator of the block, and keep all that it read and made alive."""
    calls: list[Call] = []

    def note(operator: Any, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if calls:
            calls[-1].edge = _edge(calls[-1].results)
        returned = operator(*given, **options)
        results = _tensors(returned)
        calls.append(Call(operator, given, options, results, tuple(results[0].shape) if results else ()))
        return returned

    with _watching(note):
        yield calls
    if calls:
        calls[-1].edge = _edge(calls[-1].results)


@contextlib.contextmanager
def keeping(
    parameters: Parameters, steps: Sequence[Step], asked: Mapping[int, Sequence[Asked]]
) -> Iterator[dict[int, Kept]]:
    """Keep what the uses of parameters need, while the block runs.

    Parameters
    ----------
    steps : that the block takes, in order; whatever it does besides does not matter
    asked : number of a step -> the uses of parameters in it

    Raises
    ------
    Diverged
        The block takes others.
    """
    kept: dict[int, Kept] = {}
    computed: dict[int, torch.Tensor] = {}
    taken = 0
    open_ended: tuple[Kept, list[torch.Tensor]] | None = None

    def close() -> None:
        """Note where gradients pass: only once an operator is over, its result has a history."""
        nonlocal open_ended
        if open_ended is not None:
            open_ended[0].edge = _edge(open_ended[1])
            open_ended = None

    def keep(operator: Any, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        nonlocal taken, open_ended
        close()
        tensors = [tensor for _, _, tensor in tensors_of(given)]
        if not any(memory_of(tensor) in computed or parameters.touched(tensor) for tensor in tensors):
            return operator(*given, **options)
        if taken >= len(steps) or operator is not steps[taken].operator:
            raise Diverged(f"the network ran {operator} out of turn")
        uses = asked.get(taken, ())
        if uses:
            arguments = [use.kind.kept(given) for use in uses]
            operands = [use.of(given) for use in uses]
            kept[taken] = Kept(None, arguments, [_versions(some) for some in arguments], operands)
        returned = operator(*given, **options)
        if uses:
            open_ended = kept[taken], _tensors(returned)
        if steps[taken].computes:
            computed.update((memory_of(result), result) for result in _tensors(returned))
        taken += 1
        return returned

    with _watching(keep):
        yield kept
    close()
    if taken != len(steps):
        raise Diverged("the network took fewer steps than before")


@contextlib.contextmanager
def seeing(wanted: frozenset[int]) -> Iterator[dict[int, torch.Tensor]]:
    """Copy the results of some operators of the block, by their numbers."""
    seen: dict[int, torch.Tensor] = {}
    done = 0

    def see(operator: Any, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        nonlocal done
        returned = operator(*given, **options)
        if done in wanted:
            seen[done] = _tensors(returned)[0].detach().clone()
        done += 1
        return returned

    with _watching(see):
        yield seen


@contextlib.contextmanager
def _watching(run: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> Iterator[None]:
    """Have a function run every operator of the block, below autograd."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
            if func.overloadpacket.__name__ == _UNCOUNTED:
                return func(*args, **(kwargs or {}))
            return run(func, args, kwargs or {})

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Do without the compiler's guard: to import the compiler takes two seconds, and nothing is compiled."""
            return False

    with Watch():  # type: ignore[no-untyped-call]
        yield


def tensors_of(given: Sequence[Any]) -> Iterator[tuple[int, int | None, torch.Tensor]]:
    """Return the tensors among arguments by position, with their place where an argument is a list of them."""
    import torch

    for position, value in enumerate(given):
        if isinstance(value, torch.Tensor):
            yield position, None, value
        elif isinstance(value, list | tuple):
            yield from ((position, place, v) for place, v in enumerate(value) if isinstance(v, torch.Tensor))


def _edge(results: list[torch.Tensor]) -> Any:
    from torch.autograd.graph import get_gradient_edge

    return get_gradient_edge(results[0]) if results and results[0].requires_grad else None


def _tensors(returned: Any) -> list[torch.Tensor]:
    import torch

    several = returned if isinstance(returned, list | tuple) else [returned]
    return [value for value in several if isinstance(value, torch.Tensor)]


def _versions(arguments: tuple[Any, ...]) -> list[int]:
    import torch

    return [value._version for value in arguments if isinstance(value, torch.Tensor)]

"""The operations of a module in memory, noted while it is asked; and one of them caught at work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from pmcore_torch.last_layer import PRODUCTS, same_memory
from pmcore_torch.steps import Step, ordered

if TYPE_CHECKING:
    import torch


class Trace:
    """Which operations made the tensors of a forward pass; it keeps no tensor but the module's own."""

    def __init__(self, made: MutableMapping[torch.Tensor, Step]) -> None:
        self._made = made

    def step_of(self, tensor: torch.Tensor) -> Step | None:
        """Return the step that made a tensor, or None for one that nothing was seen to make."""
        return self._made.get(tensor)

    def enter(self, tensor: torch.Tensor) -> None:
        """Note a tensor that holds records."""
        self._made[tensor] = Step("", (), "", True, tuple(tensor.shape), tensor.is_floating_point())

    def note(self, operator: str, arguments: tuple[Any, ...], returned: Any) -> None:
        """Note what an operator made."""
        import torch

        read = self._read(arguments)
        live = any(source.live for source in Step(operator, read).sources)
        for tensor in returned if isinstance(returned, tuple | list) else (returned,):
            if isinstance(tensor, torch.Tensor):
                shape = tuple(tensor.shape)
                self._made[tensor] = Step(operator, read, "", live, shape, tensor.is_floating_point())

    def _read(self, value: Any) -> Any:
        import torch

        if isinstance(value, tuple | list):
            return tuple(map(self._read, value))
        if not isinstance(value, torch.Tensor):
            return value
        found = self._made.get(value)
        if found is None:
            trained = isinstance(value, torch.nn.Parameter)
            found = Step("", (), "", False, tuple(value.shape), value.is_floating_point(), value, trained)
            if trained:
                self._made[value] = found
        return found


class Catch:
    """What entered and left the operation that multiplies by a weight."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.given: torch.Tensor | None = None
        self.made: torch.Tensor | None = None
        self.times = 0
        self._weight = weight

    def before(self, operator: str, arguments: tuple[Any, ...]) -> bool:
        """Keep a copy of what enters an operation, if it multiplies by the weight; tell whether it does."""
        places = PRODUCTS.get(operator)
        if places is None or not same_memory(arguments[places[1]], self._weight):
            return False
        self.given = arguments[places[0]].clone()
        self.times += 1
        return True


@contextlib.contextmanager
def tracing(inputs: list[torch.Tensor]) -> Iterator[Trace]:
    """Note every operator of the block; `inputs` are the records."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.weak import WeakIdKeyDictionary

    trace = Trace(WeakIdKeyDictionary())
    for tensor in inputs:
        trace.enter(tensor)

    class Note(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
            returned = func(*args, **(kwargs or {}))
            trace.note(func.overloadpacket.__name__, ordered(func._schema, args, kwargs or {}), returned)
            return returned

    with Note():  # type: ignore[no-untyped-call]
        yield trace


@contextlib.contextmanager
def catching(weight: torch.Tensor) -> Iterator[Catch]:
    """Catch the operation of the block that multiplies by a weight."""
    from torch.utils._python_dispatch import TorchDispatchMode

    catch = Catch(weight)

    class Note(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
            mine = catch.before(func.overloadpacket.__name__, ordered(func._schema, args, kwargs or {}))
            returned = func(*args, **(kwargs or {}))
            if mine:
                catch.made = returned.clone()
            return returned

    with Note():  # type: ignore[no-untyped-call]
        yield catch

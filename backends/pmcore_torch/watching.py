"""Watches the operators of a forward pass for the activation that an output comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from pmcore.heads import Ending
from pmcore_torch.endings import ENDINGS, PASSING, Ended

if TYPE_CHECKING:
    import torch


class Sight:
    """What a forward pass was seen to do: which of its tensors come from an activation, and what entered that."""

    def __init__(self, ended: MutableMapping[torch.Tensor, Ended[torch.Tensor]]) -> None:
        self._ended = ended

    def ending_of(self, output: torch.Tensor) -> Ended[torch.Tensor] | None:
        """Return what was before the activation that an output comes from, or None."""
        return self._ended.get(output)

    def before(self, name: str, given: tuple[Any, ...]) -> torch.Tensor | None:
        """Return what enters an operator, copied if it is about to be overwritten; None for what is no activation."""
        if name not in ENDINGS:
            return None
        found: torch.Tensor = given[0].clone() if name.endswith("_") else given[0]
        return found

    def after(self, name: str, given: tuple[Any, ...], before: torch.Tensor | None, returned: Any) -> None:
        """Note what an operator returned."""
        if before is not None:
            self._ended[returned] = Ended(before, ENDINGS[name])
            return
        follows = name in PASSING or name in ("exp", "log")
        found = self._ended.get(given[0]) if follows and given and _is_tensor(given[0]) else None
        if found is None or not _is_tensor(returned):
            return
        if name in PASSING:
            self._ended[returned] = found
        elif (name, found.ending) == ("exp", Ending.LOG_SOFTMAX):
            self._ended[returned] = Ended(found.before, Ending.SOFTMAX)
        elif (name, found.ending) == ("log", Ending.SOFTMAX):
            self._ended[returned] = Ended(found.before, Ending.LOG_SOFTMAX)


@contextlib.contextmanager
def watching() -> Iterator[Sight]:
    """Watch every operator of the block; tensors that the network lets go of are not kept alive."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.weak import WeakIdKeyDictionary

    sight = Sight(WeakIdKeyDictionary())

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__
            before = sight.before(name, args)
            returned = func(*args, **(kwargs or {}))
            sight.after(name, args, before, returned)
            return returned

    with Watch():  # type: ignore[no-untyped-call]
        yield sight


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)

"""How a record as stored becomes a record as the model wants it, judged by the two shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from pmcore.errors import InputError
from pmcore.preprocessing import Layout

Wanted = Sequence[int | None]


@dataclass(frozen=True)
class Fit:
    """Moves that make shapes meet.

    Parameters
    ----------
    axes : order of the axes of a batch, or None
    shape : shape of a record after a channel axis of one was put in or taken out, or None
    flatten : whether the record becomes one row
    words : the move in words, "" for none
    result : shape of a record before flattening
    """

    axes: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    flatten: bool = False
    words: str = ""
    result: tuple[int, ...] = ()


def fit(
    stored: tuple[int, ...],
    wanted: Wanted,
    layout: Layout | None,
    flatten: bool | None,
    where: str,
    model: str,
) -> Fit:
    """Return the moves from a stored record to a wanted one.

    Parameters
    ----------
    stored : shape of a record in the file
    wanted : shape of a record in the model, None for sizes that it leaves open
    layout, flatten : as given, or None to judge by the shapes alone
    where, model : "members.npz: x" and the model's input in words, for messages

    Raises
    ------
    InputError
        No move fits, or several do and nothing tells which.
    """
    _check_channels(stored, layout, where)
    asks = f"{where} has shape {_show(stored)} per record - the model wants {model}"
    if flatten or (flatten is None and len(wanted) == 1 and len(stored) > 1):
        return _flat(stored, wanted, layout, asks)
    fits = [move for move in _moves(stored, layout) if _matches(move.result, wanted)]
    if not fits:
        raise InputError(f"{asks}{_remedy(stored, wanted)}")
    if len({(move.axes, move.shape) for move in fits}) > 1 and fits[0].words:
        raise InputError(f"{asks}: {' or '.join(move.words for move in fits)}? - give the layout, nchw or nhwc")
    return fits[0]


def as_told(stored: tuple[int, ...], layout: Layout | None, flatten: bool, where: str) -> Fit:
    """Return the moves that are asked for, for a model that does not say which shape it wants.

    Raises
    ------
    InputError
        A layout is given for records without channels.
    """
    _check_channels(stored, layout, where)
    moves = [] if layout is None else list(_moves(stored, layout))
    # Pictures of two axes have no channels yet: they get an axis for them.
    chosen = next((move for move in moves if len(move.result) >= 3), Fit(result=stored))
    return replace(chosen, flatten=True) if flatten else chosen


def _check_channels(stored: tuple[int, ...], layout: Layout | None, where: str) -> None:
    if layout in (Layout.NCHW, Layout.NHWC) and len(stored) < 2:
        raise InputError(f"{where} has shape {_show(stored)} per record and so no channels - leave out the layout")


def _flat(stored: tuple[int, ...], wanted: Wanted, layout: Layout | None, asks: str) -> Fit:
    if not _matches((prod(stored),), wanted):
        raise InputError(f"{asks}: it has {prod(stored)} values{_remedy(stored, wanted)}")
    moved = [move for move in _moves(stored, layout) if move.axes] if layout is not None else []
    first = moved[0] if moved else Fit(result=stored)
    return Fit(first.axes, None, True, first.words, first.result)


def _moves(stored: tuple[int, ...], layout: Layout | None) -> Iterator[Fit]:
    """Yield the possible moves, the least first; a layout that is given leaves only those that reach it."""
    rank = len(stored)
    first_last = (0, *range(2, rank + 1), 1)
    last_first = (0, rank, *range(1, rank))
    in_place = {Layout.NCHW: rank >= 3 and stored[0] <= 4, Layout.NHWC: rank >= 3 and stored[-1] <= 4}
    if layout in (None, Layout.AS_IS) or in_place[layout] or rank < 3:
        yield Fit(result=stored)
    if layout is Layout.AS_IS:
        return
    if rank >= 3 and layout in (None, Layout.NCHW):
        yield Fit(last_first, words="NHWC to NCHW", result=(stored[-1], *stored[:-1]))
    if rank >= 3 and layout in (None, Layout.NHWC):
        yield Fit(first_last, words="NCHW to NHWC", result=(*stored[1:], stored[0]))
    if layout in (None, Layout.NCHW):
        yield _reshaped((1, *stored), "channel axis put first")
    if layout in (None, Layout.NHWC):
        yield _reshaped((*stored, 1), "channel axis put last")
    if layout is None and rank and 1 in (stored[0], stored[-1]):
        yield _reshaped(stored[1:] if stored[0] == 1 else stored[:-1], "channel axis of 1 left out")


def _reshaped(shape: tuple[int, ...], words: str) -> Fit:
    return Fit(shape=shape, words=words, result=shape)


def _matches(shape: tuple[int, ...], wanted: Wanted) -> bool:
    return len(shape) == len(wanted) and all(
        want is None or want == size for size, want in zip(shape, wanted, strict=True)
    )


def _remedy(stored: tuple[int, ...], wanted: Wanted) -> str:
    sizes = [size for size in wanted if size is not None]
    if len(stored) == len(wanted) == 1:
        return f": {sizes[0]} values per record, not {stored[0]} - are these the records of this model?"
    if len(sizes) == len(wanted) and prod(sizes) == prod(stored):
        return f": as many values - reshape the records to {_show(wanted)}"
    return " - give records of that shape"


def _show(shape: Wanted) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in shape) + "]"

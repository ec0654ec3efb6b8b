"""Arrays of .npy files as memory maps that give pages back, so that a walk over gigabytes stays small."""

from __future__ import annotations

import io
import math
import mmap
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pmcore.errors import InputError
from pmcore.outputs import Array
from pmcore.quoting import quoted

WINDOW = 2**24
"""Bytes of a file that are resident at a time."""
LONGEST_HEAD = 10_000
"""Characters of the head of an .npy file; that of an array of numbers has about a hundred."""
MOST_AXES = 32


@dataclass(frozen=True)
class Header:
    """What the head of an .npy file says about the array that follows."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        """Return the size of the array in bytes."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


def read_header(stream: IO[bytes], where: str) -> Header:
    """Read the head of an .npy stream and leave the stream at the first byte of the array.

    Parameters
    ----------
    where : what is read, for messages: ``members.npz: x``

    Raises
    ------
    InputError
        The head is damaged, or describes objects, records with named fields, or sizes that no array has.
    """
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise InputError(f"{where}: .npy version {version[0]}.{version[1]} - store plain numbers")
        length = stream.read(2 if version == (1, 0) else 4)
        head = io.BytesIO(length + stream.read(min(int.from_bytes(length, "little"), LONGEST_HEAD + 1)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the parser, about text that is refused below or is old
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran_order, dtype = read(head, max_header_size=LONGEST_HEAD)
    except (ValueError, SyntaxError, TokenError, TypeError, RecursionError, MemoryError):
        raise InputError(f"{where}: not a whole .npy array - write it again with numpy.save") from None
    if dtype.hasobject:
        raise InputError(f"{where}: an array of Python objects, which would have to be unpickled - store plain numbers")
    if dtype.names is not None or dtype.subdtype is not None:
        raise InputError(f"{where}: an array with named fields - store plain numbers, one array per input")
    _check_sizes(shape, dtype, where)
    return Header(shape, fortran_order, dtype)


def _check_sizes(shape: tuple[int, ...], dtype: np.dtype[np.generic], where: str) -> None:
    """Refuse what numpy would answer with an error of its own, or with all the memory there is."""
    again = "write it again with numpy.save"
    if len(shape) > MOST_AXES:
        raise InputError(f"{where}: an array of {len(shape)} axes, at most {MOST_AXES} are read - {again}")
    shown = quoted(list(shape))
    if any(isinstance(size, bool) or not 0 <= size < 2**63 for size in shape):
        raise InputError(f"{where}: an array of shape {shown}, which none can have - {again}")
    if dtype.itemsize == 0:
        raise InputError(f"{where}: an array of values without bytes ({dtype}) - store plain numbers")
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize >= 2**63:  # numpy counts a size of 0 as 1, too
        raise InputError(f"{where}: an array of shape {shown}, larger than any memory - {again}")


def map_array(path: Path) -> Array:
    """Return the array of an .npy file, read-only and memory-mapped, in the order of the file.

    Raises
    ------
    InputError
        The file is damaged, shorter than it says, or holds objects.
    """
    with path.open("rb") as stream:
        header = read_header(stream, str(path))
        offset, size = stream.tell(), os.fstat(stream.fileno()).st_size
        if size - offset < header.nbytes:
            raise InputError(f"{path}: cut short, {size - offset} of {header.nbytes} bytes are there - copy it again")
        if header.nbytes == 0:
            return np.empty(header.shape, header.dtype)
        memory = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return np.ndarray(
        header.shape,
        header.dtype,
        buffer=memory,
        offset=offset,
        order="F" if header.fortran_order else "C",
    )


def take(array: Array, rows: slice | NDArray[np.int64]) -> Array:
    """Return some rows: a view where a slice of an array in C order is asked for.

    Rows of a mapped array in Fortran order lie scattered over the whole file: they are copied column by column,
    and the pages given back in between.
    """
    if array.flags.c_contiguous or _mapping(array) is None:
        chosen: Array = array[rows]
        return chosen
    count = len(range(*rows.indices(len(array)))) if isinstance(rows, slice) else len(rows)
    result = np.empty((count, *array.shape[1:]), array.dtype)
    step = max(1, WINDOW // array.strides[-1])
    for start in range(0, array.shape[-1], step):
        result[..., start : start + step] = array[rows, ..., start : start + step]
        release(array)
    return result


def release(array: Array) -> None:
    """Give the pages of a mapped array, or of a view of one, back to the system.

    They are read again from the file when touched again, so the values stay what they are. Does nothing for
    an array in ordinary memory, and on systems without the call.
    """
    memory = _mapping(array)
    if memory is not None and hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED)


def _mapping(array: Array) -> mmap.mmap | None:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None

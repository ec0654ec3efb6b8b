"""Records from numpy files, .npz and .npy; and, under the same roof, from tables of columns."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.lib import format as npy

from pmcore.columns import CsvReader, ParquetReader
from pmcore.errors import InputError
from pmcore.interfaces import Reader, Table
from pmcore.mapped import WINDOW, Header, map_array, read_header
from pmcore.memory import available_memory
from pmcore.outputs import Array, Inputs
from pmcore.tables import check_arrays, checked_table, choose_inputs, look

__all__ = ["CsvReader", "NpyReader", "NpzReader", "ParquetReader"]

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError)


class NpzReader(Reader):
    """Several arrays in one archive, as `numpy.savez` writes it; nothing in it is ever unpickled."""

    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    def read(self, path: Path, x_keys: Sequence[str], y_key: str) -> Table:
        """Read the named arrays into memory; without names "x", or else every array but the label."""
        head = look(path)
        if head.startswith(npy.MAGIC_PREFIX):
            raise InputError(f"{path}: a single .npy array, not an .npz archive - name it .npy")
        if not head.startswith(b"PK"):
            raise InputError(f"{path}: not an .npz archive - write it with numpy.savez(path, x=…, y=…)")
        try:
            with zipfile.ZipFile(path) as archive:
                members = {n.removesuffix(".npy"): n for n in archive.namelist() if n.endswith(".npy")}
                if not members:
                    raise InputError(f"{path}: a zip archive without arrays - write it with numpy.savez")
                keys = choose_inputs(path, x_keys, y_key, list(members), "array")
                heads = {key: _head(archive, members[key], f"{path}: {key}") for key in (*keys, y_key)}
                check_arrays(path, {key: heads[key] for key in keys}, heads[y_key], y_key)
                _check_memory(path, sum(head.nbytes for head in heads.values()))
                arrays = {key: _unpack(archive, members[key], head) for key, head in heads.items()}
        except MemoryError:
            raise InputError(f"{path}: does not fit into memory - store .npy files, they are mapped") from None
        except _DAMAGE:
            raise InputError(f"{path}: the archive is damaged or cut short - copy or download it again") from None
        labels = arrays.pop(y_key)
        return checked_table(path, arrays, labels, y_key, (path,))

    @classmethod
    def write(cls, path: Path, inputs: Inputs, labels: Array) -> None:
        """Write an archive with an array for each input, and "y"."""
        with path.open("wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for key, array in {**inputs, "y": labels}.items():
                with archive.open(f"{key}.npy", "w") as member:
                    npy.write_array(member, array, allow_pickle=False)


class NpyReader(Reader):
    """One array per file, memory-mapped: a folder with x.npy and y.npy, or a pair ``x.npy,y.npy``."""

    suffixes: ClassVar[tuple[str, ...]] = (".npy",)

    def read(self, path: Path, x_keys: Sequence[str], y_key: str) -> Table:
        """Map the named arrays of a folder, or a pair of files: the input first, then the label."""
        if path.is_dir():
            present = {entry.stem: entry for entry in sorted(path.glob("*.npy"))}
            keys = choose_inputs(path, x_keys, y_key, list(present), "array")
            found = {key: present[key] for key in keys}
            label = present[y_key]
        elif "," in str(path) and not path.exists():
            found, label = self._pair(path, x_keys)
        else:
            look(path)
            raise InputError(
                f"{path}: one array alone - give a pair x.npy,y.npy or a folder with x.npy and {y_key}.npy"
            )
        inputs = {key: _map(file) for key, file in found.items()}
        return checked_table(path, inputs, _map(label), y_key, (*found.values(), label))

    @staticmethod
    def _pair(path: Path, x_keys: Sequence[str]) -> tuple[dict[str, Path], Path]:
        parts = [part.strip() for part in str(path).split(",")]
        if len(parts) != 2 or not all(parts):
            raise InputError(f"{path}: give two files, x.npy,y.npy; several inputs go into a folder")
        if len(x_keys) > 1:
            raise InputError(f"{path}: a pair holds one input, not {', '.join(x_keys)} - put them into a folder")
        return {x_keys[0] if x_keys else "x": Path(parts[0])}, Path(parts[1])

    @classmethod
    def write(cls, path: Path, inputs: Inputs, labels: Array) -> None:
        """Write a folder with an .npy file for each input, and y.npy."""
        path.mkdir()
        for key, array in {**inputs, "y": labels}.items():
            np.save(path / f"{key}.npy", array, allow_pickle=False)


def _head(archive: zipfile.ZipFile, member: str, where: str) -> Header:
    """Return what the head of an array says, which is checked before the array is inflated."""
    entry = archive.getinfo(member)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{where}: compressed as numpy does not - write it with numpy.savez_compressed")
    with archive.open(member) as stream:
        header = read_header(stream, where)
        rest = entry.file_size - stream.tell()
    if header.nbytes != rest:
        raise InputError(f"{where}: holds {rest} bytes where its head says {header.nbytes} - write it again")
    return header


def _unpack(archive: zipfile.ZipFile, member: str, header: Header) -> Array:
    memory = np.empty(header.nbytes, np.uint8)
    with archive.open(member) as stream:
        read_header(stream, member)
        start = 0
        while piece := stream.read(WINDOW):  # its last, which is empty, compares the checksum
            memory[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
            start += len(piece)
    if start != header.nbytes:
        raise EOFError
    array: Array = memory.view(header.dtype)
    return array.reshape(header.shape[::-1]).T if header.fortran_order else array.reshape(header.shape)


def _check_memory(path: Path, needed: int) -> None:
    """Refuse to inflate what would end the process; a small archive can hold very much."""
    available = available_memory()
    if available is not None and needed > available:
        sizes = f"its arrays take {needed / 1e9:.1f} GB, {available / 1e9:.1f} GB of memory are free"
        raise InputError(f"{path}: {sizes} - store .npy files, they are mapped")


def _map(path: Path) -> Array:
    head = look(path)
    if head.startswith(b"PK"):
        raise InputError(f"{path}: an .npz archive, not a single array - name it .npz")
    if not head.startswith(npy.MAGIC_PREFIX):
        raise InputError(f"{path}: not an .npy array - write it with numpy.save")
    return map_array(path)

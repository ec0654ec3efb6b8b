"""Networks in `.npz` files: `numpy_backend` (the version of the format, first), `activation`, w0, b0, w1, b1, ..."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pmcore.errors import InputError
from pmcore.interfaces import Array
from pmcore.quoting import quoted

from numpy_backend.network import Network

MARKER = "numpy_backend"
"""The first array of a file: it tells a network from a file of records."""
VERSION = 1
ACTIVATIONS = ("none", "softmax", "sigmoid")
_START = b"PK\x03\x04"
_NAME_AT = 30
"""Where the name of the first member stands in a zip archive."""


@dataclass(frozen=True)
class Stored:
    """What a file holds: a network, and the activation that follows its last layer."""

    network: Network
    activation: str


def looks_like_ours(head: bytes) -> bool:
    """Tell a network by the first bytes of its file; nothing is unpacked."""
    return head.startswith(_START) and head[_NAME_AT:].startswith(f"{MARKER}.npy".encode())


def write_network(path: Path, weights: Sequence[Array], biases: Sequence[Array], activation: str = "none") -> None:
    """Write a network; `activation` is what the deployed model ends in: none, softmax or sigmoid."""
    arrays: dict[str, Array] = {MARKER: np.array(VERSION), "activation": np.array(activation)}
    for depth, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        arrays |= {f"w{depth}": np.asarray(weight), f"b{depth}": np.asarray(bias)}
    with path.open("wb") as file:  # np.savez would add a suffix to a name without one
        np.savez(file, allow_pickle=False, **arrays)


def read_network(path: Path) -> Stored:
    """Read a network; nothing in the file is run.

    Raises
    ------
    InputError
        The file is missing, damaged, packed, or holds something else.
    """
    arrays = _read_arrays(path)
    version = arrays.get(MARKER)
    if version is None:
        raise InputError(f"{path}: has no array {MARKER!r}, so it holds no network; write one with numpy_backend")
    if version.shape != () or version != VERSION:
        raise InputError(f"{path}: is of version {quoted(version.tolist())}, not {VERSION}; update numpy-backend")
    activation = str(arrays.get("activation", np.array("none")))
    if activation not in ACTIVATIONS:
        raise InputError(f"{path}: activation: {quoted(activation)} is none of {', '.join(ACTIVATIONS)}")
    weights = [arrays.get(f"w{depth}") for depth in range(len(arrays))]
    biases = [arrays.get(f"b{depth}") for depth in range(len(arrays))]
    kept = [(w, b) for w, b in zip(weights, biases, strict=True) if w is not None and b is not None]
    if not kept or len(arrays.keys() - {MARKER, "activation"}) != 2 * len(kept):
        raise InputError(f"{path}: must hold w0, b0, w1, b1 and so on, and holds {quoted(sorted(arrays))}")
    network = Network(tuple(w for w, _ in kept), tuple(b for _, b in kept))
    _check_shapes(path, network)
    return Stored(network, activation)


def _read_arrays(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise InputError(f"{path}: is packed; write it with numpy.savez, not savez_compressed")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path of the model") from None
    except InputError:
        raise
    except Exception as error:  # numpy and zipfile meet damaged files with whatever their parts raise
        reason = re.sub(r"\s+", " ", str(error))[:100]
        raise InputError(f"{path}: is damaged, or no network ({quoted(reason)}); write or copy it again") from None


def _check_shapes(path: Path, network: Network) -> None:
    """Refuse arrays that are no chain of layers in float32 or float64."""
    width: int | None = None
    for depth, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        if {weight.dtype, bias.dtype} - {np.dtype("float32"), np.dtype("float64")} or weight.dtype != network.dtype:
            raise InputError(f"{path}: w{depth} and b{depth} are of {weight.dtype}, {bias.dtype}; give one float type")
        fits = weight.ndim == 2 and bias.shape == weight.shape[1:] and weight.size > 0
        if not fits or (width is not None and len(weight) != width):
            raise InputError(
                f"{path}: w{depth} of shape {weight.shape} and b{depth} of shape {bias.shape} do not fit "
                f"{'each other' if width is None else f'the {width} outputs before them'}; write the network again"
            )
        width = weight.shape[1]

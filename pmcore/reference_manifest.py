"""The manifest of a folder of reference models: what was trained, on which records, from what; no record's contents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pmcore.data import Digests
from pmcore.errors import InputError

MANIFEST = "references.json"
MEMBERSHIP = "membership.npz"
"""Arrays ``membership`` (n, r) bool and ``digests`` (n, 2) uint64, a row for each record of the pool."""


Hashed = Literal["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32"]
"""A type in which a column of records is hashed."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PoolPart(_Part):
    """One file of the pool, and how many records it holds; in the order of the rows of the membership matrix."""

    path: str
    sha256: str
    n: int


class TargetPart(_Part):
    """The model whose architecture was retrained, and how well it knows its members and the rest of the pool.

    Accuracies are null for a regression; figures on members, or on others, where none of these were given.
    """

    path: str
    sha256: str | None
    backend: str
    loss_members: float | None
    accuracy_members: float | None
    accuracy_others: float | None


class TrainerPart(_Part):
    """The plugin that trained, with all its options as they were settled."""

    name: str
    distribution: str
    version: str
    options: dict[str, Any]


class ReferencePart(_Part):
    """One reference: its file, and what it reached on the records that trained it and on the rest of the pool."""

    file: str
    sha256: str
    seed: int
    records: int
    epochs: int | None
    loss: float | None
    accuracy_in: float | None
    accuracy_out: float | None
    loading: dict[str, str] = Field(default_factory=dict)


class Manifest(_Part):
    """Everything that tells a set of references apart; the same for the same inputs, options and seed."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    target: TargetPart
    pool: list[PoolPart]
    types: list[Hashed] = Field(description="types in which records were hashed, by sorted input and last the label")
    assign: Literal["in-out", "out-only"]
    seed: int
    epochs: int | None = Field(description="null where training ended at the target's own accuracy and loss")
    trainer: TrainerPart
    membership_sha256: str
    models: list[ReferencePart] = Field(min_length=1)

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


@dataclass(frozen=True, eq=False)
class MembershipTable:
    """Which records of the pool trained which reference.

    Parameters
    ----------
    membership : (n, r) bool
    digests : (n, 2) hashes of the records, or None where rows follow the order of the audited files
    """

    membership: NDArray[np.bool_]
    digests: Digests | None


def manifest_text(manifest: Manifest) -> bytes:
    """Return the manifest as it is written."""
    return (manifest.model_dump_json(by_alias=True, indent=2) + "\n").encode()


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder.

    Raises
    ------
    InputError
        There is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{folder}: holds no {MANIFEST} - make references with `pmcore references`") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}) - check its permissions") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path}: {where}: {first['msg']} - make it anew with `pmcore references`") from None


def read_membership(path: Path) -> MembershipTable:
    """Return a membership matrix from an .npz (``membership``, and ``digests`` if there are some) or .npy file.

    Raises
    ------
    InputError
        The file is missing, damaged, or holds no such matrix.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"membership": loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file - give the membership matrix of the references") from None
    except Exception as error:  # numpy fails in many ways on foreign files
        raise InputError(f"{path}: cannot be read as a membership matrix ({error}) - give an .npz or .npy") from None
    if "membership" not in arrays:
        raise InputError(f"{path}: holds no array 'membership', but {', '.join(arrays) or 'nothing'} - name it so")
    membership = arrays["membership"]
    if membership.ndim != 2 or membership.dtype.kind not in "biu" or not np.isin(membership, (0, 1)).all():
        raise InputError(
            f"{path}: membership: {membership.dtype} {membership.shape} - give 0 and 1, a row per record and a column "
            "per reference"
        )
    digests = arrays.get("digests")
    if digests is not None and (digests.shape != (len(membership), 2) or digests.dtype != np.uint64):
        raise InputError(f"{path}: digests: {digests.dtype} {digests.shape} - give uint64 ({len(membership)}, 2)")
    return MembershipTable(membership.astype(np.bool_), digests)

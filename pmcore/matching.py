"""Which records two audits have in common: the folders that audits left are read, and their rows matched."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pmcore import statistics
from pmcore.errors import AuditError, Complaints, ExitCode, InputError
from pmcore.intervals import Counts
from pmcore.outputs import Array, Floats
from pmcore.reports.json_report import FILE_NAME, load_report
from pmcore.reports.results import invalid_reasons
from pmcore.schema import AuditReport, RolePart

SCORES = "scores.npz"
MatchedBy = Literal["position in the same file", "digest of the record"]
_DIGEST = "digest"


class InvalidAudit(AuditError):
    """An audit whose figures do not hold: nothing may be held against it."""

    exit_code = ExitCode.INVALID


@dataclass(frozen=True, eq=False)
class StoredAudit:
    """What an audit left in its folder.

    Parameters
    ----------
    path : the folder as given
    sha256 : of report.json
    columns : those of scores.npz by name, (n, ...)
    """

    path: str
    sha256: str
    report: AuditReport
    columns: Mapping[str, Array]

    @property
    def is_member(self) -> NDArray[np.bool_]:
        """Return who is a member, (n,)."""
        return np.asarray(self.columns["role"] == 1, dtype=np.bool_)

    def scores(self, attack: str) -> Floats:
        """Return the scores of an attack, (n,)."""
        return np.asarray(self.columns[f"{attack}.score"], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Matching:
    """Rows of two audits that hold the same record, in an order that does not depend on which audit comes first.

    Parameters
    ----------
    members, nonmembers : rows in the first and in the second audit, (2, n1) and (2, n0)
    """

    members: Counts
    nonmembers: Counts
    by: MatchedBy


def read_audit(path: str) -> StoredAudit:
    """Read report.json and scores.npz of a folder that ``pmcore audit --out`` wrote.

    Raises
    ------
    InputError
        A file is missing, is not what an audit writes, or the two are not of the same audit.
    InvalidAudit
        The audit calls itself invalid.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{path}: no such folder - give one that `pmcore audit --out` wrote")
    report = load_report(folder)
    if not report.valid:
        raise InvalidAudit(f"{path}: the audit is INVALID: {invalid_reasons(report)[0]} - mend it and audit again")
    sha256 = hashlib.sha256((folder / FILE_NAME).read_bytes()).hexdigest()
    audit = StoredAudit(path, sha256, report, _columns(folder / SCORES))
    _check(audit, folder / SCORES)
    return audit


def _columns(file: Path) -> dict[str, Array]:
    try:
        with np.load(file, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise InputError(f"{file}: no such file - copy the whole folder of the audit, or audit again") from None
    except OSError as error:
        raise InputError(f"{file}: {(error.strerror or 'cannot be read').lower()} - audit again") from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, AttributeError, TypeError, NotImplementedError):
        raise InputError(f"{file}: is not what `pmcore audit` wrote - audit again") from None


def _check(audit: StoredAudit, file: Path) -> None:
    """Refuse columns that are not those of an audit, or not of this one."""
    columns = audit.columns
    for name in ("id", "role", "label", *(f"{attack}.score" for attack in audit.report.attacks)):
        if name not in columns:
            raise InputError(f"{file}: column {name!r} is missing - audit again")
    n = len(np.atleast_1d(columns["id"]))
    if any(column.ndim == 0 or len(column) != n for column in columns.values()) or columns["id"].dtype.kind not in "iu":
        raise InputError(f"{file}: its columns are not of one row per record - audit again")
    if columns["role"].shape != (n,) or not np.isin(columns["role"], (0, 1)).all():
        raise InputError(f"{file}: role holds other values than 1 (member) and 0 (non-member) - audit again")
    member = audit.is_member
    for attack, part in audit.report.attacks.items():
        scores = audit.scores(attack)
        if scores.shape != (n,):
            raise InputError(f"{file}: {attack}.score has shape {scores.shape} - audit again")
        try:
            found = statistics.auc(statistics.sort_scores(scores[member], scores[~member])).value
        except InputError as error:
            raise InputError(f"{file}: {attack}: {error} - audit again") from None
        if part.auc.value is None or found is None or abs(found - part.auc.value) > 1e-9:
            raise InputError(f"{file}: the AUC of {attack!r} is not that of {FILE_NAME} beside it - audit again")


def match(first: StoredAudit, second: StoredAudit) -> Matching:
    """Return the records that two audits have in common, role by role.

    By the digest of each record where both audits kept it (the k-th of equal records of one audit is matched with
    the k-th of the other); else by position in the file of the role, which must then be the same file.

    Raises
    ------
    InputError
        The files of a role differ, no record of a role is in both, or labels of the same record differ.
    """
    by: MatchedBy = "digest of the record"
    if _DIGEST not in first.columns or _DIGEST not in second.columns:
        by = "position in the same file"
        _refuse_other_files(first, second)
    members, nonmembers = (_rows(first, second, wanted, by) for wanted in (True, False))
    for role, rows in (("members", members), ("non-members", nonmembers)):
        if not rows.shape[1]:
            raise InputError(
                f"{second.path}: none of its {role} is among those of {first.path} - audit both with the same records "
                "and the same --seed"
            )
        one, two = first.columns["label"][rows[0]], second.columns["label"][rows[1]]
        if one.shape != two.shape or not np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
            raise InputError(
                f"{second.path}: {role} have other labels than in {first.path} - audit both with the same --y-key"
            )
    return Matching(members, nonmembers, by)


def _refuse_other_files(first: StoredAudit, second: StoredAudit) -> None:
    complaints = Complaints()
    data, other = first.report.data, second.report.data
    for role, one, two in (
        ("members", data.members, other.members),
        ("non-members", data.nonmembers, other.nonmembers),
    ):
        with complaints.collect():
            _refuse_another_file(role, (first, one), (second, two))
    complaints.raise_any()


def _refuse_another_file(role: str, one: tuple[StoredAudit, RolePart], two: tuple[StoredAudit, RolePart]) -> None:
    if one[1].sha256 != two[1].sha256:
        raise InputError(
            f"{two[0].path}: {role} are from {two[1].path} (sha256 {two[1].sha256[:8]}…), those of {one[0].path} from "
            f"another file, {one[1].path} (sha256 {one[1].sha256[:8]}…) - audit both with the same file"
        )


def _rows(first: StoredAudit, second: StoredAudit, member: bool, by: MatchedBy) -> Counts:
    """Return rows of common records of one role, (2, n), in the order of their keys."""
    rows = [np.flatnonzero(audit.is_member == member) for audit in (first, second)]
    audits = (first, second)
    if by == "position in the same file":
        keys = [audit.columns["id"][chosen].astype(np.int64) for audit, chosen in zip(audits, rows, strict=True)]
        for audit, own in zip(audits, keys, strict=True):
            if np.unique(own).size < own.size:
                raise InputError(f"{audit.path}: {SCORES} holds a record twice - audit again")
    else:
        keys = _digest_keys([audit.columns[_DIGEST][chosen] for audit, chosen in zip(audits, rows, strict=True)])
    _, ours, theirs = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    return np.stack([rows[0][ours], rows[1][theirs]])


def _digest_keys(digests: list[Array]) -> list[Counts]:
    """Return a whole number per record and audit, the same where the k-th record of a digest is meant, (n,) each."""
    sides = [np.ascontiguousarray(one.reshape(len(one), -1)) for one in digests]
    if sides[0].dtype != sides[1].dtype or sides[0].shape[1] != sides[1].shape[1]:
        raise InputError(f"the digests of records in {SCORES} are of two kinds - audit both with the same pmcore")
    _, codes = np.unique(np.concatenate(sides), axis=0, return_inverse=True)
    each = np.split(codes.ravel().astype(np.int64), [len(sides[0])])
    return [one * (len(codes) + 1) + _occurrence(one) for one in each]


def _occurrence(codes: Counts) -> Counts:
    """Return for each value how many equal ones stand before it, (n,)."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], codes[order], side="left")
    before = np.empty(len(codes), dtype=np.int64)
    before[order] = np.arange(len(codes)) - starts
    return before

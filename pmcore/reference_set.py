"""The reference models of an audit: where they are, which records trained which, and how each is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmcore.backend import LoadedModel, Loading, load_model, loading_from
from pmcore.checksums import files_sha256
from pmcore.data import Role
from pmcore.digests import digest
from pmcore.errors import Complaints, InputError, UntrustedError
from pmcore.feed import Feed
from pmcore.installed import PluginPolicy
from pmcore.interfaces import ModelDescription
from pmcore.means import Coverage
from pmcore.numerals import count
from pmcore.quoting import quoted
from pmcore.recorded import RecordedAnswers, is_recording, read_recorded
from pmcore.reference_manifest import MANIFEST, MEMBERSHIP, Manifest, MembershipTable, read_manifest, read_membership
from pmcore.roles import Roles
from pmcore.settings import AuditSettings
from pmcore.trust import vouched

AUDITED = (Role.MEMBERS, Role.NONMEMBERS)
MODELS = "models"
"""The folder of references, within theirs, in which each has a file or a folder of its own."""


@dataclass(frozen=True)
class ReferenceFile:
    """A reference in a file of its own.

    Parameters
    ----------
    title : how reports call it
    loading : how it is loaded
    sha256 : what a list of references says of it, where it is a single file; else None
    """

    path: Path
    title: str
    loading: Loading
    sha256: str | None = None

    def load(self, policy: PluginPolicy) -> LoadedModel:
        """Load it; see `pmcore.backend.load_model`."""
        return load_model(str(self.path), policy, self.loading)


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """The r references of an audit.

    Parameters
    ----------
    path : as the user gave it, or the first of several
    files : one for each reference, or () where their answers were recorded
    recorded : their answers, where they were recorded
    table : which records trained which reference, or None where none of the audited ones did
    manifest : how they were trained, where `pmcore references` made them
    """

    path: str
    files: tuple[ReferenceFile, ...]
    recorded: RecordedAnswers | None
    table: MembershipTable | None
    manifest: Manifest | None

    def __len__(self) -> int:
        return len(self.files) if self.recorded is None else self.recorded.models

    @property
    def titles(self) -> tuple[str, ...]:
        """Return how reports call the references."""
        if self.recorded is None:
            return tuple(file.title for file in self.files)
        return tuple(f"{Path(self.path).name}[{index}]" for index in range(len(self)))


@dataclass(frozen=True, eq=False)
class PlacedReferences:
    """References with the membership of the records of this audit, by role, in the order of the records.

    Parameters
    ----------
    membership : role -> (n, r) bool
    known : how many of the audited records the references' own list holds
    """

    set: ReferenceSet
    membership: Mapping[Role, NDArray[np.bool_]]
    known: int

    def coverage(self) -> Coverage:
        """Return how many references saw, and did not see, the records."""
        models = len(self.set)
        inside = np.concatenate([self.membership[role].sum(axis=1) for role in AUDITED])
        population = self.membership.get(Role.POPULATION)
        of_population = 0 if population is None else int(population.sum(axis=1).max(initial=0))
        return Coverage(
            models=models,
            out=models - int(inside.max(initial=0)),
            inside=int(inside.min(initial=models)),
            population_out=models - of_population,
        )


def read_references(settings: AuditSettings) -> ReferenceSet | None:
    """Return the references that an audit is given, or None; no model is loaded yet.

    Raises
    ------
    InputError
        They are missing or damaged, or the membership file does not fit them.
    """
    if not settings.references:
        for key in ("reference_membership", "trust_references"):
            if getattr(settings, key) is not None:
                raise InputError(f"{key}: there are no references - give some with --references")
        return None
    first = Path(settings.references[0])
    if len(settings.references) == 1 and first.is_dir():
        return _from_folder(first, settings)
    if settings.trust_references is not None:
        raise InputError("trust_references: is for a folder with a references.json - leave it out, or give that folder")
    table = None
    if settings.reference_membership is not None:
        table = read_membership(Path(settings.reference_membership))
    if len(settings.references) == 1 and is_recording(first):
        recorded = read_recorded(first)
        table = table or (MembershipTable(recorded.membership, None) if recorded.membership is not None else None)
        found = ReferenceSet(str(first), (), recorded, table, None)
    else:
        own = loading_from(settings)
        paths = [Path(path) for path in settings.references]
        files = tuple(ReferenceFile(path, path.name, loading_of(settings.model, own, path)) for path in paths)
        found = ReferenceSet(str(first), files, None, table, None)
    if table is not None and table.membership.shape[1] != len(found):
        raise InputError(
            f"{settings.reference_membership or first}: membership: {table.membership.shape[1]} columns for "
            f"{len(found)} references - give one column for each"
        )
    return found


def check_references(found: ReferenceSet, target: LoadedModel, policy: PluginPolicy) -> None:
    """Load each reference once and compare it with the target; all misfits together.

    Raises
    ------
    AuditError
        A reference is the target itself, has other classes or another task, or cannot be loaded.
    """
    complaints = Complaints()
    of_target = target.model.describe()
    for file in found.files:
        with complaints.collect():
            try:
                loaded = file.load(policy)
            except UntrustedError as error:
                if found.manifest is None:
                    raise
                reason = str(error).partition("; ")[0]
                listed = files_sha256([Path(found.path) / MANIFEST])
                raise UntrustedError(
                    f"{reason}; if you made the references yourself, allow them with --trust-references sha256:{listed}"
                ) from None
            try:
                if loaded.sha256 is not None and loaded.sha256 == target.sha256:
                    raise InputError(
                        f"{file.path}: is the audited model itself - a model is never one of its own references; leave "
                        "it out"
                    )
                if file.sha256 is not None and loaded.sha256 != file.sha256:
                    raise InputError(f"{file.path}: is not the file that {MANIFEST} names - make it anew")
                check_description(loaded.model.describe(), of_target, str(file.path))
            finally:
                loaded.model.close()
    if found.manifest is not None and any(isinstance(error, UntrustedError) for error in complaints.errors):
        raise next(error for error in complaints.errors if isinstance(error, UntrustedError))
    complaints.raise_any()
    if found.recorded is not None:
        found.recorded.check(of_target)


def check_description(of_reference: ModelDescription, of_target: ModelDescription, title: str) -> None:
    """Refuse a reference whose task or classes are not those of the target; 0 classes are not known yet.

    Raises
    ------
    InputError
        They differ.
    """
    if of_reference.task is not of_target.task:
        raise InputError(f"{title}: is {of_reference.task}, and the audited model {of_target.task} - give its like")
    if 0 not in (of_reference.classes, of_target.classes) and of_reference.classes != of_target.classes:
        raise InputError(
            f"{title}: has {of_reference.classes} classes, and the audited model {of_target.classes} - give references "
            "of its kind"
        )


def loading_of(target: str, own: Loading, path: Path, told: Mapping[str, str] | None = None) -> Loading:
    """Return how a reference is loaded: as the target, where it is a file of the same format.

    Parameters
    ----------
    target : the target's file
    own : how that is loaded
    told : what the reference's trainer says of it, which wins
    """
    if path.suffix.lower() == Path(target).suffix.lower():
        common = replace(own, trust_model=None)
    else:
        common = Loading(device=own.device, threads=own.threads, task=own.task, precision=own.precision)
    said = told or {}
    return replace(
        common,
        backend=said.get("backend", common.backend),
        output=said.get("output", common.output),
        model_class=said.get("model_class", common.model_class),
    )


def place(found: ReferenceSet, roles: Roles) -> PlacedReferences:
    """Return which of the audit's records trained which reference.

    Records are recognised by their hashes where the references list some, else by their place: members first, then
    non-members, and the population's own file if there are as many rows.

    Raises
    ------
    InputError
        The membership matrix has another number of rows than there are records.
    """
    feeds = roles.feeds
    if found.table is None:
        nothing = {role: np.zeros((len(feed), len(found)), dtype=np.bool_) for role, feed in feeds.items()}
        return PlacedReferences(found, nothing, 0)
    if found.table.digests is None:
        membership = {
            role: found.table.membership[rows]
            if rows is not None
            else np.zeros((len(feeds[role]), len(found)), np.bool_)
            for role, rows in rows_of(feeds, len(found.table.membership), f"{found.path}: membership").items()
        }
        return PlacedReferences(found, membership, sum(len(feeds[role]) for role in AUDITED))
    known = 0
    membership = {}
    for role, feed in feeds.items():
        rows = _found_in(found, feed)
        matrix = np.zeros((len(feed), len(found)), dtype=np.bool_)
        matrix[rows >= 0] = found.table.membership[rows[rows >= 0]]
        membership[role] = matrix
        known += int((rows >= 0).sum()) if role in AUDITED else 0
    return PlacedReferences(found, membership, known)


def rows_of(feeds: Mapping[Role, Feed], given: int, what: str) -> dict[Role, NDArray[np.int64] | None]:
    """Return where the records of each role stand in an array that follows the files; None for those that do not.

    Parameters
    ----------
    given : rows of the array
    what : the array, for the message

    Raises
    ------
    InputError
        There are more or fewer rows than records.
    """
    sizes = {role: _file_length(feeds[role]) for role in AUDITED}
    audited = sum(sizes.values())
    rows: dict[Role, NDArray[np.int64] | None] = {
        Role.MEMBERS: feeds[Role.MEMBERS].records.positions,
        Role.NONMEMBERS: feeds[Role.NONMEMBERS].records.positions + sizes[Role.MEMBERS],
    }
    population = feeds.get(Role.POPULATION)
    own = 0
    if population is not None:
        if population.records.files == feeds[Role.NONMEMBERS].records.files:
            rows[Role.POPULATION] = population.records.positions + sizes[Role.MEMBERS]
        else:
            own = _file_length(population)
            rows[Role.POPULATION] = population.records.positions + audited if given == audited + own else None
    if given not in (audited, audited + own):
        held = f"{count(sizes[Role.MEMBERS])} members and {count(sizes[Role.NONMEMBERS])} non-members"
        raise InputError(
            f"{what}: {count(given)} rows, and the files hold {held} - give one row for each, in this order"
        )
    return rows


def _from_folder(folder: Path, settings: AuditSettings) -> ReferenceSet:
    if settings.reference_membership is not None:
        raise InputError("reference_membership: the folder of references holds its own - leave it out")
    manifest = read_manifest(folder)
    table = read_membership(folder / MEMBERSHIP)
    if files_sha256([folder / MEMBERSHIP]) != manifest.membership_sha256:
        raise InputError(f"{folder / MEMBERSHIP}: is not the one that the manifest names - make the references anew")
    if table.digests is None or table.membership.shape[1] != len(manifest.models):
        raise InputError(f"{folder / MEMBERSHIP}: does not fit the {len(manifest.models)} models - make them anew")
    trusted = vouched([folder / MANIFEST], settings.trust_references)
    own = loading_from(settings)
    files = []
    for part in manifest.models:
        path = folder / part.file
        if Path(part.file).is_absolute() or ".." in Path(part.file).parts:
            raise InputError(f"{folder}: {part.file}: leads out of the folder - make the references anew")
        if not path.exists():
            raise InputError(f"{path}: is missing - go on with `pmcore references --resume`")
        if not trusted:
            _check_told(folder / MANIFEST, part.loading, settings)
        loading = loading_of(settings.model, own, path, part.loading)
        # who vouches for the list vouches for the very files that it names
        loading = replace(loading, trust_model=f"sha256:{part.sha256}") if trusted else loading
        alone = len(Path(part.file).parts) == len((MODELS, "one file"))
        files.append(ReferenceFile(path, part.file, loading, part.sha256 if alone else None))
    return ReferenceSet(str(folder), tuple(files), None, table, manifest)


def _check_told(manifest: Path, told: Mapping[str, str], settings: AuditSettings) -> None:
    """Refuse a list that names code to run, or options of a backend, unless somebody vouches for it.

    Raises
    ------
    UntrustedError
        It does.
    """
    advice = f"if you made it yourself, allow it with --trust-references sha256:{files_sha256([manifest])}"
    factory = told.get("model_class")
    if factory is not None and factory != settings.model_class:
        raise UntrustedError(
            f"{manifest}: makes its models by {quoted(factory)}, which is code that would run; {advice}"
        )
    if ":" in told.get("backend", ""):
        raise UntrustedError(f"{manifest}: loads its models by {quoted(told['backend'])}, with options; {advice}")


def _found_in(found: ReferenceSet, feed: Feed) -> NDArray[np.int64]:
    """Return where in the references' list each record stands, -1 where it does not, shape (n,)."""
    assert found.table is not None
    assert found.table.digests is not None
    types = [np.dtype(kind) for kind in found.manifest.types] if found.manifest is not None else []
    if types and len(types) != len(feed.records.inputs) + 1:
        raise InputError(
            f"{found.path}: the references' records have {len(types) - 1} inputs, and {feed.path} "
            f"{len(feed.records.inputs)} - audit records of the same kind"
        )
    digests = digest(feed.records, types) if types else feed.records.digests
    places: dict[tuple[int, int], int] = {}
    for row, (first, second) in enumerate(found.table.digests.tolist()):
        places.setdefault((first, second), row)
    return np.array([places.get((first, second), -1) for first, second in digests.tolist()], dtype=np.int64)


def _file_length(feed: Feed) -> int:
    return len(next(iter(feed.records.inputs.values())))

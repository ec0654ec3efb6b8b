"""Checks of a reader in a process of its own: its import, its effects, and files that would harm it."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pmcore.interfaces import Reader
from pmcore.testing.apart import Job, Step, require_clean_import, require_no_framework, watch
from pmcore.testing.checking import Check, CheckFailed, NotApplicable, check_of
from pmcore.testing.damage import CUTS, RunsWhenUnpickled, copied
from pmcore.testing.reader_case import ReaderCase, Subject, instance_of, usual_inputs, usual_labels
from pmcore.testing.refusals import require


class Observations:
    """What a reader did in a process of its own.

    Parameters
    ----------
    steps : by name; without those on whole files, if the reader cannot write any
    marker : whether a pickle ran
    folder : where the files were
    """

    def __init__(self, steps: Mapping[str, Step], marker: bool, folder: str) -> None:
        self.steps = steps
        self.marker = marker
        self.folder = folder

    def of(self, name: str) -> Step:
        """Return what came of a step.

        Raises
        ------
        NotApplicable
            It could not be taken.
        """
        if name not in self.steps:
            imported = self.steps["import"]
            if imported.crash or imported.refusal:
                raise CheckFailed("the module does not import in a fresh process, which check_import tells")
            raise NotApplicable("the reader cannot write the records that this is checked on")
        return self.steps[name]


def process_check(function: Callable[[Observations], None]) -> Check[Subject]:
    """Return a check of a reader from a function of what it did in a process of its own, which all checks share."""
    check = check_of(function)
    return Check(check.name, check.promise, lambda subject: function(_observed(type(instance_of(subject)))))


@lru_cache(maxsize=8)
def _observed(reader: type[Reader]) -> Observations:
    with TemporaryDirectory(prefix="pmcore-check-") as name:
        case = ReaderCase(reader(), Path(name))
        marker = Path(name) / "ran"
        files = [*_readable(case), *_hostile(case, marker)]
        steps = [{"step": step, "kind": "read", "path": str(path)} for step, path in files]
        return Observations(watch(Job(reader, steps)), marker.exists(), name)


def _readable(case: ReaderCase) -> Iterator[tuple[str, Path]]:
    """Yield the usual file and damaged copies of it; none if the reader cannot write."""
    try:
        whole = case.usual()
    except NotApplicable:
        return
    yield "read", whole
    for share in CUTS:
        name = f"cut at {share:.0%}"
        yield name, copied(whole, case.folder / name, partial(_cut, share))


def _cut(share: float, whole: bytes) -> bytes:
    return whole[: int(share * len(whole))]


def _hostile(case: ReaderCase, marker: Path) -> Iterator[tuple[str, Path]]:
    """Yield files that hold nothing, noise, or pickles that would write `marker` if they ran."""
    payload = RunsWhenUnpickled(str(marker))
    objects, archive = io.BytesIO(), io.BytesIO()
    np.save(objects, np.array([payload, payload], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(archive, "w") as parts:
        for key in ("x.npy", "y.npy"):
            parts.writestr(key, objects.getvalue())
    made = {
        "noise": np.random.default_rng(3).bytes(4096),
        "empty": b"",
        **{f"pickle {protocol}": pickle.dumps(payload, protocol) for protocol in (0, 2, 4)},
        "pickled objects in an array": objects.getvalue(),
        "pickled objects in an archive": archive.getvalue(),
    }
    suffix = case.reader.suffixes[0] if case.reader.suffixes else ""
    for number, (name, content) in enumerate(made.items()):
        path = case.folder / f"hostile{number}{suffix}"
        path.write_bytes(content)
        yield name, path
        folder = case.folder / f"folder{number}"
        folder.mkdir()
        for key in ("x", "y"):
            (folder / f"{key}{suffix}").write_bytes(content)
        yield f"{name}, in a folder", folder


def check_import(seen: Observations) -> None:
    """Import in a fresh process without effects: no files, network, processes or settings."""
    require_clean_import(seen.of("import"))


def check_import_without_framework(seen: Observations) -> None:
    """Import no framework with the module."""
    require_no_framework(seen.of("import"), "importing its module")


def check_no_effects(seen: Observations) -> None:
    """Write no file elsewhere, open no connection, start no process, print nothing and change no setting."""
    step = seen.of("read")
    step.completed("reading in a fresh process")
    elsewhere = [words for words in step.did("files") if seen.folder not in words]
    done = [*elsewhere, *step.did("network", "processes", "state")]
    require(not done, f"reading a file: {'; '.join(done[:3])}")
    require(step.printed == 0, f"reading a file prints {step.printed} bytes; use `logging`")


def check_truncated_files(seen: Observations) -> None:
    """Refuse a file that is cut short with an InputError; of text, give at most the records before the cut."""
    x, y = usual_inputs(), usual_labels()
    for share in CUTS:
        step = seen.of(f"cut at {share:.0%}")
        case = f"a file of which {share:.0%} are left"
        if step.crash or step.refusal is not None or step.value is None:
            step.refused(case, "InputError")
            continue
        whole = max(len(step.value["labels"]) - 1, 0)  # the last record may be cut where text cannot show it
        records = np.asarray(step.value["records"][:whole], dtype=np.float64).reshape(whole, -1)
        labels = np.asarray(step.value["labels"][:whole])
        kept = np.array_equal(records, x[:whole]) and np.array_equal(labels, y[:whole])
        require(kept and whole < len(y) - 1, f"{case}: gives records that are not in it; raise InputError")


def check_noise(seen: Observations) -> None:
    """Refuse a file of random bytes with an InputError of one line."""
    for name in ("noise", "noise, in a folder"):
        seen.of(name).refused("a file of random bytes", "InputError")


def check_empty_file(seen: Observations) -> None:
    """Refuse an empty file with an InputError of one line."""
    for name in ("empty", "empty, in a folder"):
        seen.of(name).refused("an empty file", "InputError")


def check_pickles(seen: Observations) -> None:
    """Refuse pickles and arrays of objects in one line, and never run what they carry."""
    require(not seen.marker, "code in a pickle ran when it was read; write allow_pickle=False")
    for name, step in seen.steps.items():
        if name.startswith("pickle"):
            step.refused(name, "InputError", "UntrustedError")

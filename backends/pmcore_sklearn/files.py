"""Estimators in `.skops` archives: what could run code, or would fill the memory, is refused before it is built."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmcore.errors import InputError, UntrustedError
from pmcore.model_files import read_head
from pmcore.quoting import printable
from pmcore.trust import how_to_trust, vouched

SCHEMA = "schema.json"
"""The member of an archive that says what it holds."""
_PICKLED = (".pkl", ".pickle", ".joblib")
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_SAVE = "save the estimator with skops.io.dump(estimator, 'model.skops'), or audit it from Python"
_INERT = frozenset(
    {
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.utils._bunch.Bunch",
    }
)
"""Classes that fitted estimators hold beside what skops trusts by itself: plain holders of numbers and settings.

Trusted by their whole names, never by package: numpy and scikit-learn carry functions that run text as a program.
Trees are not among them, as they are not for skops: compiled code follows their numbers without checking them.
"""
_TREES = ("sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
_LARGEST = 2**32
"""Bytes that an archive may unpack to."""
_RATIO = 250
"""How many times its own size an archive may unpack to, once that is more than `_SMALL`."""
_SMALL = 2**26
_LISTED = 5


@dataclass(frozen=True)
class Saved:
    """An estimator from a file, and what loading it had to say."""

    estimator: Any
    notes: tuple[str, ...] = ()


def is_archive(path: Path, head: bytes) -> bool:
    """Tell whether a file is a zip archive with a schema, as skops writes it; only its directory is read."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return SCHEMA in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def load_estimator(path: Path, trust_model: str | None) -> Saved:
    """Load an estimator.

    Raises
    ------
    InputError
        The file is missing, damaged, too large when unpacked, or of another kind.
    UntrustedError
        It is a pickle, or names types or functions that nobody vouched for.
    """
    content = _content(path)
    _check_archive(path, content)
    from skops.io import get_untrusted_types, loads

    trusted = vouched((path,), trust_model)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            types = get_untrusted_types(data=content)
            foreign = [name for name in types if name not in _INERT]
            if foreign and not trusted:
                raise UntrustedError(f"{path}: {_refusal(foreign)}; {how_to_trust((path,))}")
            estimator = loads(content, trusted=types)
        if not trusted:
            _check_vectors(estimator, path)
    except (InputError, UntrustedError, ImportError):
        raise
    except MemoryError:
        raise InputError(f"{path}: does not fit into memory; use a machine with more of it") from None
    except Exception as error:  # skops meets damaged files with whatever its parts raise
        raise InputError(f"{path}: cannot be read by skops ({_line(error)}); {_SAVE}") from None
    notes = dict.fromkeys(_line(found.message) for found in said)
    if foreign:
        notes[f"Loaded with types that somebody vouched for: {_named(foreign)}."] = None
    return Saved(estimator, tuple(notes))


def _check_vectors(estimator: Any, path: Path) -> None:
    """Refuse support vectors whose numbers are of other lengths than compiled code takes them for."""
    from sklearn.svm._base import BaseLibSVM

    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, BaseLibSVM) and not _fits(found):
            raise InputError(f"{path}: its support vectors do not fit each other, so it is damaged; {_SAVE}")
        if isinstance(found, Mapping):
            waiting.extend(found.values())
        elif isinstance(found, list | tuple | set):
            waiting.extend(found)
        elif isinstance(found, np.ndarray):
            waiting.extend(found.ravel() if found.dtype == object else ())
        elif hasattr(found, "__dict__"):
            waiting.append(vars(found))


def _fits(machine: Any) -> bool:
    """Tell whether the arrays of a support vector machine have the lengths that follow from its support vectors."""
    if not hasattr(machine, "support_vectors_"):
        return True  # was not fitted
    vectors, weights, counts = machine.support_vectors_, machine._dual_coef_, machine._n_support
    chosen, offsets, classes = machine.support_, machine._intercept_, getattr(machine, "classes_", None)
    arrays = (vectors, weights, counts, chosen, offsets)
    if not all(isinstance(array, np.ndarray) for array in arrays) or vectors.ndim != 2 or weights.ndim != 2:
        return False
    sides = 2 if classes is None else len(classes)
    pairs = sides * (sides - 1) // 2
    number = len(vectors)
    if machine.kernel == "precomputed":  # the vectors are columns of what it is asked about
        number = len(chosen)
        if vectors.size or not ((chosen >= 0) & (chosen < machine.shape_fit_[0])).all():
            return False
    return (
        weights.shape == (sides - 1, number)
        and chosen.shape == (number,)
        and counts.shape == (sides,)
        and bool((counts >= 0).all())
        and (classes is None or int(counts.sum()) == number)
        and offsets.shape == (pairs,)
        and all(len(getattr(machine, name, ())) in (0, pairs) for name in ("_probA", "_probB"))
    )


def _content(path: Path) -> bytes:
    read_head(path, "*.skops")
    content = path.read_bytes()
    if path.suffix.lower() in _PICKLED or content.startswith(_PICKLES):
        raise UntrustedError(f"{path}: is a Python pickle, which can run code when loaded; {_SAVE}")
    return content


def _check_archive(path: Path, content: bytes) -> None:
    """Refuse what is no skops archive, and one that would fill the memory: its numbers are read as often as named."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if SCHEMA not in sizes:
                raise InputError(f"{path}: is a zip archive without {SCHEMA}, so not of skops; {_SAVE}")
            _check_size(path, sizes[SCHEMA], len(content))
            schema = json.loads(archive.read(SCHEMA))
            total = sizes[SCHEMA] + sum(sizes.get(name, 0) for name in _files(schema))
            _check_size(path, total, len(content))
            for name in {name for name in _files(schema) if name.endswith(".npz")} & sizes.keys():
                with zipfile.ZipFile(io.BytesIO(archive.read(name))) as inner:
                    total += sum(info.file_size for info in inner.infolist())
            _check_size(path, total, len(content))
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error):
        raise InputError(f"{path}: is no whole zip archive of skops; save or download it again") from None


def _check_size(path: Path, unpacked: int, packed: int) -> None:
    if unpacked > _LARGEST or unpacked > max(_SMALL, _RATIO * packed):
        raise InputError(
            f"{path}: would unpack from {packed} to {unpacked} bytes, which is refused; audit the estimator from Python"
        )


def _files(schema: Any) -> Iterator[str]:
    """Yield the members of the archive that a schema names, as often as it names them."""
    waiting = [schema]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Mapping):
            if isinstance(found.get("file"), str):
                yield found["file"]
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _refusal(foreign: list[str]) -> str:
    if set(foreign) <= set(_TREES):
        return (
            "holds decision trees, whose numbers compiled code follows without a check, "
            "so that a forged file can crash it or worse"
        )
    return f"holds {_named(foreign)}, which can run code"


def _named(names: list[str]) -> str:
    shown = ", ".join(printable(name, 80) for name in names[:_LISTED])
    return f"{shown} and {len(names) - _LISTED} more" if len(names) > _LISTED else shown


def _line(message: object) -> str:
    text = str(message).strip() or type(message).__name__
    return printable(text.splitlines()[0], 200)

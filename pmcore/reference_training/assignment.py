"""Which records of the pool train which reference: seeded halves, the same share of every class in each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pmcore.data import Digests
from pmcore.errors import InputError
from pmcore.outputs import Array

HALVES = 2


def assign(digests: Digests, strata: NDArray[np.int64], models: int, seed: int) -> NDArray[np.bool_]:
    """Return which records train which model, shape (n, r).

    Models come in complementary pairs: the first of a pair is trained on half of the different records, the second
    on the other half; of an odd number the last goes without its complement. Different records stand in the order
    of their class and, within it, of a seeded random key, and every second one is taken: each class gives its half
    to within one record, and so do all together. Copies of a record share its fate. What is chosen depends on
    the records and the seed, never on their order.

    Parameters
    ----------
    digests : (n, 2) hashes of the records, in which equal records are equal
    strata : (n,) class of each record, the same for equal ones
    """
    _, first, which = np.unique(_keys(digests), return_index=True, return_inverse=True)
    classes = strata[first]
    membership = np.empty((len(digests), models), dtype=np.bool_)
    for pair in range((models + 1) // 2):
        drawn = np.random.PCG64(np.random.SeedSequence([seed, pair])).random_raw(len(first) + 1)
        order = np.lexsort((drawn[1:], classes))
        chosen = np.zeros(len(first), dtype=np.bool_)
        chosen[order[int(drawn[0]) % HALVES :: HALVES]] = True
        membership[:, 2 * pair] = chosen[which]
        if 2 * pair + 1 < models:
            membership[:, 2 * pair + 1] = ~chosen[which]
    return membership


def strata_of(labels: Array, single: bool) -> NDArray[np.int64]:
    """Return the class of each record, shape (n,); 0 for all where labels are no single classes."""
    return labels.astype(np.int64) if single else np.zeros(len(labels), dtype=np.int64)


def check_strata(
    digests: Digests, strata: NDArray[np.int64], classes: int, sources: NDArray[np.int64], paths: tuple[str, ...]
) -> None:
    """Refuse a pool that cannot give each half a record of every class.

    Parameters
    ----------
    classes : how many there must be, 1 where there are no single classes
    sources : (n,) index into `paths` of the file of each record

    Raises
    ------
    InputError
        Names the first class that is short, and the file.
    """
    _, first = np.unique(_keys(digests), return_index=True)
    counts = np.bincount(strata[first], minlength=classes)
    short = np.flatnonzero(counts < HALVES)
    if not len(short):
        return
    lacking = int(short[0])
    held = "no record" if counts[lacking] == 0 else "a single different record"
    files = paths if counts[lacking] == 0 else tuple(paths[i] for i in np.unique(sources[strata == lacking]))
    of = f" of class {lacking}" if classes > 1 else ""
    more = f" (and {len(short) - 1} more classes)" if len(short) > 1 else ""
    raise InputError(
        f"{', '.join(files)}: {held}{of}{more} - each half of the pool needs one; give a pool with two or more of each"
    )


def _keys(digests: Digests) -> NDArray[np.void]:
    """Return the digests as single values, shape (n,), equal and in order as they are."""
    rows = np.ascontiguousarray(digests)
    keys: NDArray[np.void] = rows.view([("first", np.uint64), ("second", np.uint64)]).reshape(len(rows))
    return keys


def seed_of(seed: int, index: int) -> int:
    """Return the seed of one reference: 31 bits, which every framework takes."""
    return int(np.random.SeedSequence([seed, index, 1]).generate_state(1, np.uint32)[0] >> 1)

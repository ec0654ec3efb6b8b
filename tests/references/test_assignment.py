"""Which records train which reference: balanced, stratified, the same whatever the order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pmcore.data import Digests
from pmcore.errors import InputError
from pmcore.reference_training.assignment import assign, check_strata, seed_of

POOLS = st.tuples(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.integers(1, 7), st.integers(0, 2**70))


def digests_of(values: NDArray[np.int64]) -> Digests:
    """Return digests that are equal where values are, in no order that resembles theirs."""
    table = np.random.default_rng(5).integers(0, 2**63, (1000, 2)).astype(np.uint64)
    return table[values]


@given(POOLS)
@settings(max_examples=60, deadline=None)
def test_each_record_trains_half_of_the_models_and_each_model_half_of_every_class(
    pool: tuple[list[int], int, int],
) -> None:
    classes, models, seed = np.array(pool[0]), pool[1], pool[2]
    membership = assign(digests_of(np.arange(len(classes))), classes, models, seed)
    assert membership.shape == (len(classes), models)
    for pair in range(0, models - 1, 2):
        assert (membership[:, pair] != membership[:, pair + 1]).all()
    for model in range(models):
        assert abs(2 * membership[:, model].sum() - len(classes)) <= 1
        for one in np.unique(classes):
            assert abs(2 * membership[classes == one, model].sum() - (classes == one).sum()) <= 1


@given(POOLS, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_records_does_not_matter(pool: tuple[list[int], int, int], shuffle: int) -> None:
    classes, models, seed = np.array(pool[0]), pool[1], pool[2]
    digests = digests_of(np.arange(len(classes)))
    order = np.random.default_rng(shuffle).permutation(len(classes))
    membership = assign(digests, classes, models, seed)
    assert np.array_equal(assign(digests[order], classes[order], models, seed), membership[order])


@given(st.lists(st.integers(0, 15), min_size=8, max_size=60), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_copies_share_their_fate(values: list[int], models: int) -> None:
    records = np.array(values)
    membership = assign(digests_of(records), records % 3, models, 0)
    for one in np.unique(records):
        assert (membership[records == one] == membership[records == one][0]).all()


def test_seeds_and_pairs_give_different_halves() -> None:
    digests, classes = digests_of(np.arange(200)), np.zeros(200, np.int64)
    columns = np.hstack([assign(digests, classes, 6, seed)[:, ::2] for seed in (0, 1)]).T
    agreement = (columns[:, None] == columns[None]).mean(axis=2)
    assert (np.abs(agreement[~np.eye(6, dtype=bool)] - 0.5) < 0.2).all()
    assert len({seed_of(seed, index) for seed in (0, 1) for index in range(50)}) == 100


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 0, 1, 1, 2], "b.npz: a single different record of class 2 - each half"),
        ([0, 0, 2, 2, 2], "a.npz, b.npz: no record of class 1 - each half"),
        ([0, 0, 0, 0, 0], "a.npz, b.npz: no record of class 1 (and 1 more classes) - each half"),
    ],
)
def test_a_class_that_a_half_would_lack_is_named_with_its_file(classes: list[int], message: str) -> None:
    strata, sources = np.array(classes), np.array([0, 0, 0, 1, 1])
    with pytest.raises(InputError) as refused:
        check_strata(digests_of(np.arange(5)), strata, 3, sources, ("a.npz", "b.npz"))
    assert str(refused.value).startswith(message)


def test_copies_of_one_record_do_not_make_a_class() -> None:
    with pytest.raises(InputError, match="a single different record of class 1"):
        check_strata(digests_of(np.array([0, 1, 2, 2])), np.array([0, 0, 1, 1]), 2, np.zeros(4, np.int64), ("a.npz",))

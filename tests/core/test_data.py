"""Records: batches, bounded memory, digests, overlap, duplicates and the seeded split."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pmcore.checksums import files_sha256
from pmcore.data import Records, Role, read_records
from pmcore.digests import (
    canonical_types,
    digest,
    drop_overlap,
    duplicates,
    overlaps,
    shared,
    split_population,
    with_digests,
)
from pmcore.errors import InputError
from pmcore.outputs import Array
from pmcore.readers import NpyReader, NpzReader

MEMBERS, NONMEMBERS, POPULATION = Role.MEMBERS, Role.NONMEMBERS, Role.POPULATION


def records(x: Array, y: Array | None = None, role: Role = NONMEMBERS) -> Records:
    labels = np.zeros(len(x), dtype=np.int64) if y is None else y
    made = Records(role=role, path=f"{role}.npz", inputs={"x": x}, labels=labels)
    return replace(made, digests=digest(made, canonical_types([made])))


def both(a: Array, b: Array) -> dict[Role, Records]:
    return with_digests({MEMBERS: records(a, role=MEMBERS), NONMEMBERS: records(b)})


def test_a_batch_is_a_view_where_rows_follow_each_other_and_right_where_not() -> None:
    whole = records(np.arange(40.0).reshape(10, 4), np.arange(10))
    inputs, labels = whole.batch(2, 5)
    assert inputs["x"].base is not None
    np.testing.assert_array_equal(labels, [2, 3, 4])
    some = whole.select(np.array([1, 3, 4, 5, 9]))
    np.testing.assert_array_equal(some.positions, [1, 3, 4, 5, 9])
    assert np.shares_memory(some.batch(1, 4)[0]["x"], whole.inputs["x"])
    np.testing.assert_array_equal(some.batch(0, 5)[0]["x"], whole.inputs["x"][[1, 3, 4, 5, 9]])
    again = some.select(np.array([4, 0]))
    np.testing.assert_array_equal(again.positions, [9, 1])
    np.testing.assert_array_equal(again.labels, [9, 1])
    np.testing.assert_array_equal(again.batch(0, 2)[0]["x"], whole.inputs["x"][[9, 1]])
    np.testing.assert_array_equal(again.digests, whole.digests[[9, 1]])
    assert whole.batch(8, 99)[0]["x"].shape == (2, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_value_that_is_not_finite_is_refused_by_file_input_and_position(value: float, dtype: type) -> None:
    x: Array = np.ones((10, 3)).astype(dtype)
    x[7, 1] = value
    with pytest.raises(InputError, match=rf"nonmembers.npz: x\[7\] holds {value} "):
        records(x).batch(5, 10)
    with pytest.raises(InputError, match=r"x\[7\]"):
        records(x).select(np.array([0, 7, 9])).batch(1, 3)
    records(x).batch(0, 7)


def test_large_finite_values_whose_sum_overflows_are_accepted() -> None:
    records(np.full((4, 4), np.finfo(np.float32).max, dtype=np.float32)).batch(0, 4)


def test_read_records_keeps_path_files_and_hash(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.arange(3))
    found = read_records(str(tmp_path / "a.npz"), MEMBERS, {"npz": NpzReader()})
    assert (len(found), found.role, found.files) == (3, MEMBERS, (tmp_path / "a.npz",))
    assert found.sha256 == files_sha256([tmp_path / "a.npz"])
    assert len(found.sha256) == 64


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident size from /proc")
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_walk_over_a_large_file_stays_small(tmp_path: Path, order: str) -> None:
    rows, width = 20_000, 3840
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, width), fortran_order=order == "F")
    np.save(tmp_path / "y.npy", np.zeros(rows, dtype=np.int64))
    walk = f"""
from pmcore.data import Role, read_records
from pmcore.readers import NpyReader
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096
records = read_records({str(tmp_path)!r}, Role.MEMBERS, {{"npy": NpyReader()}})
before, most = resident(), 0
for start in range(0, {rows}, 4000):
    inputs, _ = records.batch(start, start + 4000)
    inputs["x"][:, ::512].sum() if {order == "F"} else inputs["x"].sum()
    most = max(most, resident() - before)
print(most)
"""
    done = subprocess.run([sys.executable, "-c", walk], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 110e6 < 4 * rows * width


@given(
    st.lists(st.lists(st.integers(0, 255), min_size=3, max_size=3), min_size=1, max_size=8),
    st.permutations([np.uint8, np.int64, np.float16, np.float32, np.float64]),
)
def test_digests_are_equal_across_types(rows: list[list[int]], types: list[type]) -> None:
    a, b = both(np.array(rows, dtype=types[0]), np.array(rows, dtype=types[1])).values()
    np.testing.assert_array_equal(a.digests, b.digests)


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4))
def test_a_float64_record_matches_itself_stored_as_float32(values: list[float]) -> None:
    wide = np.array([values])
    a, b = both(wide, wide.astype(np.float32)).values()
    np.testing.assert_array_equal(a.digests, b.digests)


def test_rounding_noise_mostly_vanishes_and_differences_do_not() -> None:
    x = np.random.default_rng(1).random((4000, 1)) + 0.5
    for noise, least, most in ((5e-8, 0.85, 1), (4e-6, 0, 0)):
        a, b = both(x, x * (1 + noise)).values()
        same = (a.digests == b.digests).all(axis=1).mean()
        assert least <= same <= most
    a, b = both(np.array([[0.0]]), np.array([[-0.0]])).values()
    np.testing.assert_array_equal(a.digests, b.digests)


def test_large_whole_numbers_stay_apart_if_all_roles_have_whole_numbers() -> None:
    a, b = both(np.array([[2**60]]), np.array([[2**60 + 1]])).values()
    assert not len(shared(a, b))


def test_the_label_and_every_input_count() -> None:
    x = np.zeros((2, 3))
    a = Records(MEMBERS, "a", {"p": x, "q": np.array([[0.0], [1.0]])}, np.array([0, 0]))
    b = Records(NONMEMBERS, "b", {"p": x, "q": np.array([[0.0], [0.0]])}, np.array([0, 1]))
    assert overlaps(with_digests({MEMBERS: a, NONMEMBERS: b})) == {"members & nonmembers": 1}


def test_digests_do_not_depend_on_chunks_or_memory_order() -> None:
    x = np.random.default_rng(0).random((500, 3000)).astype(np.float32)
    a, b = both(x, np.asfortranarray(x)).values()
    np.testing.assert_array_equal(a.digests, b.digests)
    rows = np.array([499, 3, 4, 5, 250])
    picked = a.select(rows)
    np.testing.assert_array_equal(digest(picked, canonical_types([picked])), a.digests[rows])


small = st.lists(st.integers(0, 12), min_size=1, max_size=40)


@given(small, small)
def test_overlap_and_duplicates_are_counted_right(first: list[int], second: list[int]) -> None:
    a, b = both(np.array(first)[:, None], np.array(second)[:, None]).values()
    np.testing.assert_array_equal(shared(b, a), [i for i, v in enumerate(second) if v in first])
    assert duplicates(a) == len(first) - len(set(first))


@given(small, small, small)
def test_dropping_leaves_members_whole_and_roles_disjoint(m: list[int], n: list[int], p: list[int]) -> None:
    n, p = [*n, 100], [*p, 200]
    roles = with_digests(
        {
            MEMBERS: records(np.array(m)[:, None], role=MEMBERS),
            NONMEMBERS: records(np.array(n)[:, None]),
            POPULATION: records(np.array(p)[:, None], role=POPULATION),
        }
    )
    result = drop_overlap(roles)
    assert len(result.roles[MEMBERS]) == len(m)
    assert set(overlaps(result.roles).values()) == {0}
    kept = [v for v in n if v not in m]
    np.testing.assert_array_equal(result.roles[NONMEMBERS].positions, [i for i, v in enumerate(n) if v in kept])
    assert result.counts == {
        MEMBERS: 0,
        NONMEMBERS: len(n) - len(kept),
        POPULATION: sum(v in m or v in n for v in p),
    }


def test_nothing_left_of_a_role_is_told() -> None:
    with pytest.raises(InputError, match="every record is also in another role"):
        drop_overlap(both(np.eye(3), np.eye(3)))


def test_exact_comparison_rejects_what_shares_only_half_a_digest() -> None:
    a, b = both(np.arange(3)[:, None], np.arange(3)[:, None]).values()
    forged = a.digests.copy()
    forged[1, 1] ^= np.uint64(1)
    np.testing.assert_array_equal(shared(replace(a, digests=forged), b), [0, 2])
    twice = np.array([[1, 2], [1, 3], [1, 2]], dtype=np.uint64)
    assert duplicates(replace(a, digests=twice)) == 1


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), min_size=12, max_size=80),
    share=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**70),
    shuffle=st.randoms(),
)
def test_the_split_does_not_depend_on_the_order_of_the_records(
    values: list[tuple[int, int]], share: float, seed: int, shuffle: object
) -> None:
    def sides(order: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        x, y = np.array([v for v, _ in order])[:, None], np.array([c for _, c in order])
        split = split_population(records(x, y), share, seed)
        assert split.population.role is POPULATION
        at = np.concatenate([split.audited.positions, split.population.positions])
        assert sorted(at.tolist()) == list(range(len(order)))
        return (
            sorted(order[i] for i in split.audited.positions),
            sorted(order[i] for i in split.population.positions),
        )

    try:
        audited, population = sides(values)
    except InputError:
        return
    shuffle.shuffle(values)  # type: ignore[attr-defined]
    assert sides(values) == (audited, population)


@pytest.mark.parametrize("share", [0.1, 1 / 3, 0.5, 0.8])
def test_the_split_is_stratified_and_seeded(share: float) -> None:
    x = np.random.default_rng(0).random((1001, 4))
    y: NDArray[np.int64] = np.append(np.arange(1000) % 7, 7)
    one = split_population(records(x, y), share, 1)
    sizes = np.bincount(one.population.labels, minlength=8)
    assert (np.abs(sizes - share * np.bincount(y)) <= 1).all()
    again, other = (split_population(records(x, y), share, seed) for seed in (1, 2))
    np.testing.assert_array_equal(one.population.positions, again.population.positions)
    assert not np.array_equal(one.population.positions, other.population.positions)


def test_a_record_is_as_likely_to_be_set_apart_in_a_rare_class_as_in_a_common_one() -> None:
    """Rounding the share of each class would never choose the only record of a class."""
    data = records(np.random.default_rng(0).random((61, 4)), np.append(np.zeros(60, dtype=np.int64), 1))
    chosen = np.zeros(61)
    for seed in range(600):
        chosen[split_population(data, 1 / 3, seed).population.positions] += 1
    assert abs(chosen[60] / 600 - 1 / 3) < 4 * np.sqrt(2 / 9 / 600)
    assert np.abs(chosen / 600 - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 600)


def test_labels_that_are_no_classes_are_not_stratified() -> None:
    x = np.random.default_rng(0).random((90, 2))
    for y in (x[:, 0], (x > 0.5).astype(np.int64)):
        assert len(split_population(records(x, y), 1 / 3, 0).population) == 30


def test_too_few_records_for_a_population_are_told() -> None:
    with pytest.raises(InputError, match="too few to set a population apart"):
        split_population(records(np.eye(1), np.arange(1)), 1 / 3, 0)


def test_mapped_records_split_and_hash_like_those_in_memory(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((300, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(300) % 3)
    mapped = read_records(str(tmp_path), NONMEMBERS, {"npy": NpyReader()})
    mapped = replace(mapped, digests=digest(mapped, canonical_types([mapped])))
    np.testing.assert_array_equal(mapped.digests, records(x, np.arange(300) % 3).digests)
    split = split_population(mapped, 0.5, 0)
    rows = split.population.positions
    np.testing.assert_array_equal(split.population.batch(0, 99)[0]["x"], x[rows[:99]])

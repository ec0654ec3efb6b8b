"""Per-record output: every float to the last bit, the same columns in both formats, nothing a spreadsheet runs."""

from __future__ import annotations

import csv
import io
import time
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pmcore.scores import RecordScores, write_arrays


def example(n: int = 5, **changes: Any) -> RecordScores:
    rng = np.random.default_rng(0)
    parts: dict[str, Any] = {
        "ids": np.arange(n),
        "is_member": np.arange(n) < n // 2,
        "labels": rng.integers(0, 3, n),
        "scores": {"population": rng.normal(size=n), "gap": rng.normal(size=n)},
        "p_values": {"population": rng.random(n)},
    }
    return RecordScores(**{**parts, **changes})


def csv_of(records: RecordScores) -> list[list[str]]:
    stream = io.BytesIO()
    records.write_csv(stream)
    return list(csv.reader(io.StringIO(stream.getvalue().decode())))


def npz_of(records: RecordScores) -> bytes:
    stream = io.BytesIO()
    records.write_npz(stream)
    return stream.getvalue()


def test_csv_has_the_columns_by_name_and_one_line_per_record() -> None:
    rows = csv_of(example())
    assert rows[0] == ["id", "role", "label", "population.score", "population.p_value", "gap.score"]
    assert [row[:2] for row in rows[1:]] == [
        ["0", "member"],
        ["1", "member"],
        ["2", "nonmember"],
        ["3", "nonmember"],
        ["4", "nonmember"],
    ]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_floats_survive_csv_to_the_last_bit(values: list[float]) -> None:
    records = example(len(values), scores={"a": np.array(values)}, p_values={})
    assert [float(row[3]) for row in csv_of(records)[1:]] == values


def test_rows_beyond_one_chunk_stay_in_order() -> None:
    records = example(40_000)
    rows = csv_of(records)[1:]
    assert [int(row[0]) for row in rows] == list(range(40_000))
    assert [float(row[5]) for row in rows] == records.scores["gap"].tolist()


def test_several_labels_share_a_cell() -> None:
    labels: NDArray[np.int64] = np.array([[0, 1, 0], [1, 1, 1]])
    assert [row[2] for row in csv_of(example(2, labels=labels))[1:]] == ["0 1 0", "1 1 1"]


@pytest.mark.parametrize("name", ["=1+2", "@SUM(A1)", "-x", "+x"])
def test_names_that_a_spreadsheet_would_run_are_disarmed(name: str) -> None:
    records = example(2, scores={name: np.zeros(2)}, p_values={})
    assert csv_of(records)[0][3] == f"'{name}.score"


def test_names_with_commas_quotes_and_surrogates_keep_the_columns_apart() -> None:
    records = example(2, scores={'a,"b"': np.zeros(2), "\udcff": np.ones(2)}, p_values={})
    assert csv_of(records)[0][3:] == ['a,"b".score', "\\udcff.score"]


def test_npz_holds_the_same_columns_without_pickles() -> None:
    records = example()
    with np.load(io.BytesIO(npz_of(records)), allow_pickle=False) as loaded:
        assert loaded.files == ["id", "role", "label", "population.score", "population.p_value", "gap.score"]
        np.testing.assert_array_equal(loaded["role"], [1, 1, 0, 0, 0])
        np.testing.assert_array_equal(loaded["gap.score"], records.scores["gap"])


def test_npz_bytes_depend_on_the_arrays_alone() -> None:
    first = npz_of(example())
    assert first == npz_of(example())
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_object_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        write_arrays(io.BytesIO(), {"members.loss": np.array([{}], dtype=object)})


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gap\.score: 3 values for 5 records"):
        example(scores={"gap": np.zeros(3)})


def test_a_hundred_thousand_records_take_no_second() -> None:
    records = example(100_000, scores={"population": np.random.default_rng(1).normal(size=100_000)})
    start = time.perf_counter()
    records.write_csv(io.BytesIO())
    assert time.perf_counter() - start < 1.0

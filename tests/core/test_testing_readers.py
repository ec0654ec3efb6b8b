"""The checks of readers: a good one passes them all, and for each there is one that fails it alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pmcore.interfaces import Reader
from pmcore.readers import CsvReader, NpyReader, NpzReader, ParquetReader
from pmcore.testing.checking import Check, CheckFailed, Outcome, Verdict, run_checks
from pmcore.testing.reader_checks import READER_CHECKS, check_reader
from tests.core.planted_modules import module_class, write_framework
from tests.core.planted_readers import IMPORTS, PLANTED, GoodReader, WritesNothing, WritesOneInput


@pytest.fixture(autouse=True)
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_framework(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def outcomes(subject: Reader | type[Reader]) -> dict[str, Outcome]:
    return {outcome.check: outcome for outcome in run_checks(READER_CHECKS, subject)}


def with_verdict(found: dict[str, Outcome], verdict: Verdict) -> dict[str, str]:
    return {name: outcome.detail for name, outcome in found.items() if outcome.verdict is verdict}


def test_a_reader_of_everything_passes_every_check() -> None:
    found = outcomes(GoodReader)
    assert {outcome.verdict for outcome in found.values()} == {Verdict.PASSED}, found


@pytest.mark.parametrize("check", PLANTED)
def test_each_planted_fault_fails_its_own_check_and_no_other(check: str) -> None:
    found = with_verdict(outcomes(PLANTED[check]), Verdict.FAILED)
    assert set(found) == {check}, found
    assert found[check].strip()
    assert "\n" not in found[check]


@pytest.mark.parametrize("check", IMPORTS)
def test_each_fault_at_import_fails_its_own_check_and_no_other(check: str, tmp_path: Path) -> None:
    planted = module_class(tmp_path, "tests.core.planted_readers", "GoodReader", IMPORTS[check])
    assert issubclass(planted, Reader)
    found = with_verdict(outcomes(planted), Verdict.FAILED)
    assert set(found) == {check}, found


def test_every_check_has_its_planted_fault() -> None:
    assert sorted(check.name for check in READER_CHECKS) == sorted({**PLANTED, **IMPORTS})


@pytest.mark.parametrize("check", READER_CHECKS, ids=str)
def test_every_promise_is_one_sentence(check: Check[Reader | type[Reader]]) -> None:
    assert check.promise.endswith(".")
    assert len(check.promise) < 110


def test_what_a_format_has_no_place_for_is_not_applicable() -> None:
    found = outcomes(WritesOneInput)
    assert with_verdict(found, Verdict.FAILED) == {}
    assert set(with_verdict(found, Verdict.NOT_APPLICABLE)) == {
        "check_shapes",
        "check_several_inputs",
        "check_default_inputs",
        "check_unequal_lengths",
    }


def test_a_reader_that_cannot_write_is_held_to_what_needs_no_file() -> None:
    found = outcomes(WritesNothing)
    assert with_verdict(found, Verdict.FAILED) == {}
    assert set(with_verdict(found, Verdict.PASSED)) == {
        "check_docstring",
        "check_suffixes",
        "check_missing_file",
        "check_import",
        "check_import_without_framework",
        "check_noise",
        "check_empty_file",
        "check_pickles",
    }


@pytest.mark.parametrize("reader", [NpzReader, NpyReader, CsvReader, ParquetReader])
def test_the_built_in_readers_keep_every_promise(reader: type[Reader]) -> None:
    check_reader(reader)


def test_an_instance_is_checked_as_its_class_is() -> None:
    check_reader(NpzReader())


def test_a_fault_is_told_with_the_reader_and_the_check() -> None:
    with pytest.raises(CheckFailed, match=r"reader _Narrows fails 1 check:\n  check_types: "):
        check_reader(PLANTED["check_types"])


def test_parquet_lists_are_written_in_any_number_of_axes(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.int16).reshape(2, 3, 1, 4)
    ParquetReader.write(tmp_path / "a.parquet", {"x": x}, np.array([1, 0]))
    table = ParquetReader().read(tmp_path / "a.parquet", (), "y")
    np.testing.assert_array_equal(table.inputs["x"], x)
    assert table.inputs["x"].dtype == np.int16

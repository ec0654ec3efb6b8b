"""The checks of forms of the report: a good one passes them all, and for each there is one that fails it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pmcore.interfaces import Report
from pmcore.reports.json_report import JsonReport
from pmcore.reports.plots import PlotsReport
from pmcore.testing.checking import Check, CheckFailed, Outcome, Verdict, run_checks
from pmcore.testing.report_checks import REPORT_CHECKS, check_report
from tests.core.planted_modules import module_class, write_framework
from tests.core.planted_reports import IMPORTS, PLANTED, GoodReport, PicturesOnly


@pytest.fixture(autouse=True)
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_framework(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def outcomes(subject: Report | type[Report]) -> dict[str, Outcome]:
    return {outcome.check: outcome for outcome in run_checks(REPORT_CHECKS, subject)}


def with_verdict(found: dict[str, Outcome], verdict: Verdict) -> dict[str, str]:
    return {name: outcome.detail for name, outcome in found.items() if outcome.verdict is verdict}


def test_a_form_of_everything_passes_every_check() -> None:
    found = outcomes(GoodReport)
    assert {outcome.verdict for outcome in found.values()} == {Verdict.PASSED}, found


@pytest.mark.parametrize("check", PLANTED)
def test_each_planted_fault_fails_its_own_check_and_no_other(check: str) -> None:
    found = with_verdict(outcomes(PLANTED[check]), Verdict.FAILED)
    assert set(found) == {check}, found
    assert found[check].strip()
    assert "\n" not in found[check]


@pytest.mark.parametrize("check", IMPORTS)
def test_each_fault_at_import_fails_its_own_check_and_no_other(check: str, tmp_path: Path) -> None:
    planted = module_class(tmp_path, "tests.core.planted_reports", "GoodReport", IMPORTS[check])
    assert issubclass(planted, Report)
    found = with_verdict(outcomes(planted), Verdict.FAILED)
    assert set(found) == {check}, found


def test_every_check_has_its_planted_fault() -> None:
    assert sorted(check.name for check in REPORT_CHECKS) == sorted({**PLANTED, **IMPORTS})


@pytest.mark.parametrize("check", REPORT_CHECKS, ids=str)
def test_every_promise_is_one_sentence(check: Check[Report | type[Report]]) -> None:
    assert check.promise.endswith(".")
    assert len(check.promise) < 110


def test_what_a_form_does_not_have_is_not_applicable() -> None:
    found = outcomes(PicturesOnly)
    assert with_verdict(found, Verdict.FAILED) == {}
    assert set(with_verdict(found, Verdict.NOT_APPLICABLE)) == {
        "check_figures_with_intervals",
        "check_null_in_json",
        "check_skipped_attacks",
    }


@pytest.mark.parametrize("form", [JsonReport, PlotsReport])
def test_the_built_in_forms_keep_every_promise(form: type[Report]) -> None:
    check_report(form)


def test_the_json_report_shows_all_because_it_is_the_report_itself() -> None:
    found = outcomes(JsonReport())["check_no_figure_if_invalid"]
    assert found.verdict is Verdict.NOT_APPLICABLE
    assert "the report itself" in found.detail


def test_a_fault_is_told_with_the_form_and_the_check() -> None:
    with pytest.raises(CheckFailed, match=r"report _ShowsNone fails 1 check:\n  check_unresolved_figures: "):
        check_report(PLANTED["check_unresolved_figures"])

"""ONNX's own tests of its operators: how many pass, and that each failure is accounted for in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.autograd.operators_page import outcomes, page, share

PAGE = Path(__file__).parents[2] / "docs" / "onnx-operators.md"


def test_more_than_95_of_100_tests_on_real_numbers_pass(capsys: pytest.CaptureFixture[str]) -> None:
    found = outcomes()
    with capsys.disabled():
        passed = sum(outcome.why is None for outcome in found)
        print(f"\nONNX's own tests on real numbers: {passed} of {len(found)} pass ({100 * share(found):.1f} %)")
    assert share(found) > 0.95


def test_the_page_tells_of_every_test_that_fails_and_why() -> None:
    assert PAGE.read_text() == page(), "python -m tests.autograd.operators_page > docs/onnx-operators.md"


def test_the_tests_on_other_tensors_that_fail_do_so_for_a_type_or_an_operator_that_is_not_known() -> None:
    kinds = {outcome.category for outcome in outcomes(real=False)}
    assert kinds <= {"", "type", "operator", "training", "control flow", "sequences", "images and text"}


def test_no_failure_is_one_of_numbers_but_for_half_precision() -> None:
    off = {outcome.case.name for outcome in outcomes() if outcome.category == "numbers"}
    assert all("fp16" in name for name in off), off

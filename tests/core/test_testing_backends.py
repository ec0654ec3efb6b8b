"""The checks of backends: a good one passes them all, and for each there is one that fails it alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pmcore.interfaces import Model
from pmcore.testing.backend_case import make_network, open_case
from pmcore.testing.backend_checks import BACKEND_CHECKS, BackendExample, check_backend
from pmcore.testing.checking import Check, CheckFailed, Outcome, Verdict, run_checks
from pmcore_onnx import OnnxModel
from tests.core.planted_backends import IMPORTS, PLANTED, GoodModel, PredictsOnly, ReadsOnly
from tests.core.planted_modules import module_class, write_framework


@pytest.fixture(autouse=True)
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_framework(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def outcomes(subject: type[Model] | BackendExample) -> dict[str, Outcome]:
    return {outcome.check: outcome for outcome in run_checks(BACKEND_CHECKS, subject)}


def failed(found: dict[str, Outcome]) -> dict[str, str]:
    return {name: outcome.detail for name, outcome in found.items() if outcome.verdict is Verdict.FAILED}


def test_a_backend_that_gives_everything_passes_every_check() -> None:
    found = outcomes(GoodModel)
    assert {outcome.verdict for outcome in found.values()} == {Verdict.PASSED}, failed(found)


@pytest.mark.parametrize("check", PLANTED)
def test_each_planted_fault_fails_its_own_check_and_no_other(check: str) -> None:
    found = failed(outcomes(PLANTED[check]))
    assert set(found) == {check}, found
    assert found[check].strip()
    assert "\n" not in found[check]


@pytest.mark.parametrize("check", IMPORTS)
def test_each_fault_at_import_fails_its_own_check_and_no_other(check: str, tmp_path: Path) -> None:
    planted = module_class(tmp_path, "tests.core.planted_backends", "GoodModel", IMPORTS[check])
    assert issubclass(planted, Model)
    found = failed(outcomes(planted))
    assert set(found) == {check}, found


def test_every_check_has_its_planted_fault() -> None:
    names = [check.name for check in BACKEND_CHECKS]
    assert sorted(names) == sorted({**PLANTED, **IMPORTS})


@pytest.mark.parametrize("check", BACKEND_CHECKS, ids=str)
def test_every_promise_is_one_sentence(check: Check[type[Model] | BackendExample]) -> None:
    assert check.promise.endswith(".")
    assert len(check.promise) < 110


def test_what_a_backend_does_not_give_is_not_applicable() -> None:
    found = outcomes(PredictsOnly)
    not_applicable = {name for name, outcome in found.items() if outcome.verdict is Verdict.NOT_APPLICABLE}
    assert failed(found) == {}
    assert not_applicable == {name for name in found if "activations" in name or "gradients" in name} | {
        "check_layers",
        "check_layer_parameters",
        "check_unknown_layer",
        "check_known_head_input",
        "check_gradient_orders",
        "check_sketches",
    }


def test_a_backend_that_cannot_write_is_checked_on_an_example(tmp_path: Path) -> None:
    network = make_network()
    example = tmp_path / "example.plain"
    GoodModel.write_dense(example, network.weights, network.biases)
    found = outcomes(BackendExample(ReadsOnly, example))
    assert failed(found) == {}
    not_applicable = {name for name, outcome in found.items() if outcome.verdict is Verdict.NOT_APPLICABLE}
    assert not_applicable == {
        "check_known_answers",
        "check_scale",
        "check_described_network",
        "check_layer_parameters",
        "check_known_activations",
        "check_known_gradients",
        "check_known_head_input",
        "check_gradient_orders",
        "check_sketches",
    }
    assert [path.name for path in tmp_path.glob("example*")] == ["example.plain"]


def test_without_file_and_example_only_the_class_is_checked() -> None:
    found = outcomes(ReadsOnly)
    assert failed(found) == {}
    passed = {name for name, outcome in found.items() if outcome.verdict is Verdict.PASSED}
    assert passed == {
        "check_docstring",
        "check_options",
        "check_suffixes",
        "check_import",
        "check_import_without_framework",
        "check_pickles",
    }


def test_a_class_that_no_other_process_can_import_is_told_so() -> None:
    class Local(GoodModel):
        """A backend within a function."""

    found = outcomes(Local)
    assert failed(found) == {}
    assert found["check_silence"].verdict is Verdict.NOT_APPLICABLE
    assert "no other process can import it" in found["check_silence"].detail


def test_the_onnx_backend_keeps_every_promise() -> None:
    check_backend(OnnxModel)


def test_a_fault_is_told_with_the_backend_and_the_check() -> None:
    with pytest.raises(CheckFailed, match=r"backend _SlightlyOff fails 1 check:\n  check_known_answers: "):
        check_backend(PLANTED["check_known_answers"])


def test_the_network_of_the_checks_has_the_gradient_that_finite_differences_give() -> None:
    network = make_network()
    x = np.random.default_rng(0).normal(size=(3, 6))
    labels = np.array([0, 3, 1])

    def losses() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        p = network.probabilities(x)
        loss: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = -np.log(p[np.arange(3), labels])
        return loss

    from pmcore.testing.backend_gradients import squared_norms

    known = squared_norms(network, x, labels)
    step = 1e-3
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        total = np.zeros(3)
        for array in (weight, bias):
            for place in np.ndindex(array.shape):
                kept = array[place]
                array[place] = kept + step
                up, above = losses(), float(array[place])
                array[place] = kept - step
                down, below = losses(), float(array[place])
                array[place] = kept
                total += ((up - down) / (above - below)) ** 2
        np.testing.assert_allclose(known[:, layer], total, rtol=1e-4)


def test_files_of_a_case_are_gone_afterwards() -> None:
    with open_case(GoodModel) as case:
        folder = case.folder
        assert case.source.is_file()
    assert not folder.exists()

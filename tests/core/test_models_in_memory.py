from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pmcore import Audit, from_callable
from pmcore.backend import Loading, load_model, wrap_model
from pmcore.callables import CallableModel
from pmcore.errors import InputError, UntrustedError
from pmcore.installed import PluginPolicy
from pmcore.interfaces import Array, TensorSpec
from tests.core.cases import CLASSES, Case, make_case

POLICY = PluginPolicy()


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"))


def logits(x: Array) -> Array:
    """Return what the model of every case computes: its first features."""
    return x[:, :CLASSES]


def records(case: Case) -> dict[str, str]:
    return {key: value for key, value in case.arguments.items() if key != "model"}


def test_a_function_is_audited_to_the_same_figures_as_the_file(case: Case) -> None:
    by_file = case.audit().run()
    by_function = Audit(model=from_callable(logits), **records(case)).run()
    assert by_function.report.attacks["population"].auc == by_file.report.attacks["population"].auc
    np.testing.assert_array_equal(by_function.scores.scores["population"], by_file.scores.scores["population"])


def test_a_model_that_is_loaded_already_is_audited_as_it_is(case: Case) -> None:
    loaded = load_model(case.arguments["model"], POLICY).model
    result = Audit(model=loaded, **records(case)).run()
    assert result.report.model.backend == load_model(case.arguments["model"], POLICY).plugin.name
    assert result.report.attacks["population"].auc == case.audit().run().report.attacks["population"].auc


def test_the_report_says_what_was_audited(case: Case, tmp_path: Path) -> None:
    result = Audit(model=from_callable(logits), out=tmp_path / "report", **records(case)).run()
    model = result.report.model
    assert model.path == "logits in memory"
    assert model.sha256 is None
    assert model.backend == "callable"
    assert "no sha256" in str(result)
    assert (tmp_path / "report" / "report.json").is_file()


def test_a_model_in_memory_does_not_keep_reports_out_of_the_working_folder(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Audit(model=from_callable(logits), out=".", **records(case)).run()
    assert (tmp_path / "report.json").is_file()


def test_paths_may_be_path_objects(case: Case) -> None:
    arguments = {key: Path(value) for key, value in case.arguments.items()}
    assert Audit(**arguments).run().report.valid


def test_an_object_that_no_backend_knows_is_refused_with_advice() -> None:
    with pytest.raises(InputError, match=r"no backend takes an object of builtins\.dict"):
        wrap_model({}, POLICY)
    with pytest.raises(InputError, match=r"wrap a function with pmcore\.from_callable"):
        wrap_model(logits, POLICY)


def test_options_for_a_model_that_is_loaded_already_are_refused() -> None:
    with pytest.raises(InputError, match=r"^device, threads: the model is loaded already"):
        wrap_model(from_callable(logits), POLICY, Loading(threads=2, device="cuda"))


def test_a_class_is_told_from_a_model() -> None:
    with pytest.raises(InputError, match="Path is a class, not a model - make one"):
        wrap_model(Path, POLICY)


def test_nobody_can_vouch_for_a_model_in_memory() -> None:
    with pytest.raises(InputError, match="trust_model: is for files"):
        wrap_model(object(), POLICY, Loading(trust_model="sha256:" + "0" * 64))


def test_an_option_that_the_backend_does_not_have_is_refused(case: Case) -> None:
    with pytest.raises(InputError, match=r"model_class is for files of weights alone, and the \w+ backend reads whole"):
        load_model(case.arguments["model"], POLICY, Loading(model_class="package.module:factory"))


def test_a_file_that_is_not_the_trusted_one_is_refused(case: Case) -> None:
    sha256 = load_model(case.arguments["model"], POLICY).sha256
    assert load_model(case.arguments["model"], POLICY, Loading(trust_model=f"sha256:{sha256}")).sha256 == sha256
    with pytest.raises(UntrustedError, match="not the one that was trusted"):
        load_model(case.arguments["model"], POLICY, Loading(trust_model="sha256:" + "0" * 64))


class Unregistered(CallableModel):
    """A backend that somebody tries out before packaging it."""


def test_a_model_class_that_nobody_registers_is_reported_as_such() -> None:
    spec = TensorSpec("x", (), "float32")
    loaded = wrap_model(Unregistered(logits, (spec,), None, None, CLASSES, "mine"), POLICY)
    assert loaded.path == "mine"
    assert loaded.plugin.version == "unregistered"
    assert loaded.plugin.third_party

"""Adaptive queries: which record is asked about, what the model answers, and how they are counted."""

from __future__ import annotations

import numpy as np
import pytest

from pmcore.data import Role
from pmcore.errors import AuditError
from pmcore.features import features_of
from pmcore.label_queries import CountedQueries
from pmcore.plan import Plan
from tests.core.cases import CLASSES, Case, make_case


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"), n_members=40, n_nonmembers=60)


@pytest.fixture(scope="module")
def plan(case: Case) -> Plan:
    made = case.audit(population=str(case.folder / "nonmembers.npz")).plan()
    made.model.model.prepare(made.roles.sample())
    return made


def queries(plan: Plan, budget: int = 3) -> CountedQueries:
    feeds = [plan.roles.feeds[role] for role in (Role.MEMBERS, Role.NONMEMBERS)]
    return CountedQueries(plan.model.model, feeds, plan.roles.evidence_order(), budget, "an attack")


def test_records_are_those_that_the_attack_sees(case: Case, plan: Plan) -> None:
    order = plan.roles.evidence_order()
    asked = np.array([5, 0, 99, 5])
    np.testing.assert_array_equal(queries(plan).inputs(asked)["x"], case.x[order[asked]])


def test_answers_are_the_models_labels(case: Case, plan: Plan) -> None:
    order = plan.roles.evidence_order()
    counted = queries(plan)
    records = np.arange(100)
    labels = counted(records, counted.inputs(records))
    np.testing.assert_array_equal(labels, case.x[order][:, :CLASSES].argmax(axis=1))
    np.testing.assert_array_equal(counted.spent, np.ones(100))


def test_a_spent_budget_is_refused(plan: Plan) -> None:
    counted = queries(plan, budget=2)
    twice = np.array([3, 3])
    counted(twice, counted.inputs(twice))
    with pytest.raises(AuditError, match="asks 3 times about a record, and declares 2"):
        counted(np.array([3]), counted.inputs(np.array([3])))


def test_bounds_are_those_of_the_audited_records(case: Case, plan: Plan) -> None:
    assert queries(plan).bounds == {"x": (float(case.x.min()), float(case.x.max()))}


def test_few_columns_are_features_as_they_are(case: Case, plan: Plan) -> None:
    found = features_of(plan.roles.feeds[Role.MEMBERS], 12)
    np.testing.assert_array_equal(found, case.x[: case.n_members])


def test_many_columns_are_projected_the_same_way_for_every_role_and_record(plan: Plan) -> None:
    found = features_of(plan.roles.feeds[Role.NONMEMBERS], 5)
    assert found.shape == (60, 5)
    again = features_of(plan.roles.feeds[Role.POPULATION], 5)
    np.testing.assert_array_equal(found, again)
    inputs = plan.roles.feeds[Role.NONMEMBERS].some(np.arange(60))["x"].astype(np.float64)
    squares = (np.square(found).sum(axis=1) / np.square(inputs).sum(axis=1)).mean()
    assert 0.2 < squares * 12 / 5 < 5.0

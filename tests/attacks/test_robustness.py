"""The robustness attack against closed forms: a linear model under noise, one bit under flips."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from pmcore.errors import InputError
from pmcore.evidence import Evidence, EvidenceKey, Source
from pmcore.option_docs import resolved_options
from pmcore.options import build, parse_spec
from pmcore.outputs import Array, Floats
from pmcore.queries import facts_of, parse_query
from pmcore.testing import check_attack
from pmcore_labelonly import RobustnessAttack

RNG = np.random.default_rng(4)
NUMBERS = RNG.normal(1.0, 3.0, size=(40, 6)).astype(np.float32)
BITS = (RNG.random((60, 12)) < 0.5).astype(np.float32)


def scored(attack: RobustnessAttack, x: Array, labels: Array, predict: Callable[[Array], Array]) -> Floats:
    """Return scores of records whose every query is sent to a model."""
    facts = facts_of({"x": x})
    digests = np.random.default_rng(1).integers(2**64, size=(len(x), 2), dtype=np.uint64)
    right: dict[EvidenceKey, Array] = {}
    for text in attack.needs.queries:
        moved = parse_query(text).apply({"x": x}, digests, facts)["x"]
        right[EvidenceKey(Source.TARGET, "correctness", text)] = (predict(moved) == labels).astype(np.float64)
    return attack.score(Evidence(right, labels))


def within_chance(found: Floats, expected: Floats, copies: int) -> NDArray[np.bool_]:
    return np.abs(found - expected) <= 4.5 * np.sqrt(expected * (1.0 - expected) / copies) + 2.0 / copies


def test_a_linear_model_stays_right_as_often_as_its_margin_says() -> None:
    weights, offset, copies = np.array([1.0, -2.0, 0.5, 0.0, 1.5, -1.0]), 0.3, 2_000
    margins = NUMBERS @ weights + offset
    labels = (margins > 0).astype(np.int64)
    attack = RobustnessAttack("noise", queries=copies, scales=(0.7,))
    found = scored(attack, NUMBERS, labels, lambda x: (x @ weights + offset > 0).astype(np.int64))
    spread = 0.7 * NUMBERS.std() * np.linalg.norm(weights)
    assert within_chance(found, ndtr(np.abs(margins) / spread), copies).all()
    assert np.ptp(found) > 0.2


def test_a_model_of_one_bit_stays_right_as_often_as_it_is_not_flipped() -> None:
    copies = 1_500
    attack = RobustnessAttack("bitflip", queries=copies, shares=(0.1,))
    found = scored(attack, BITS, BITS[:, 0].astype(np.int64), lambda x: x[:, 0].astype(np.int64))
    assert within_chance(found, np.full(60, 0.9), copies).all()


def test_the_plain_query_counts_too() -> None:
    attack = RobustnessAttack(queries=3)
    first, *others = attack.needs.queries
    arrays = {EvidenceKey(Source.TARGET, "correctness", query): np.array([0.0, 1.0, 1.0]) for query in others}
    arrays[EvidenceKey(Source.TARGET, "correctness", first)] = np.array([1.0, 0.0, 1.0])
    np.testing.assert_allclose(attack.score(Evidence(arrays, np.zeros(3, dtype=np.int64))), [0.25, 0.75, 1.0])


def test_strengths_take_turns_and_every_copy_has_a_draw_of_its_own() -> None:
    assert RobustnessAttack("noise", queries=3, scales=(0.5, 2.0)).needs.queries == (
        "plain",
        "noise:scale=0.5,draw=0",
        "noise:scale=2.0,draw=1",
        "noise:scale=0.5,draw=2",
    )
    assert len(RobustnessAttack().needs.queries) == 19


def test_bits_are_flipped_where_there_are_some_and_else_noise_is_added() -> None:
    attack = RobustnessAttack()
    other = attack.fallback
    assert isinstance(other, RobustnessAttack)
    for x, first, second in ((BITS, True, True), (NUMBERS, False, True), (np.arange(8).reshape(2, 4), False, False)):
        facts = facts_of({"x": x})
        fits = [
            all(parse_query(text).obstacle(facts) is None for text in each.needs.queries) for each in (attack, other)
        ]
        assert fits == [first, second]
    assert other.fallback is None
    assert RobustnessAttack("bitflip").fallback is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queries": 0}, "robustness: queries: 0 - give 1 or more"),
        ({"scales": ()}, "robustness: scales: [] - give one or more numbers above 0"),
        ({"scales": (0.1, -1.0)}, "robustness: scales: [0.1, -1.0] - give one or more numbers above 0"),
        ({"scales": (float("inf"),)}, "robustness: scales: [inf] - give one or more numbers above 0"),
        ({"shares": (1.0,)}, "robustness: shares: [1.0] - give one or more numbers between 0 and 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        build(RobustnessAttack, options, "attack 'robustness'")


def test_options_are_read_from_text() -> None:
    options = parse_spec("robustness:perturbation=noise,queries=4,scales=[0.1, 0.2]").options
    found = build(RobustnessAttack, options, "attack 'robustness'")
    assert found == RobustnessAttack("noise", 4, (0.1, 0.2))
    assert build(RobustnessAttack, resolved_options(found), "attack 'robustness'") == found


def test_it_keeps_every_promise_with_noise() -> None:
    check_attack(RobustnessAttack("noise", queries=5))

from __future__ import annotations

import numpy as np

from tests.agreement.measure import widest_exchange


def test_scores_in_the_same_order_exchange_nothing() -> None:
    assert widest_exchange(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3])) == 0.0
    assert widest_exchange(np.array([3.0, 2.0, 1.0]), np.array([0.1, 0.2, 0.3])) == 0.0


def test_ties_exchange_nothing() -> None:
    assert widest_exchange(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.1, 0.1])) == 0.0


def test_the_widest_exchange_is_found() -> None:
    signal = np.array([0.0, 1.0, 1.5, 4.0, 4.5])
    assert widest_exchange(signal, np.array([0.0, 2.0, 1.0, 4.0, 3.0])) == 0.5
    assert widest_exchange(signal, np.array([0.0, 4.0, 1.0, 2.0, 3.0])) == 3.5

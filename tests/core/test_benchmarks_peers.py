"""The comparison with peers: what passes between processes, what is never installed, and what the table says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import peer_driver
from benchmarks.peer_environments import PEERS, PeerError, for_graphics_cards, last_line
from benchmarks.peers import Pair, Side, table


def test_a_process_that_ends_is_told_with_its_last_line(tmp_path: Path) -> None:
    side = Side("no-such-side", Path(sys.executable), tmp_path, tmp_path / "side.log")
    with pytest.raises(PeerError, match="ended: KeyError: 'no-such-side'") as caught:
        side.start()
    side.stop()
    assert "\n" not in str(caught.value)


def test_a_job_that_fails_is_told_and_the_next_is_asked(tmp_path: Path) -> None:
    side = Side("pmcore", Path(sys.executable), tmp_path, tmp_path / "side.log")
    try:
        side.start()
        for _ in range(2):  # there are no files
            with pytest.raises(PeerError, match="pmcore: population: ") as caught:
                side.ask("population")
            assert "\n" not in str(caught.value)
        assert "numpy" in side.versions
    finally:
        side.stop()


def test_both_sides_know_the_jobs_of_every_peer(tmp_path: Path) -> None:
    ours = peer_driver.pmcore_jobs(peer_driver.Case(tmp_path))
    assert {job for peer in PEERS.values() for job in peer.jobs} == set(ours)
    assert set(PEERS) | {"pmcore"} == set(peer_driver.SIDES)


@pytest.mark.parametrize(
    ("name", "version", "refused"),
    [
        ("torch", "2.13.0+cpu", False),
        ("torch", "2.13.0+cu130", True),
        ("nvidia-nccl-cu12", "2.32.3", True),
        ("triton", "3.5.0", True),
        ("tensorflow_cpu", "2.21.0", False),
    ],
)
def test_builds_for_graphics_cards_are_refused(name: str, version: str, refused: bool) -> None:
    report = {"install": [{"metadata": {"name": name, "version": version}}]}
    assert for_graphics_cards(report) == ([f"{name} {version}"] if refused else [])


def test_a_network_comes_back_from_its_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 3), (2, 4)))
    np.savez(tmp_path / "model.npz", first, np.zeros(4, np.float32), second, np.ones(2, np.float32))
    x = rng.standard_normal((5, 3)).astype(np.float32)
    answer = peer_driver.Case(tmp_path).network("model")(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(answer, np.maximum(x @ first.T, 0) @ second.T + 1, rtol=1e-5)


def test_the_table_stars_areas_that_a_peer_does_not_give() -> None:
    own = {"seconds": 1.0, "auc": 0.8, "low": 0.7, "high": 0.9}
    scored = Pair("art", "gap", [own], [{"seconds": 2.0, "inside": [1.0, 0.0], "outside": [0.0, 0.0]}])
    given = Pair("sacroml", "quantile", [own, own], [{"seconds": 4.0, "auc": 0.6}, {"seconds": 4.0, "auc": 0.7}])
    rows = table([scored, given]).splitlines()[2:]
    assert rows[0] == "| art | gap | 1 s | 2 s | 0.5 (0.5 to 0.5) | 0.800 [0.700, 0.900] | 0.750* |  |"
    assert "| 0.650 (0.600 to 0.700) |" in rows[1]


@pytest.mark.parametrize(("text", "last"), [("a\nb\n\n", "b"), ("", "nothing was said")])
def test_the_last_line_that_says_something(text: str, last: str) -> None:
    assert last_line(text) == last

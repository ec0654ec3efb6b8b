"""What is not understood, or was understood wrongly, is taken in another way; what has no answer is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pmcore.errors import InputError, ModelError, OutOfMemory
from pmcore.interfaces import GradientRequest
from pmcore_autograd.per_record import PerRecord, broadcasting, probing
from pmcore_autograd.per_record.layouts import Layout
from tests.autograd.record_gradients import Case, check
from tests.autograd.test_per_record_uses import Computed


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def records() -> dict[str, Tensor]:
    return {"x": torch.randn(7, 6)}


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))


def test_an_operator_that_is_not_known_is_taken_by_vmap_and_the_others_by_their_uses() -> None:
    case = Case(
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.InstanceNorm1d(4, affine=True), nn.Flatten(), nn.Linear(16, 3)),
        {"x": torch.randn(7, 2, 6)},
    )
    case.module.eval()
    engine = check(case)
    assert engine.reasons.keys() == {"1.weight", "1.bias"}
    assert "vmap (2 parameters)" in engine.method


def test_a_layer_of_words_in_bags_is_right() -> None:
    case = Case(nn.Sequential(nn.EmbeddingBag(11, 6), nn.Linear(6, 3)), {"n": torch.randint(0, 11, (7, 5))})
    assert check(case).reasons.keys() == {"0.weight"}


def test_an_operator_that_vmap_refuses_is_taken_record_by_record() -> None:
    """A branch on a value has no meaning for many records at once."""

    def compute(m: Any, x: Tensor) -> Tensor:
        bags = m.bags(torch.arange(6).expand(len(x), 6).contiguous(), per_sample_weights=x)
        found: Tensor = bags * (1 if x.isfinite().all().item() else 0)
        return found

    case = Case(Computed(compute, bags=nn.EmbeddingBag(6, 3, mode="sum")), records())
    engine = check(case)
    assert engine.method == "record by record (1 parameter)"


def test_a_use_that_is_read_wrongly_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of sums is planted to see half of what is there."""
    read = broadcasting.Added.use

    def halved(self: broadcasting.Added, *given: object) -> object:
        use = read(self, *given)  # type: ignore[arg-type]
        return type(use)(use.view, use.values / 2)  # type: ignore[attr-defined, call-arg]

    monkeypatch.setattr(broadcasting.Added, "use", halved)
    engine = check(Case(dense(), records()))
    assert engine.reasons == {"0.bias": engine.reasons["0.bias"], "2.bias": engine.reasons["2.bias"]}
    assert engine.reasons["0.bias"].startswith("off by 5")
    assert engine.method == "outer products (2 parameters), vmap (2 parameters)"


def test_records_that_are_read_from_the_wrong_place_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Layout.split

    def swapped(self: Layout, tensor: Tensor, count: int) -> Tensor:
        found = split(self, tensor, count)
        return found if tensor.dtype is torch.bool else found.flip(0)

    monkeypatch.setattr(Layout, "split", swapped)
    assert check(Case(dense(), records())).reasons.keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_a_network_that_cannot_be_watched_is_taken_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no watching here")

    monkeypatch.setattr(probing, "tracing", fails)
    engine = check(Case(dense(), records()))
    assert engine.method == "vmap (4 parameters)"
    assert set(engine.reasons.values()) == {"cannot be watched: no watching here"}


def test_a_network_that_changes_its_way_for_a_batch_is_right_all_the_same() -> None:
    def compute(m: Any, x: Tensor) -> Tensor:
        halves = [x] if len(x) < 5 else [x[:2], x[2:]]
        return torch.cat([m.one(half) for half in halves])

    engine = check(Case(Computed(compute, one=nn.Linear(6, 3)), records()))
    assert "out of turn" in engine.reasons["one.weight"] or "steps" in engine.reasons["one.weight"]


def test_a_recurrence_that_takes_one_record_at_a_time_is_taken_record_by_record() -> None:
    case = Case(nn.Sequential(nn.LSTM(6, 5, batch_first=True)), {"x": torch.randn(5, 4, 6)}, batched=False)
    case.forward = lambda inputs: case.module(inputs["x"])[0][:, -1]
    assert check(case).method.startswith("record by record (4 parameters)")


def test_large_parameters_that_are_not_understood_are_taken_record_by_record() -> None:
    case = Case(nn.Bilinear(6, 6, 40), {"x": torch.randn(4, 6)}, budget=15_000)
    case.forward = lambda inputs: case.module(inputs["x"], inputs["x"])
    assert "record by record (1 parameter)" in check(case).method


def statistics() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).train()


def neighbours() -> nn.Module:
    return Computed(lambda m, x: m.part(x) + 0.01 * x.roll(1, 0)[:, :3], part=nn.Linear(6, 3))


def attention_among_records() -> nn.Module:
    return Computed(lambda m, x: m.part(x, x, x)[0], part=nn.MultiheadAttention(6, 2))


@pytest.mark.parametrize("make", [statistics, neighbours, attention_among_records])
def test_records_that_depend_on_each_other_are_refused(make: Callable[[], nn.Module]) -> None:
    module = make()
    engine = PerRecord(module, lambda inputs: module(inputs["x"]), {"all": list(module.parameters())})
    with pytest.raises(ModelError, match="depends on the others in its batch"):
        engine.reduce(records(), lambda predictions, _: np.ones(predictions.shape), [GradientRequest()])


@pytest.mark.parametrize("batched", [True, False])
def test_a_network_that_uses_chance_is_refused(batched: bool) -> None:
    module = nn.Sequential(nn.Linear(6, 6), nn.Dropout(), nn.Linear(6, 3)).train()
    engine = PerRecord(module, lambda inputs: module(inputs["x"]), {"all": list(module.parameters())}, batched=batched)
    with pytest.raises(ModelError, match="differ from one time to the next"):
        engine.reduce(records(), lambda predictions, _: np.ones(predictions.shape), [GradientRequest()])


def test_predictions_that_are_not_one_row_per_record_are_refused() -> None:
    module = dense()
    engine = PerRecord(module, lambda inputs: module(inputs["x"])[:2], {"all": list(module.parameters())})
    with pytest.raises(ModelError, match=r"of 3 records have the shape \(2, 3\)"):
        engine.reduce({"x": torch.randn(4, 6)}, lambda p, _: np.ones(p.shape), [GradientRequest()])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (GradientRequest(("nowhere",)), "no layer 'nowhere'"),
        (GradientRequest(order=3.0), "order 3"),
        (GradientRequest((), "sketch", size=0), "1 or more"),
        (GradientRequest((), "mean"), "not to 'mean'"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_any_work(request_: GradientRequest, message: str) -> None:
    def never(_: object) -> Tensor:
        raise AssertionError

    module = dense()
    engine = PerRecord(module, never, {"all": list(module.parameters())})
    with pytest.raises(InputError, match=message):
        engine.reduce(records(), lambda p, _: p, [request_])


def test_a_parameter_of_another_module_is_refused() -> None:
    with pytest.raises(InputError, match="not one of its module"):
        PerRecord(dense(), lambda inputs: inputs["x"], {"all": list(dense().parameters())})


def test_a_layer_without_parameters_has_norm_and_sketch_0() -> None:
    module = dense().double()
    engine = PerRecord(module, lambda i: module(i["x"]), {"first": list(module[0].parameters()), "relu": []})
    both = [GradientRequest(("relu",)), GradientRequest(("relu", "first"), "sketch", size=4)]
    found = engine.reduce({"x": torch.randn(5, 6).double()}, lambda p, _: np.ones(p.shape), both)
    np.testing.assert_array_equal(found[both[0]], np.zeros((5, 1)))
    np.testing.assert_array_equal(found[both[1]][:, :4], np.zeros((5, 4)))
    assert (found[both[1]][:, 4:] != 0).any(axis=1).all()


def test_nothing_of_the_module_or_of_the_records_is_changed() -> None:
    """Also where layers are frozen, where buffers are written to, and where the network writes into its inputs."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Linear(6, 3).requires_grad_(False)
            self.scale = nn.Parameter(torch.randn(3))
            self.asked = nn.Buffer(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.asked.add_(1)
            scaled: Tensor = self.part(x.mul_(2)) * self.scale
            return scaled

    module = Counting().double()
    module.scale.grad = torch.ones(3).double()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    inputs = {"x": torch.randn(7, 6).double()}
    given = inputs["x"].clone()
    engine = PerRecord(module, lambda i: module(i["x"]), {"all": list(module.parameters())})
    with torch.inference_mode():
        engine.reduce(inputs, lambda p, _: np.ones(p.shape), [GradientRequest()])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(inputs["x"], given)
    assert torch.equal(module.scale.grad, torch.ones(3).double())
    assert [p.requires_grad for p in module.parameters()] == [True, False, False]
    assert module.part.weight.grad is None


def test_memory_that_does_not_suffice_halves_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    module = dense().double()
    seen: list[int] = []

    def forward(inputs: dict[str, Tensor], limit: int) -> Tensor:
        count = len(inputs["x"])
        seen.append(count)
        if count > limit:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        logits: Tensor = module(inputs["x"])
        return logits

    layers = {"all": list(module.parameters())}
    inputs = {"x": torch.randn(40, 6).double()}

    def ask(limit: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        engine = PerRecord(module, functools.partial(forward, limit=limit), layers)
        return engine.reduce(inputs, lambda p, _: np.ones(p.shape), [GradientRequest()])[GradientRequest()]

    for limit in (6, 2):
        np.testing.assert_allclose(ask(limit), ask(40), rtol=1e-12)
    assert max(seen) == 40
    with pytest.raises(OutOfMemory, match="model: torch ran out of memory"):
        ask(0)

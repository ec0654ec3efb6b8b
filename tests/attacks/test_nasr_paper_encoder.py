"""The attack model of the paper against the same network built of torch's own modules."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pmcore.outputs import Floats
from pmcore_gradient.components import Component, Kind
from pmcore_gradient.paper_encoder import KERNELS, _Chain, _network, paper_log_odds

OPTIONS = {"epochs": 20, "learning_rate": 1e-3, "weight_decay": 0.0, "dropout": 0.2, "batch_size": 32}


def components(n: int, shift: float = 0.0) -> list[Component]:
    rng = np.random.default_rng(0)
    members = (np.arange(n) % 2)[:, None]
    kinds = ((Kind.LOSS, 2), (Kind.GRADIENT, 8), (Kind.ACTIVATIONS, 5), (Kind.LABEL, 3))
    return [Component(kind, rng.normal(size=(n, width)) + shift * members) for kind, width in kinds]


def log_odds(given: list[Component], seed: int = 1, **changed: float) -> Floats:
    n = len(given[0].values)
    known = np.arange(n) < n // 2
    return paper_log_odds(given, known, np.arange(n)[known] % 2 == 1, {**OPTIONS, **changed}, seed)


def test_each_component_has_layers_of_its_own_and_an_encoder_joins_them() -> None:
    network = _network(components(4), torch.Generator().manual_seed(0))
    widths = [[tuple(weight.shape) for weight in chain.weights] for chain in network.components]
    assert widths == [
        [(128, 2), (64, 128)],
        [(KERNELS, 8), (128, KERNELS), (64, 128)],
        [(128, 5), (64, 128)],
        [(128, 3), (64, 128)],
    ]
    assert [tuple(weight.shape) for weight in network.encoder.weights] == [(256, 256), (128, 256), (64, 128), (1, 64)]


def test_its_answers_are_those_of_the_same_network_made_of_modules() -> None:
    given = components(16)
    network = _network(given, torch.Generator().manual_seed(0))
    inputs = [torch.tensor(component.values, dtype=torch.float32) for component in given]
    parts = [_module(chain, last=True)(values) for chain, values in zip(network.components, inputs, strict=True)]
    expected = _module(network.encoder, last=False)(torch.cat(parts, dim=1))[:, 0]
    torch.testing.assert_close(network.answers(inputs, lambda hidden: hidden), expected)


def _module(chain: _Chain, last: bool) -> nn.Sequential:
    modules: list[nn.Module] = []
    for weight, bias in zip(chain.weights, chain.biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*(modules if last else modules[:-1]))


def test_weights_start_so_that_nothing_grows_or_fades_from_layer_to_layer() -> None:
    network = _network(components(4), torch.Generator().manual_seed(0))
    weights = network.encoder.weights[0].detach()
    assert abs(float(weights.square().mean()) * weights.shape[1] / 2 - 1) < 0.02
    assert all(float(bias.detach().abs().max()) == 0 for bias in network.encoder.biases)


def test_it_learns_and_the_same_seed_gives_the_same_answers() -> None:
    given = components(400, shift=1.0)
    first = log_odds(given)
    members = np.arange(200, 400) % 2 == 1
    assert first[members].mean() > first[~members].mean() + 1.0
    np.testing.assert_array_equal(first, log_odds(given))
    assert not np.array_equal(first, log_odds(given, seed=2))


def test_the_random_numbers_of_torch_are_left_alone() -> None:
    before = torch.get_rng_state()
    torch.manual_seed(5)
    first = log_odds(components(60), epochs=2)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(6)
    np.testing.assert_array_equal(first, log_odds(components(60), epochs=2))
    torch.set_rng_state(before)


def test_dropout_keeps_the_mean_of_what_it_drops() -> None:
    """With so small a step nothing is learned, whatever is dropped; with half of everything dropped less is learned."""
    given = components(100, shift=1.0)
    still = [log_odds(given, epochs=1, learning_rate=1e-12, dropout=share) for share in (0.0, 0.5)]
    np.testing.assert_allclose(still[0], still[1], atol=1e-5)
    learned = [log_odds(given, dropout=share) for share in (0.0, 0.5)]
    assert np.abs(learned[1]).mean() < np.abs(learned[0]).mean()

"""Every way in which a parameter meets the records, and every place where the records may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.autograd.record_gradients import Case, check

Compute = Callable[..., Tensor]


class Computed(nn.Module):
    """Parameters and parts by name, and what is computed with them."""

    def __init__(self, compute: Compute, **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.compute = compute
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)

    def forward(self, *given: Tensor) -> Tensor:
        return self.compute(self, *given)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def wide(*shape: int) -> Tensor:
    return torch.randn(shape)


def tied_words(m: Any, numbers: Tensor) -> Tensor:
    """Look words up in the table whose rows are the weights of the output."""
    hidden = torch.tanh(m.part(m.words(numbers) + m.places[:, : numbers.shape[1]]))
    return functional.linear(hidden, m.words.weight).sum(1)


def branches(m: Any, x: Tensor) -> Tensor:
    """Reach one of two layers, which differs from record to record."""
    return torch.where(x[:, :1] > 0, m.one(x), m.other(x))


def relative(m: Any, x: Tensor) -> Tensor:
    """Make a matrix of a table of biases by distance before any record meets it."""
    distances = torch.arange(16).reshape(4, 4) % 7
    logits: Tensor = (torch.softmax(x @ x.transpose(1, 2) + m.table[distances], -1) @ x).mean(1) @ m.w
    return logits


RECORDS = {"x": wide(7, 6)}
ROWS = {"x": wide(7, 5, 6)}
USES: dict[str, Callable[[], Case]] = {
    "product_with_a_transpose": lambda: Case(
        Computed(lambda m, x: (x @ m.a.t()).tanh() @ m.b, a=wide(4, 6), b=wide(4, 3)), RECORDS
    ),
    "product_with_another_shape": lambda: Case(Computed(lambda m, x: x @ m.a.reshape(6, 4), a=wide(3, 8)), RECORDS),
    "product_with_a_part": lambda: Case(
        Computed(lambda m, x: x @ m.a[1:7] + (x @ m.a[2:8, :4]).tanh(), a=wide(9, 4)), RECORDS
    ),
    "products_with_apart_parts": lambda: Case(
        Computed(lambda m, x: (x @ m.a[:6]).tanh() @ m.a[6:], a=wide(10, 4)), RECORDS
    ),
    "parameter_on_the_left": lambda: Case(
        Computed(lambda m, x: (m.a @ x.t()).tanh().t() @ m.b, a=wide(4, 6), b=wide(4, 3)), RECORDS
    ),
    "parameter_on_the_left_of_matrices": lambda: Case(
        Computed(lambda m, x: (m.a @ x).tanh().mean(2), a=wide(4, 5)), ROWS
    ),
    "vector": lambda: Case(
        Computed(lambda m, x: torch.stack([x @ m.a, (x * m.a).sum(1).tanh()], 1), a=wide(6)), RECORDS
    ),
    "matrix_for_each_head": lambda: Case(
        Computed(
            lambda m, x: torch.einsum("btd,hde->bhte", x, m.a).tanh().flatten(1) @ m.b, a=wide(2, 6, 3), b=wide(30, 4)
        ),
        ROWS,
    ),
    "matrix_chosen_by_the_record": lambda: Case(
        Computed(lambda m, x: torch.bmm(x[:, None], m.a[(x[:, 0] > 0).long()])[:, 0], a=wide(2, 6, 3)), RECORDS
    ),
    "batches_of_products": lambda: Case(
        Computed(
            lambda m, x: torch.baddbmm(m.b, x, m.a.expand(len(x), -1, -1)).tanh().mean(1), a=wide(6, 4), b=wide(1, 1, 4)
        ),
        ROWS,
    ),
    "added_and_multiplied": lambda: Case(
        Computed(
            lambda m, x: (x * m.a - m.b).tanh() + 2 * torch.sub(x, m.c, alpha=3.0), a=wide(6), b=wide(1), c=wide(1, 6)
        ),
        RECORDS,
    ),
    "other_pointwise_operators": lambda: Case(
        Computed(
            lambda m, x: torch.where(x > 0, m.a, x / m.b) + torch.lerp(x, m.c, 0.3) + x.abs() ** m.d,
            a=wide(6),
            b=wide(6),
            c=wide(6),
            d=torch.rand(1),
        ),
        RECORDS,
    ),
    "in_place": lambda: Case(Computed(lambda m, x: (x * 1).mul_(m.a).add_(m.b).relu_(), a=wide(6), b=wide(6)), RECORDS),
    "class_token_that_is_repeated": lambda: Case(
        Computed(
            lambda m, x: m.part(torch.cat([m.token.repeat(len(x), 1, 1), x], 1) + m.places).tanh()[:, 0],
            token=wide(1, 1, 6),
            places=wide(1, 6, 6),
            part=nn.Linear(6, 3),
        ),
        ROWS,
    ),
    "rows_batch_first": lambda: Case(
        Computed(
            lambda m, x: m.head(m.part(x.reshape(-1, 6)).tanh()).reshape(-1, 5, 3)[:, 0],
            part=nn.Linear(6, 6),
            head=nn.Linear(6, 3),
        ),
        ROWS,
    ),
    "rows_time_first": lambda: Case(
        Computed(
            lambda m, x: m.head(m.part(x.transpose(0, 1).reshape(-1, 6)).tanh().reshape(5, -1, 6).mean(0)),
            part=nn.Linear(6, 6),
            head=nn.Linear(6, 3),
        ),
        ROWS,
    ),
    "records_along_the_second_axis": lambda: Case(
        Computed(
            lambda m, x: m.head(m.norm(m.part(x.transpose(0, 1))).tanh()[0]),
            part=nn.Linear(6, 6),
            norm=nn.LayerNorm(6),
            head=nn.Linear(6, 3),
        ),
        {"x": wide(7, 3, 6)},
    ),
    "first_row_alone_is_read": lambda: Case(
        Computed(
            lambda m, x: m.head(m.part(x.reshape(-1, 6)).reshape(-1, 4, 6)[:, 0].tanh()),
            part=nn.Linear(6, 6),
            head=nn.Linear(6, 3),
        ),
        {"x": wide(7, 4, 6)},
    ),
    "frames_as_images": lambda: Case(
        Computed(
            lambda m, x: m.part(x.flatten(0, 1)).tanh().unflatten(0, x.shape[:2]).mean((1, 3, 4)),
            part=nn.Conv2d(2, 3, 3),
        ),
        {"x": wide(5, 4, 2, 5, 5)},
    ),
    "images_time_first": lambda: Case(
        Computed(
            lambda m, x: m.norm(m.part(x.transpose(0, 1).flatten(0, 1))).tanh().unflatten(0, (4, -1)).mean((0, 3, 4)),
            part=nn.Conv2d(2, 4, 3),
            norm=nn.GroupNorm(2, 4),
        ),
        {"x": wide(5, 4, 2, 5, 5)},
    ),
    "layer_that_is_used_twice": lambda: Case(
        Computed(lambda m, x: m.head(m.part(m.part(x).tanh()).tanh()), part=nn.Linear(6, 6), head=nn.Linear(6, 3)),
        RECORDS,
    ),
    "convolution_that_is_used_twice": lambda: Case(
        Computed(lambda m, x: m.part(m.part(x).tanh()).flatten(1), part=nn.Conv2d(2, 2, 3)), {"x": wide(5, 2, 7, 7)}
    ),
    "table_that_is_used_twice": lambda: Case(
        Computed(lambda m, n: (m.words(n) + m.words(n.flip(1)).tanh()).mean(1), words=nn.Embedding(9, 4)),
        {"n": torch.randint(0, 9, (6, 5))},
    ),
    "tied_words": lambda: Case(
        Computed(tied_words, words=nn.Embedding(11, 6, padding_idx=0), places=wide(1, 8, 6), part=nn.Linear(6, 6)),
        {"n": torch.randint(0, 3, (7, 5))},
    ),
    "rows_by_negative_numbers": lambda: Case(
        Computed(lambda m, n: m.table[n - 9].tanh().mean(1), table=wide(9, 4)), {"n": torch.randint(0, 9, (6, 5))}
    ),
    "rows_that_are_selected": lambda: Case(
        Computed(
            lambda m, n: m.table.index_select(0, n.flatten()).reshape(*n.shape, 4).tanh().mean(1), table=wide(9, 4)
        ),
        {"n": torch.randint(0, 9, (6, 5))},
    ),
    "positions_that_every_record_has": lambda: Case(
        Computed(lambda m, x: (x + m.places(torch.arange(5))).tanh().mean(1), places=nn.Embedding(8, 6)), ROWS
    ),
    "biases_by_distance": lambda: Case(Computed(relative, table=wide(7), w=wide(6, 3)), {"x": wide(7, 4, 6)}),
    "normalised_weights": lambda: Case(
        nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)),
            nn.Tanh(),
            nn.utils.parametrizations.orthogonal(nn.Linear(5, 3)),
        ),
        RECORDS,
    ),
    "root_mean_square_norm": lambda: Case(nn.Sequential(nn.Linear(6, 6), nn.RMSNorm(6), nn.Linear(6, 3)), RECORDS),
    "parameters_without_influence": lambda: Case(
        Computed(lambda m, x: m.part(x), part=nn.Linear(6, 3), idle=nn.Linear(3, 3)), RECORDS
    ),
    "parameters_that_some_records_do_not_reach": lambda: Case(
        Computed(branches, one=nn.Linear(6, 3), other=nn.Linear(6, 3)), RECORDS
    ),
    "an_input_that_is_no_number": lambda: Case(
        Computed(lambda m, x, flags: m.part(x) * flags[:, None], part=nn.Linear(6, 3)),
        {"x": wide(7, 6), "flags": torch.arange(7) % 2 == 0},
    ),
    "strided_records": lambda: Case(nn.Linear(6, 3), {"x": wide(6, 14).t()[::2]}),
}


@pytest.mark.parametrize("name", USES)
def test_a_use_gives_the_gradients_of_plain_backward_passes(name: str) -> None:
    case = USES[name]()
    case.module.eval()
    assert check(case).reasons == {}


@pytest.mark.parametrize("records", [1, 2, 3, 4])
def test_few_records_are_enough_to_find_the_uses(records: int) -> None:
    case = USES["rows_time_first"]()
    case.inputs = {name: value[:records] for name, value in case.inputs.items()}
    assert check(case).reasons == {}

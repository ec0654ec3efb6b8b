"""The parts that gradients are reduced from, each against what is written out with numpy."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pmcore.interfaces import Floats
from pmcore.sketches import parameter_sketch
from pmcore_autograd.per_record.combining import united
from pmcore_autograd.per_record.convolutions import Convolution, Geometry
from pmcore_autograd.per_record.layouts import Layout, candidates
from pmcore_autograd.per_record.lookups import Lookup
from pmcore_autograd.per_record.norms import power
from pmcore_autograd.per_record.products import Products
from pmcore_autograd.per_record.reducing import reduced
from pmcore_autograd.per_record.sketching import torch_sketch
from pmcore_autograd.per_record.uses import Use
from pmcore_autograd.per_record.views import Parameters, ParameterView, whole_view
from pmcore_autograd.per_record.written import Written

ORDERS = (1.0, 2.0, np.inf)
ROOM = 2**20


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def wide(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def powers(gradients: Tensor, order: float) -> Floats:
    flat = gradients.flatten(1).abs().numpy()
    found: Floats = {1.0: flat.sum(1), 2.0: (flat**2).sum(1), np.inf: flat.max(1)}[order]
    return found


def check_reductions(use: Use, size: int = 16) -> None:
    """Hold powers and the sketch of a use against its own gradients, written out."""
    gradients = use.view.placed(use.written(slice(0, use.records)))
    drawn = parameter_sketch(use.view.shape, size, 3)
    matrices = gradients.reshape(use.records, len(drawn.row_sign), len(drawn.column_sign)).numpy()
    for room in (ROOM, 1):
        found = reduced(use, ORDERS, [torch_sketch(use.view.shape, size, 3, gradients)], room)
        for order, values in zip(ORDERS, found.powers, strict=True):
            np.testing.assert_allclose(values.numpy(), powers(gradients, order), rtol=1e-9)
        np.testing.assert_allclose(found.sketches[0].numpy(), drawn.of_matrices(matrices), atol=1e-9)


def products(times: int, rows: int, columns: int, groups: int = 1) -> Products:
    shape = (rows, columns) if groups == 1 else (groups, rows, columns)
    return Products(whole_view(shape), wide(5, groups, times, rows), wide(5, groups, times, columns))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("times", "rows", "columns"), [(1, 40, 50), (2, 40, 50), (30, 40, 50), (60, 4, 5), (1, 1, 1)])
def test_products_are_reduced_as_if_written_out(times: int, rows: int, columns: int, groups: int) -> None:
    use = products(times, rows, columns, groups)
    expected = torch.einsum("bgtl,bgtr->bglr", use.left, use.right).reshape(5, *use.view.size)
    torch.testing.assert_close(use.written(slice(0, 5)), expected)
    check_reductions(use)


def test_products_of_large_layers_are_never_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(Products, "written", never)
    for use, orders in ((products(1, 900, 800), ORDERS), (products(4, 900, 800), (2.0,))):
        reduced(use, orders, [torch_sketch(use.view.shape, 64, 0, use.left)], ROOM)


GEOMETRIES = [
    ((7, 6, 8, 8), (6, 6, 3, 3), Geometry((1, 1), (1, 1), (1, 1), False, (0, 0), 1)),
    ((7, 6, 9, 8), (4, 3, 3, 2), Geometry((2, 1), (2, 0), (2, 3), False, (0, 0), 2)),
    ((7, 6, 3, 3), (60, 6, 3, 3), Geometry((1, 1), (1, 1), (1, 1), False, (0, 0), 1)),
    ((7, 6, 4, 4), (30, 1, 3, 3), Geometry((1, 1), (0, 0), (1, 1), False, (0, 0), 6)),
    ((7, 4, 9), (5, 4, 3), Geometry((3,), (1,), (2,), False, (0,), 1)),
    ((7, 40, 3), (50, 40, 3), Geometry((1,), (1,), (1,), False, (0,), 1)),
    ((7, 40, 3), (60, 20, 3), Geometry((1,), (1,), (1,), False, (0,), 2)),
    ((7, 20, 2, 3, 2), (60, 20, 3, 1, 2), Geometry((1, 1, 1), (1, 0, 1), (1, 1, 1), False, (0, 0, 0), 1)),
    ((7, 3, 4, 5, 6), (2, 3, 2, 3, 2), Geometry((1, 2, 1), (0, 1, 0), (1, 1, 2), False, (0, 0, 0), 1)),
    ((7, 4, 5, 5), (4, 3, 3, 3), Geometry((2, 2), (1, 1), (1, 1), True, (1, 0), 1)),
    ((7, 4, 5), (4, 3, 3), Geometry((2,), (0,), (2,), True, (0,), 2)),
]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("images", "weight", "how"), GEOMETRIES)
def test_convolutions_are_reduced_as_if_written_out(
    images: tuple[int, ...], weight: tuple[int, ...], how: Geometry, times: int
) -> None:
    x, w = wide(images[0] * times, *images[1:]), wide(*weight).requires_grad_()
    y = torch.convolution(
        x, w, None, how.stride, how.padding, how.dilation, how.transposed, how.output_padding, how.groups
    )
    g = torch.randn_like(y)
    by_record = [side.reshape(-1, times, *side.shape[1:]) for side in (x, g)]
    use = Convolution(whole_view(weight), by_record[0], by_record[1], how)
    for at in range(len(use.images)):
        mask = torch.zeros_like(g)
        mask[at * times : (at + 1) * times] = g[at * times : (at + 1) * times]
        expected = torch.autograd.grad(y, w, mask, retain_graph=True)[0]
        torch.testing.assert_close(use.written(slice(at, at + 1))[0], expected)
    check_reductions(use)


def test_rows_of_tables_are_reduced_as_if_written_out() -> None:
    numbers = torch.tensor([[0, 1, 1, 4], [2, -1, 2, 2], [3, 0, -1, 3], [-1, -1, -1, -1]])
    use = Lookup(whole_view((5, 3)), numbers, wide(4, 4, 3))
    expected = torch.zeros(4, 5, 3, dtype=torch.float64)
    for record, time in np.ndindex(4, 4):
        if numbers[record, time] >= 0:
            expected[record, numbers[record, time]] += use.gradients[record, time]
    torch.testing.assert_close(use.written(slice(0, 4)), expected)
    check_reductions(use)


def test_a_table_that_is_also_the_output_is_the_sum_of_both_uses() -> None:
    table = Lookup(whole_view((7, 3)), torch.randint(0, 7, (5, 4)), wide(5, 4, 3))
    output = Products(whole_view((7, 3)), wide(5, 1, 6, 7), wide(5, 1, 6, 3))
    both = united([table, output])
    every = slice(0, 5)
    torch.testing.assert_close(both.written(every), table.written(every) + output.written(every))
    assert both.power(2, ROOM) is not None
    check_reductions(both)


def test_two_uses_that_cancel_leave_what_is_left() -> None:
    table = Lookup(whole_view((7, 3)), torch.randint(0, 7, (5, 4)), wide(5, 4, 3).float())
    gradients = table.written(slice(0, 5))
    left = torch.eye(7).expand(5, 1, 7, 7)
    output = Products(whole_view((7, 3)), left, (1e-5 * torch.randn(5, 7, 3) - gradients)[:, None])
    both = united([table, output])
    expected = powers((gradients + output.written(slice(0, 5))).double(), 2.0)
    found = both.power(2, ROOM)
    assert found is not None
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("stride", ["row", "column"])
def test_uses_of_apart_and_of_common_entries_are_added_up(stride: str) -> None:
    whole = (6, 4)
    if stride == "row":
        views = [ParameterView(whole, (3, 4), (4, 1), 0), ParameterView(whole, (3, 4), (4, 1), 12)]
    else:
        views = [ParameterView(whole, (6, 2), (4, 1), 0), ParameterView(whole, (6, 2), (4, 1), 2)]
    uses = [Products(view, wide(5, 1, 2, view.size[0]), wide(5, 1, 2, view.size[1])) for view in views]
    uses.append(Products(views[0], wide(5, 1, 1, views[0].size[0]), wide(5, 1, 1, views[0].size[1])))
    both = united([*uses, Written(whole_view(whole), wide(5, *whole))])
    every = slice(0, 5)
    expected = both.written(every) - both.written(every)
    for use in [*uses]:
        expected = expected + use.view.placed(use.written(every))
    torch.testing.assert_close(united(uses).written(every), expected)
    check_reductions(united(uses))
    check_reductions(both)


@given(
    axes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    records=st.integers(1, 4),
    times=st.integers(1, 3),
    inner=st.booleans(),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_a_layout_finds_the_numbers_of_each_record(
    axes: list[int], records: int, times: int, inner: bool, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(0, len(axes) - 1))
    by_record = wide(records, *axes[:axis], times, *axes[axis:])
    shape = (*axes[:axis], times * records, *axes[axis:])
    joined = by_record.movedim(0, axis + 1 if inner else axis).reshape(shape)
    layout = Layout(axis, inner)
    torch.testing.assert_close(layout.split(joined, records), by_record)
    assert layout in candidates(shape, range(len(shape)), records) or (inner and times == 1)
    for record in range(records):
        marked = torch.zeros(by_record.shape, dtype=torch.bool)
        marked[record] = True
        assert layout.holds(marked.movedim(0, axis + 1 if inner else axis).reshape(shape), records, record)
        assert records == 1 or not layout.holds(torch.ones(shape, dtype=torch.bool), records, record)


VIEWS = {
    "itself": lambda p: p,
    "transposed": lambda p: p.t(),
    "of_another_shape": lambda p: p.reshape(2, 12),
    "part_of_the_rows": lambda p: p[2:5],
    "part_of_the_columns": lambda p: p[:, 1:3].t(),
    "one_row": lambda p: p[3],
    "every_other_row": lambda p: p[::2],
    "with_axes_of_one": lambda p: p[None, :, None],
    "repeated": lambda p: p[:1].expand(5, 4),
    "of_three_axes": lambda p: p.reshape(3, 2, 4).permute(2, 0, 1),
}


@pytest.mark.parametrize("name", VIEWS)
def test_gradients_of_a_view_are_put_in_their_places(name: str) -> None:
    parameter = wide(6, 4).requires_grad_()
    shown = VIEWS[name](parameter)
    found = Parameters([wide(3), parameter]).view(shown.detach(), 1)
    assert found is not None
    gradients = wide(2, *found.size)
    for gradient, placed in zip(gradients, found.placed(gradients), strict=True):
        full = torch.zeros(shown.shape, dtype=torch.float64)
        full[tuple(slice(0, size) for size in found.size)] = gradient
        torch.testing.assert_close(placed, torch.autograd.grad(shown, parameter, full, retain_graph=True)[0])


def test_views_that_show_an_entry_twice_or_lie_elsewhere_are_not_read() -> None:
    memory = wide(40)
    parameters = Parameters([memory[4:28].view(6, 4)])
    assert parameters.view(memory[4:28].unfold(0, 4, 2), 0) is None
    assert parameters.view(memory[2:20], 0) is None
    assert parameters.view(memory[4:28].view(torch.int64), 0) is None
    assert parameters.touched(memory[30:]) == []
    assert parameters.touched(memory[20:]) == [0]
    assert parameters.touched(memory.clone()) == []


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1.0, 1e25])
@pytest.mark.parametrize("entries", [3, 300, 5_000, 70_000])
def test_powers_in_single_precision_neither_underflow_nor_drift(entries: int, scale: float) -> None:
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((3, entries)) * scale).float()
    values[2] = 0.0
    for order in ORDERS:
        expected = powers(values.double(), order)
        np.testing.assert_allclose(power(values, order).numpy(), expected, rtol=2e-6, atol=0)


def test_a_parameter_without_entries_has_no_gradient() -> None:
    assert power(torch.zeros(3, 0), np.inf).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", [(7, 5), (7,), (), (4, 3, 2, 2), (3, 90), (70, 90)])
@pytest.mark.parametrize("size", [1, 8, 33])
def test_sketches_are_those_of_the_core(shape: tuple[int, ...], size: int) -> None:
    gradients = wide(4, *shape)
    drawn = parameter_sketch(shape, size, 2)
    table = torch_sketch(shape, size, 2, gradients)
    rows, columns = len(drawn.row_sign), len(drawn.column_sign)
    expected = drawn.of_matrices(gradients.numpy().reshape(4, rows, columns))
    np.testing.assert_allclose(table.of_written(gradients).numpy(), expected, atol=1e-9)
    left, right = wide(4, 3, rows), wide(4, 3, columns)
    sums = torch.einsum("btr,btc->brc", left, right)
    np.testing.assert_allclose(table.of_products(left, right).numpy(), drawn.of_matrices(sums.numpy()), atol=1e-9)
    at = torch.tensor([0, rows - 1])
    alone = torch.zeros(2, rows, columns, dtype=torch.float64)
    alone[torch.arange(2), at] = right[0, :2]
    np.testing.assert_allclose(table.of_rows(at, right[0, :2]).numpy(), drawn.of_matrices(alone.numpy()), atol=1e-9)
    assert prod(shape) == rows * columns

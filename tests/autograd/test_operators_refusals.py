"""What the table of operators refuses, in one line that names the node, and what importing it does not import."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.func import vmap

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import find, table
from pmcore_autograd.unsupported import Unsupported
from tests.autograd.example_table import examples
from tests.autograd.node_cases import cases
from tests.autograd.operators_page import DIALECTS

ONE = torch.ones(1, 2, 4, 4)


def run(kind: str, values: list[Any], attributes: dict[str, Any], version: int = 17, dialect: str = "onnx") -> Any:
    node = Node(kind, ("i",) * len(values), ("o",), attributes, "here", dialect, version)
    operator = find(node)
    assert operator is not None
    return operator(node, values)


@pytest.mark.parametrize(
    ("kind", "values", "attributes", "version"),
    [
        ("Relu", [ONE], {"surprise": 1}, 17),
        ("Resize", [ONE, None, torch.ones(4)], {"mode": "lanczos"}, 17),
        ("Resize", [ONE, None, torch.tensor([1, 1, 0.0, 1])], {}, 17),
        ("Resize", [ONE, None, torch.tensor([1, 1, torch.nan, 1])], {}, 17),
        ("Resize", [ONE, None, torch.tensor([1, 1, 1e20, 1])], {}, 17),
        ("Conv", [ONE, torch.ones(2, 2, 3, 3)], {"auto_pad": "SAME"}, 17),
        ("Conv", [ONE, torch.ones(2, 2, 3, 3)], {"kernel_shape": (2, 2)}, 17),
        ("Conv", [ONE, torch.ones(2, 2, 3, 3)], {"strides": (0, 1)}, 17),
        ("Conv", [torch.ones(1, 2, 2, 2, 2, 2), torch.ones(1, 2, 1, 1, 1, 1)], {}, 17),
        ("MaxPool", [ONE], {"kernel_shape": (9, 9)}, 17),
        ("Pad", [ONE, torch.zeros(8, dtype=torch.int64)], {"mode": "mirrored"}, 17),
        ("Pad", [ONE, torch.zeros(3, dtype=torch.int64)], {}, 17),
        ("BatchNormalization", [ONE, *(torch.ones(2),) * 4], {"training_mode": 1}, 17),
        ("BatchNormalization", [ONE, *(torch.ones(2),) * 4], {}, 6),
        ("Dropout", [ONE, torch.tensor(0.5), torch.tensor(True)], {}, 17),
        ("LSTM", [torch.ones(2, 1, 3), torch.ones(1, 4, 3), torch.ones(1, 4, 1)], {"direction": "sideways"}, 17),
        ("LSTM", [torch.ones(2, 1, 3), torch.ones(1, 4, 3), torch.ones(1, 4, 1)], {"activations": ("Exp",) * 3}, 17),
        ("LSTM", [torch.ones(2, 1, 3), torch.ones(1, 5, 3), torch.ones(1, 5, 1)], {}, 17),
        ("Softmax", [ONE], {"axis": 4}, 17),
        ("Softmax", [ONE], {"axis": "1"}, 17),
        ("Squeeze", [ONE, torch.tensor([1])], {}, 17),
        ("Cast", [ONE], {"to": 8}, 17),
        ("Cast", [ONE], {}, 17),
        ("ConstantOfShape", [torch.tensor([2**40])], {}, 17),
        ("ConstantOfShape", [torch.tensor([-1])], {}, 17),
        ("Range", [torch.tensor(0), torch.tensor(2**60), torch.tensor(1)], {}, 17),
        ("Range", [torch.tensor(0), torch.tensor(5), torch.tensor(0)], {}, 17),
        ("OneHot", [torch.tensor([1]), torch.tensor(2**50), torch.ones(2)], {}, 17),
        ("Split", [ONE, torch.tensor([1, 2])], {"axis": 1}, 17),
        ("TopK", [ONE, torch.tensor([9])], {}, 17),
        ("LRN", [ONE], {"size": 0}, 17),
        ("GroupNormalization", [ONE, torch.ones(2), torch.ones(2)], {"num_groups": 3}, 21),
        ("DepthToSpace", [ONE], {"blocksize": 2}, 17),
        ("QuantizeLinear", [ONE, torch.tensor(1.0)], {"output_dtype": 17}, 21),
        ("Add", [ONE], {}, 17),
    ],
)
def test_what_is_not_known_is_refused_in_one_line_that_names_the_node(
    kind: str, values: list[Any], attributes: dict[str, Any], version: int
) -> None:
    with pytest.raises(Unsupported, match=rf"^{kind} 'here': .* - no gradients of this file$"):
        run(kind, values, attributes, version)


def test_a_shape_that_depends_on_the_records_is_refused() -> None:
    def cut(record: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = run("Reshape", [torch.ones(6), record], {})
        return made

    with pytest.raises(Unsupported, match="depends on the values of a record"):
        vmap(cut)(torch.tensor([[2, 3], [3, 2]]))


def test_a_wide_window_of_neighbours_costs_no_more_than_the_channels_there_are() -> None:
    few = run("LRN", [ONE], {"size": 2 * 2 + 1, "alpha": 5.0})
    many = run("LRN", [ONE], {"size": 2**31 + 1, "alpha": (2.0**31 + 1)})
    torch.testing.assert_close(few, many)


def test_an_unknown_operator_and_an_unknown_dialect_are_none() -> None:
    assert find(Node("TreeEnsemble", ("x",), ("y",), {}, "", "ai.onnx.ml", 5)) is None
    assert find(Node("Relu", ("x",), ("y",), {}, "", "com.strangers", 1)) is None


def test_every_known_operator_is_tried_by_a_test() -> None:
    tried = {(example.dialect, example.kind) for example in examples()}
    for case in cases():
        tried |= {(node.domain or "onnx", node.op_type) for node in case.model.graph.node}
    known = {(dialect, kind) for dialect in DIALECTS for kind in table(dialect)}
    assert known <= tried, sorted(known - tried)


def test_no_operator_stands_in_two_modules_of_the_table() -> None:
    from pmcore_autograd.operators import onnx_table

    modules = [value for value in vars(onnx_table).values() if hasattr(value, "TABLE")]
    assert len(modules) > 15
    assert sum(len(module.TABLE) for module in modules) == len(onnx_table.TABLE)


def test_the_table_is_there_before_torch_is() -> None:
    code = (
        "import sys; from pmcore_autograd.operators import table;"
        "print(len(table('onnx')) > 150, [m for m in ('torch', 'onnx') if m in sys.modules])"
    )
    path = ":".join(sys.path)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path})
    assert run.stdout.strip() == "True []", run.stderr

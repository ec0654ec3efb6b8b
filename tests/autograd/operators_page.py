"""What of ONNX's own tests of operators passes here, and why the rest does not, as a page of the documentation.

``python -m tests.autograd.operators_page > docs/onnx-operators.md`` writes it anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import onnx

from pmcore_autograd.operators import table
from tests.autograd.node_cases import Case, cases, failure

DIALECTS = ("onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.preview")
_CATEGORIES = {
    "control flow": "Scan If Loop SequenceMap",
    "sequences": "SequenceConstruct SequenceEmpty SequenceAt SequenceInsert SequenceErase SequenceLength Optional"
    " SplitToSequence ConcatFromSequence OptionalGetElement OptionalHasElement",
    "random": "Bernoulli RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial",
    "training": "Adagrad Adam Momentum Gradient",
    "images and text": "ImageDecoder TfIdfVectorizer",
}
_DISPUTED = {
    "test_maxunpool_export_with_output_shape": "places count in the given shape",
    "test_resize_downsample_scales_cubic_align_corners": "the last elements are aligned",
    "test_resize_downsample_scales_linear_align_corners": "the last elements are aligned",
}


_SIGNS = {
    "_mod'": "a graph as an attribute",
    "in training": "training",
    "tensors of type": "type",
    "quantisation to": "type",
    "type of its zero point": "type",
    "torch does not compute": "type",
    " is float32, not": "type",
    " is int8, not": "type",
    " is uint8, not": "type",
    "is not known": "operator",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one of ONNX's tests.

    Parameters
    ----------
    case : the test
    why : the reason why it fails, None where it passes
    category : the kind of reason, "" where it passes
    """

    case: Case
    why: str | None
    category: str


@cache
def outcomes(real: bool = True) -> tuple[Outcome, ...]:
    """Return what becomes of every test on real numbers (such go in, nothing else comes out), or on other tensors."""
    chosen = [case for case in cases() if (case.floats if real else case.tensors and not case.floats)]
    found = ((case, failure(case)) for case in chosen)
    return tuple(Outcome(case, why, _category(case, why)) for case, why in found)


def share(found: Sequence[Outcome]) -> float:
    """Return the share of tests that pass."""
    return sum(outcome.why is None for outcome in found) / len(found)


def page() -> str:
    """Return the page, as Markdown."""
    found, others = outcomes(), outcomes(real=False)
    lines = [
        "# Operators of ONNX that are differentiated",
        "",
        "<!-- written by: python -m tests.autograd.operators_page -->",
        "",
        f"The onnx package ({onnx.__version__}) brings tests of its operators along. Into {len(found)} of them real",
        "numbers go, and nothing else comes out.",
        f"Of these **{_passed(found)} pass ({100 * share(found):.1f} %)**: our outputs are those stored with the test,",
        "within 1e-3 relative and 1e-5 absolute (two units in the last place for half precision).",
        "`tests/autograd/test_operators_*.py` compare forward values with ONNX Runtime, the gradients of every",
        "differentiable operator with differences in float64, and records one by one with `torch.func.vmap`.",
        "",
        "A node with an operator, an attribute or a value of one that is not known here is refused by name.",
        "",
        "## Tests that do not pass",
        "",
        *_failures(found),
        "",
        "## By operator",
        "",
        *_by_operator(found),
        "",
        "## Whole numbers, truth values, other types",
        "",
        f"Of {len(others)} further tests, on tensors of any type, {_passed(others)} pass.",
        "",
        *_failures(others),
        "",
        "## Known operators",
        "",
    ]
    for dialect in DIALECTS:
        lines += [f"`{dialect}`: {', '.join(sorted(table(dialect)))}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _passed(found: Sequence[Outcome]) -> int:
    return sum(outcome.why is None for outcome in found)


def _failures(found: Sequence[Outcome]) -> list[str]:
    """Return a table of the tests that fail, those with one reason together."""
    together: dict[tuple[str, str], list[str]] = defaultdict(list)
    for outcome in found:
        if outcome.why is not None:
            together[outcome.category, outcome.why].append(f"`{outcome.case.name}`")
    rows = [f"| {category} | {why} | {', '.join(sorted(names))} |" for (category, why), names in together.items()]
    return ["| kind of reason | what we say | tests |", "|---|---|---|", *sorted(rows)]


def _by_operator(found: Sequence[Outcome]) -> list[str]:
    """Return which operators pass all of their tests, and a table of the others."""
    grouped: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        grouped[outcome.case.operator].append(outcome)
    complete = [f"{kind} ({len(of)})" for kind, of in sorted(grouped.items()) if share(of) == 1]
    rows = [f"| {kind} | {_passed(of)} | {len(of)} |" for kind, of in sorted(grouped.items()) if share(of) < 1]
    return ["All tests pass: " + ", ".join(complete) + ".", "", "| operator | pass | of |", "|---|---|---|", *rows]


def _category(case: Case, why: str | None) -> str:
    """Return the kind of reason why a test fails."""
    kinds = {node.op_type for node in case.model.graph.node}
    if why is None:
        return ""
    for category, named in _CATEGORIES.items():
        if kinds & set(named.split()):
            return category
    if case.name in _DISPUTED:
        return f"ONNX Runtime has it our way: {_DISPUTED[case.name]}"
    for sign, category in _SIGNS.items():
        if sign in why:
            return category
    return "numbers"


if __name__ == "__main__":
    print(page(), end="")

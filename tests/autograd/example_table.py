"""The table of examples: every differentiable operator, with the attributes that exporters give it."""

from __future__ import annotations

from functools import cache

from tests.autograd import examples_arranging, examples_dialects, examples_elementwise, examples_layers
from tests.autograd.examples import Example

_GROUPS = (
    examples_elementwise.elementwise,
    examples_elementwise.activations,
    examples_elementwise.products,
    examples_layers.convolutions,
    examples_layers.pools,
    examples_layers.normalisations,
    examples_layers.recurrences,
    examples_layers.attentions,
    examples_arranging.reductions,
    examples_arranging.shapes,
    examples_arranging.places,
    examples_arranging.resizes,
    examples_dialects.microsofts,
    examples_dialects.quantised,
    examples_dialects.learned,
)


@cache
def examples() -> tuple[Example, ...]:
    """Return all examples, with the same random numbers whichever test asks first."""
    return tuple(example for group in _GROUPS for example in group())

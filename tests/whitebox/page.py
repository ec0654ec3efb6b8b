"""docs/whitebox-agreement.md: how far gradients taken from exports are from torch autograd, as tables."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Mapping

from tests.whitebox.bounds import FORWARD, GRADIENT, PARAMETER, SHARE
from tests.whitebox.measure import Agreement
from tests.whitebox.networks import RECORDS

FRAMEWORKS = ("torch", "onnx", "onnxruntime-gpu", "onnxscript", "openvino", "keras", "skl2onnx", "numpy")
HEAD = """\
# Are gradients of an export those of the network?

Networks of every common architecture, exported in every form, opened by `pmcore_autograd`, and compared with torch
autograd in double precision on the network that was exported: one backward pass for each of {records} records.
`make whitebox` makes this page; `tests/whitebox/test_agreement.py` holds the bounds.

* **parameters**: numbers that gradients are taken of; as many as the reference has.
* **reference**: the network that the export holds. Exporters fold a BatchNorm into the convolution before it, which
  changes gradients: it is compared with the network whose BatchNorms are folded.
* **logits**: the largest difference from the file's own runtime, as a share of the largest logit (bound {forward:g}).
* **gradient**: the largest relative error of the norm of a record's gradient over all parameters (bound {gradient:g}).
* **one parameter**: the largest relative error of the norm over one parameter; where that is less than {share:g} of
  the norm over all parameters, relative to this share (bound {parameter:g}).
* **method**: how the gradients were taken, with how many parameters each way.

The architectures are written out in `tests/whitebox`, at small widths and on small inputs, with disturbed weights.
Records for which a rectifier or a maximum stands within rounding of its bend have two gradients, and are passed over.
"""
LOSSY = """
## Integers: gradients of another model

INT8 files hold rounded weights and round what passes between operations. What is differentiated is the dequantised
weight, straight through the rounding and through the ends of ranges, but for those that start at 0, before which
quantisers leave out a rectifier: a surrogate, marked so in every report, and no gradient of the network that was
trained. **rank** is Spearman's correlation of its norms with those of that network, **ratio** the median of their
ratio. Small random networks suffer more from rounding than trained ones: **change** is how far the runtime's own
answers are from those of the network, as a share of its largest logit.
"""


def page(found: Mapping[tuple[str, str], Agreement]) -> str:
    """Return the page for the agreements that were measured, by titles of form and network."""
    head = HEAD.format(records=RECORDS, forward=FORWARD, gradient=GRADIENT, parameter=PARAMETER, share=SHARE)
    lines = head.splitlines()
    forms = list(dict.fromkeys(form for form, _ in found))
    for form in forms:
        rows = {network: one for (each, network), one in found.items() if each == form and not one.surrogate}
        if rows:
            lines += ["", f"## {form}", "", *_exact(rows)]
    lines += LOSSY.splitlines()
    for form in forms:
        rows = {network: one for (each, network), one in found.items() if each == form and one.surrogate}
        if rows:
            lines += ["", f"### {form}", "", *_surrogate(rows)]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in FRAMEWORKS)
    return "\n".join([*lines, "", f"Measured with {versions}, on the CPU.", ""])


def _exact(rows: Mapping[str, Agreement]) -> Iterator[str]:
    yield "| network | parameters | reference | logits | gradient | one parameter | method |"
    yield "|---|---|---|---|---|---|---|"
    for network, one in rows.items():
        figures = f"{one.forward:.1e} | {one.gradient:.1e} | {one.parameter:.1e}"
        yield f"| {network} | {one.parameters} | {one.reference} | {figures} | {_short(one.method)} |"


def _short(method: str) -> str:
    """Return a method in words without repeating what is counted."""
    return re.sub(r" parameters?\)", ")", method)


def _surrogate(rows: Mapping[str, Agreement]) -> Iterator[str]:
    yield "| network | parameters | change | logits | rank | ratio |"
    yield "|---|---|---|---|---|---|"
    for network, one in rows.items():
        figures = f"{one.change:.1e} | {one.forward:.1e} | {one.rank:.3f}"
        yield f"| {network} | {one.parameters} | {figures} | {one.ratio:.2f} |"

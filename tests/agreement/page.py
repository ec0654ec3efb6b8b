"""docs/agreement.md: the measured differences of every form of every network, as a table."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping

from tests.agreement.forms import Form
from tests.agreement.measure import CORRECTNESS, SIGNALS, Agreement
from tests.agreement.networks import NETWORKS

FRAMEWORKS = ("onnxruntime-gpu", "openvino", "torch", "tensorflow", "keras", "scikit-learn", "numpy")
HEAD = """\
# Do the backends agree?

The same trained networks, shipped in every form that pmcore reads, audited with the same records, and compared with the
network in double precision. `make agreement` makes this page; `tests/backends/test_agreement.py` holds the bounds.

* **logits**: the largest difference of a logit, over {records} records.
* **signals**: the largest difference of any of the {signals} built-in signals but correctness.
* **changed**: records that are classified rightly by one and wrongly by the other.
* **exchanged**: two records whose attack scores stand in the other order are at most this far apart in the signal
  (the largest over these signals; 0 means that every attack ranks all records exactly alike).
* **AUC**: the largest difference of the AUC of the population attack, over all signals.

Forms that compute in float32 agree within {bound:g} in logits and signals, and within {auc:g} in AUC.
"""
LOSSY = """
## What is lost where less than float32 computes

These are no errors of a backend: they are what the shipped model computes, and what an audit of it has to be about.
"""
NETWORK_TEXT = {
    "mlp": "64-96-48-10, ReLU",
    "cnn": "two convolutions with BatchNorm, pooling",
    "transformer": "two blocks of attention, LayerNorm, GELU",
}


def page(found: Mapping[tuple[str, str], Agreement], forms: list[Form], records: int, bound: float, auc: float) -> str:
    """Return the page for the agreements that were measured, by network and title of the form."""
    head = HEAD.format(records=records, signals=len(SIGNALS), bound=bound, auc=auc)
    lines = [*head.splitlines()]
    for network in NETWORKS:
        lines += ["", f"## {network}: {NETWORK_TEXT[network]}", "", *_table(found, forms, network, exact=True)]
    lines += LOSSY.splitlines()
    for network in NETWORKS:
        lines += ["", f"### {network}", "", *_table(found, forms, network, exact=False)]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in FRAMEWORKS)
    return "\n".join([*lines, "", f"Measured with {versions}, on the CPU.", ""])


def _table(found: Mapping[tuple[str, str], Agreement], forms: list[Form], network: str, exact: bool) -> Iterator[str]:
    yield "| form | runs in | logits | signals | changed | exchanged | AUC |"
    yield "|---|---|---|---|---|---|---|"
    for form in forms:
        agreement = found.get((network, form.title))
        if agreement is None or form.exact is not exact:
            continue
        cells = (
            agreement.precision,
            _number(agreement.logits),
            _number(max(agreement.signals.values())),
            str(agreement.changed),
            _number(max(value for name, value in agreement.displaced.items() if name != CORRECTNESS)),
            _number(max(map(abs, agreement.auc.values()))),
        )
        yield f"| {form.title} | {' | '.join(cells)} |"


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"

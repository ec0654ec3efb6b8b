"""Measure how far the backends agree and print the page about it: `python -m tests.agreement > docs/agreement.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.agreement.bounds import AUC, BOUND
from tests.agreement.forms import forms
from tests.agreement.measure import measure
from tests.agreement.networks import NETWORKS, digits
from tests.agreement.page import page


def main() -> None:
    """Print the page; say on stderr what is being measured."""
    found = {}
    for network in NETWORKS:
        for form in forms():
            if form.fits(network):
                print(f"{network}, {form.title}", file=sys.stderr)
                with TemporaryDirectory() as folder:
                    found[network, form.title] = measure(form, network, Path(folder))
    print(page(found, forms(), len(digits("mlp").x), BOUND, AUC), end="")


if __name__ == "__main__":
    main()

"""Measure gradients of exports and print the page about it: `python -m tests.whitebox > docs/whitebox-agreement.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.whitebox.cases import cases
from tests.whitebox.measure import measure
from tests.whitebox.page import page


def main() -> None:
    """Print the page; say on stderr what is being measured."""
    found = {}
    for case in cases():
        print(case, file=sys.stderr)
        with TemporaryDirectory() as folder:
            found[case.form, case.network] = measure(case.ship(Path(folder)))
    print(page(found), end="")


if __name__ == "__main__":
    main()

"""What is measured: each architecture in each form, and what Keras and scikit-learn export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tests.whitebox.exports import FORMS, Form
from tests.whitebox.foreign import FOREIGN, Foreign
from tests.whitebox.networks import ARCHITECTURES, RECORDS, Records, records
from tests.whitebox.references import Expected, Reference, as_trained

FOREIGN_FORM = "ONNX, other exporters"


@dataclass(frozen=True)
class Shipped:
    """A file, and what it is compared with.

    Parameters
    ----------
    path : the file
    records : what is asked
    expected : what the network that the file holds says about them, in double precision
    batch : records per call of the file's runtime; None if free
    output : the tensor that is read, if it is not the file's only output
    """

    path: Path
    records: Records
    expected: Expected
    batch: int | None = None
    output: str | None = None


@dataclass(frozen=True)
class Case:
    """One network in one form.

    Parameters
    ----------
    network, form : titles, as the page shows them
    exact : whether the file holds the weights as they are, and not rounded ones
    asked : whether the project promises this architecture
    ship : folder -> the file
    """

    network: str
    form: str
    exact: bool
    asked: bool
    ship: Callable[[Path], Shipped]

    def __str__(self) -> str:
        return f"{self.network}, {self.form}"


def cases() -> Iterator[Case]:
    """Give all cases in the order of the page."""
    for form in FORMS:
        for name, architecture in ARCHITECTURES.items():
            yield Case(architecture.title, form.title, form.exact, architecture.asked, partial(_shipped, form, name))
    for foreign in FOREIGN:
        yield Case(foreign.title, FOREIGN_FORM, True, False, partial(_foreign, foreign))


def _shipped(form: Form, name: str, folder: Path) -> Shipped:
    asked = _asked(name)
    return Shipped(form.write(name, folder), asked, _expected(form.reference, name), form.batch)


def _foreign(foreign: Foreign, folder: Path) -> Shipped:
    path = foreign.write(folder)
    reference = foreign.reference(folder)
    asked = reference.smooth(foreign.records(), RECORDS)
    return Shipped(path, asked, reference.about(asked), output=foreign.output)


@cache
def _asked(name: str) -> Records:
    return as_trained(name).smooth(records(name), RECORDS)


@cache
def _expected(reference: Callable[[str], Reference], name: str) -> Expected:
    return reference(name).about(_asked(name))

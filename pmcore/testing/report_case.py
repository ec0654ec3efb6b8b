"""What a form of the report is checked on: example reports, and what it makes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser
from typing import TypeAlias

import numpy as np

from pmcore.interfaces import Report
from pmcore.schema import AttackPart, AuditReport, Figure, SkippedPart, TprFigure
from pmcore.testing.checking import CheckFailed
from pmcore.testing.example_report import attack_from_scores, example_report, gaussian_attack, hostile_names

Subject: TypeAlias = Report | type[Report]
Files: TypeAlias = Mapping[str, bytes]
N = 240
"""Records a side in the examples."""
HOSTILE = (
    "$\\frac{1$ <script>alert(1)</script>",
    '"><img src=x onerror="alert(1)">../../etc/\x1b[31mred\x1b[0m\udcff\x00\r\n',
)
"""Names of attacks that break careless forms."""
HARMLESS = ("one", "two")
LONG = "a-name-of-two-hundred-letters-" * 7
MARKUP = (".svg", ".html", ".htm", ".xhtml", ".xml")
TEXT = (*MARKUP, ".json", ".md", ".txt", ".csv", ".tex", ".rst")


def example(name: str) -> AuditReport:
    """Return an example report, a new one each time: "complete", "invalid", "no figures", ..."""
    return _example(name).model_copy(deep=True)


@lru_cache(maxsize=32)
def _example(name: str) -> AuditReport:
    if name == "hostile":
        return hostile_names(HOSTILE)
    if name == "harmless":
        return hostile_names(HARMLESS)
    if name == "nothing ran":
        skipped = [SkippedPart(attack=attack, reason="the model gives no logits") for attack in ("lira", "rmia")]
        return example_report({}, N, skipped=skipped)
    if name in ("invalid", "invalid, other figures"):
        shift = 0.6 if name == "invalid" else 2.1
        verdict = example_report(n=10).validity[0].model_copy(update={"verdict": "invalid"})
        return example_report({"lira": gaussian_attack(shift, N)}, N, valid=False, validity=[verdict])
    if name == "no figures":
        return example_report({"lira": _unresolved(gaussian_attack(0.6, N))}, N)
    if name == "many classes":
        return example_report({"lira": gaussian_attack(0.6, 1200, classes=100)}, 1200)
    if name == "long names":
        return example_report({LONG: gaussian_attack(0.6, N), LONG + "2": gaussian_attack(0.3, N)}, N)
    rng = np.random.default_rng(5)
    right, wrong = (rng.random(N) < share for share in (0.98, 0.85))
    attacks = {
        "lira": gaussian_attack(1.0, N, seed=2, access="logits", calibrated=True),
        "label-gap": attack_from_scores(right.astype(float), wrong.astype(float), access="label"),
    }
    return example_report(attacks, N, skipped=[SkippedPart(attack="gradient", reason="the graph ends in ArgMax")])


def _unresolved(attack: AttackPart) -> AttackPart:
    reason = "too few records to resolve it"
    nothing = {"value": None, "low": None, "high": None, "reason": reason}

    def emptied(figure: Figure) -> Figure:
        return figure.model_copy(update=nothing)

    rates: dict[str, TprFigure] = {
        level: figure.model_copy(update={**nothing, "resolved": False}) for level, figure in attack.tpr_at_fpr.items()
    }
    classes = [part.model_copy(update={"advantage": emptied(part.advantage)}) for part in attack.per_class]
    return attack.model_copy(
        update={
            "auc": emptied(attack.auc),
            "advantage": emptied(attack.advantage),
            "balanced_accuracy": emptied(attack.balanced_accuracy),
            "tpr_at_fpr": rates,
            "per_class": classes,
        }
    )


def instance_of(subject: Subject) -> Report:
    """Return a form, made with its default options if its class is given."""
    return _made(subject) if isinstance(subject, type) else subject


@lru_cache(maxsize=16)
def _made(cls: type[Report]) -> Report:
    return cls()


@dataclass(frozen=True)
class Rendering:
    """What a form made of an example, once.

    Parameters
    ----------
    made : as it was returned
    files : the same with text encoded where it should have been bytes
    changed : the parts of the report that were not afterwards what they were
    """

    made: object
    files: Files
    changed: tuple[str, ...]


def files_of(form: Report, name: str) -> Files:
    """Return what a form makes of an example; made once, as rendering pictures takes its time."""
    return rendering_of(form, name).files


def rendering_of(form: Report, name: str) -> Rendering:
    """Return what came of rendering an example; rendered once per form."""
    if id(form) not in _KEPT:
        while len(_KEPT) >= 8:
            del _KEPT[next(iter(_KEPT))]
        _KEPT[id(form)] = (form, {})
    kept = _KEPT[id(form)][1]
    if name not in kept:
        kept[name] = render(form, example(name))
    return kept[name]


_KEPT: dict[int, tuple[Report, dict[str, Rendering]]] = {}


def render(form: Report, report: AuditReport) -> Rendering:
    """Render a report.

    Raises
    ------
    CheckFailed
        What comes of it has no files.
    """
    before = report.model_dump()
    made = form.render(report)
    if not isinstance(made, Mapping):
        raise CheckFailed(f"render returned {type(made).__name__}; return file contents by file name")
    files = {
        str(name): content if isinstance(content, bytes) else str(content).encode("utf-8", "surrogateescape")
        for name, content in made.items()
    }
    after = report.model_dump()
    return Rendering(made, files, tuple(part for part in before if before[part] != after[part]))


def texts(files: Files) -> dict[str, str]:
    """Return the files that are text, by suffix or content, decoded; bytes that are no UTF-8 show as surrogates."""
    return {
        name: content.decode("utf-8", "surrogateescape")
        for name, content in files.items()
        if name.lower().endswith(TEXT) or b"\x00" not in content
    }


def is_data(files: Files, report: AuditReport) -> bool:
    """Return whether a form is the report itself, as data: a JSON file with all that it holds."""
    expected = json.loads(report.model_dump_json(by_alias=True))
    for name, text in texts(files).items():
        if name.lower().endswith(".json"):
            try:
                found = json.loads(text)
            except ValueError:
                continue
            if found == expected:
                return True
    return False


def visible(name: str, text: str) -> str:
    """Return what a reader sees of a file: for markup, the text between the tags."""
    if not name.lower().endswith(MARKUP):
        return text
    reader = Markup()
    reader.feed(text)
    return " ".join(reader.seen)


class Markup(HTMLParser):
    """The visible text of a page or picture, its elements, handlers of events, links and scripts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[str] = []
        self.active: set[str] = set()
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element, and what of its attributes can act."""
        self._inside = tag
        self.active.add(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on"):
                self.active.add(f"{name}=…")
            elif name in ("href", "src", "xlink:href") and (value or "").strip().lower().startswith("javascript:"):
                self.active.add(f"{name}=javascript:…")

    def handle_endtag(self, tag: str) -> None:
        """Note that an element has ended."""
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Note text, where it is shown; that of a script is what it does."""
        if self._inside == "script":
            self.active.add(f"<script>{data}</script>")
        elif self._inside != "style":
            self.seen.append(data)


def shows(text: str, value: float) -> bool:
    """Return whether a text shows a number between 0 and 1, as such or in per cent, with up to six digits."""
    forms = {f"{value:.{digits}f}" for digits in range(3, 7)} | {repr(value), str(round(value, 6))}
    forms |= {form[1:] for form in forms if form.startswith("0.")}
    forms |= {f"{100 * value:.{digits}f}" for digits in range(1, 4)}
    return any(re.search(rf"(?<![\d.]){re.escape(form)}(?!\d)", text) for form in forms)

"""The report in words: terminal, notebook and the sentences that every form shares."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from pmcore.numerals import count
from pmcore.quoting import printable
from pmcore.reports.meaning import in_words
from pmcore.reports.notebook import render_html
from pmcore.reports.plots import PlotsReport
from pmcore.reports.results import results
from pmcore.reports.terminal import print_report, render_terminal, wants_colour
from pmcore.reports.words import area, level, people, rate
from pmcore.schema import AuditReport, SkippedPart, Validity
from pmcore.testing.example_report import (
    attack_from_scores,
    example_report,
    gaussian_attack,
    hostile_names,
    invalid_report,
    transcript_report,
)

FORBIDDEN = re.compile(
    r"\b(safe|secure|private|anonymous|compliant|certified|guaranteed|(no|low|medium|high) risk)\b", re.IGNORECASE
)


def nothing_found() -> AuditReport:
    return example_report({"a": gaussian_attack(0.0, 2000, seed=4), "b": gaussian_attack(0.0, 2000, seed=5)}, n=2000)


def swapped() -> AuditReport:
    return example_report({"a": gaussian_attack(-0.8, 500)}, n=500)


def too_few() -> AuditReport:
    return example_report({"a": gaussian_attack(0.5, 9)}, n=9)


def many_long_names() -> AuditReport:
    attacks = {f"an-attack-with-a-very-long-name-{i}": gaussian_attack(0.1 * i, 1000, seed=i) for i in range(12)}
    return example_report(
        attacks,
        warnings=["a warning that goes on and on " * 10, "x" * 300],
        skipped=[SkippedPart(attack="skipped-attack-with-a-long-name" * 4, reason="because " * 40)],
    )


REPORTS: list[Callable[[], AuditReport]] = [
    example_report,
    transcript_report,
    invalid_report,
    hostile_names,
    nothing_found,
    swapped,
    too_few,
    many_long_names,
    lambda: example_report(attacks={}),
]


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("make", REPORTS)
@pytest.mark.parametrize("width", [60, 84])
def test_no_line_is_wider_than_the_terminal(make: Callable[[], AuditReport], width: int) -> None:
    wrote = ["out/report.json", "out/roc.png", "out/roc.svg", "out/scores.csv", f"out/scores-{'y' * 120}.png"]
    text = render_terminal(make(), width=width, wrote=wrote)
    assert max(map(len, text.splitlines())) <= width
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("make", REPORTS)
def test_forbidden_words_stand_in_no_form(make: Callable[[], AuditReport]) -> None:
    report = make()
    svgs = [content for name, content in PlotsReport().render(report).items() if name.endswith(".svg")]
    for text in (render_terminal(report), render_html(report), in_words(report), *(svg.decode() for svg in svgs)):
        assert FORBIDDEN.search(text) is None


def test_a_valid_report_says_what_ran_on_what_and_what_it_found() -> None:
    text = render_terminal(
        transcript_report(), wrote=["audit/report.json", "audit/roc.png", "audit/roc.svg", "audit/scores.csv"]
    )
    for expected in (
        "pmcore 0.1.0   resnet18.onnx   sha256 9f2c41d0…   onnxruntime 1.31.1, CPU, float32",
        "inputs         pixels float32 [n,3,32,32]; 10 classes; logits",
        "preprocessing  /255, mean .49 .48 .45, std .20 .20 .20   (preprocessor_config.json)",
        "Validity       VALID",
        "95 % intervals, 5 000 + 5 000",
        "TPR at 1 % FPR     TPR at 0.1 % FPR",
        "* weakly resolved",
        "gradient     not run: the graph ends in ArgMax",
        "audit/report.json   roc.png .svg   scores.csv (personal data, mode 0600)",
    ):
        assert expected in text
    assert (
        "population at nominal 10 / 1 %: FPR 11.0 % [9.0, 13.0] / 1.1 % [0.9, 1.3], "
        "TPR 21.0 % [18.0, 25.0] / 2.1 % [1.8, 2.5]; "
        "0.1 %: needs 999 population records to compare each with, there are 432"
    ) in flat(text)
    assert "accuracy members 99.1 % [98.8, 99.4], non-members 91.4 % [91.1, 91.7] (expected 91.2 %)" in flat(text)
    assert text.count("91.4 %") == 1
    assert "This is a lower bound" in text
    assert re.search(r"^  lira .*\*$", text, re.MULTILINE)
    assert re.search(r"^  label-gap +label only +\.539 .* out of reach +out of reach$", text, re.MULTILINE)


def test_a_passing_accuracy_is_said_once_whatever_it_was_compared_with() -> None:
    compared = "(guessing gives 10.0 %; not compared with an expected accuracy, see --expected-accuracy)"
    bracketed = f"accuracy on 5 000 non-members 91.4 % {compared}"
    measured = "accuracy members 99.1 % [98.8, 99.4], non-members 91.4 % [91.1, 91.7]"
    for text, expected in (
        (bracketed, f"{measured} {compared}"),
        ("91.4 %, as expected", f"{measured}; 91.4 %, as expected"),
    ):
        check = Validity(name="accuracy", verdict="ok", text=text)
        assert expected in flat(render_terminal(example_report(validity=[check])))


def test_a_regression_shows_what_its_check_says() -> None:
    check = Validity(name="accuracy", verdict="warning", text="R squared on members 0.990, on 40 non-members -1")
    data = example_report().data
    unmeasured = {"members": data.members, "nonmembers": data.nonmembers}
    changed = {role: part.model_copy(update={"accuracy": None}) for role, part in unmeasured.items()}
    text = flat(render_terminal(example_report(validity=[check], data=data.model_copy(update=changed))))
    assert f"accuracy WARNING: {check.text}" in text


def test_a_limited_resolution_is_said_beside_the_inputs_and_under_validity_only() -> None:
    limited = "resolution limited: only probabilities could be read, so the most confident records may tie"
    model = example_report().model.model_copy(
        update={
            "output": "probabilities",
            "resolution_limited": True,
            "notes": ["Only probabilities could be read (resolution limited).", "another note"],
        }
    )
    report = example_report(
        model=model, warnings=[limited], validity=[Validity(name="output", verdict="warning", text=limited)]
    )
    text = render_terminal(report)
    assert "10 classes; probabilities (resolution limited)" in flat(text)
    assert f"output WARNING: {limited}" in flat(text)
    assert flat(text).count("resolution limited") == 2
    assert "another note" in text


def test_warnings_that_differ_in_the_file_alone_are_one() -> None:
    unscaled = "x: pixels 0..16 are sent unscaled"
    warnings = [f"members.npz: {unscaled}", "alone", f"test.npz: {unscaled}", "test.npz: y: other", "alone"]
    text = flat(render_terminal(example_report(warnings=warnings)))
    assert f"warning members.npz, test.npz: {unscaled} warning alone warning test.npz: y: other " in text
    assert text.count("warning") == 3


def test_nominal_levels_take_one_line_per_attack_and_one_for_what_all_lack() -> None:
    attacks = {name: gaussian_attack(0.35, 500, calibrated=True) for name in ("a", "b", "c")}
    notes = results(example_report(attacks, n=500)).notes
    assert [note.partition(":")[0] for note in notes if "nominal" in note] == [
        *(f"{name} at nominal 10 / 1 %" for name in attacks),
        "at nominal 0.1 %",
    ]


def test_a_rate_that_cannot_be_resolved_is_said_in_words_and_never_shown_as_nothing() -> None:
    text = flat(render_terminal(example_report({"a": gaussian_attack(0.5, 360)}, n=360)))
    assert "TPR at 0.1 % FPR cannot be resolved with 360 non-members; 1 000 needed" in text
    assert "null" not in text
    assert "None" not in text


def test_an_invalid_report_shows_reasons_and_no_figure_in_any_form() -> None:
    report = invalid_report()
    auc = report.attacks["population"].auc.value
    assert auc is not None
    for text in (render_terminal(report, wrote=["out/report.json"]), render_html(report)):
        assert "INVALID" in text
        assert "what guessing gives" in flat(text)
        assert "No figures are shown" in text
        assert not {"AUC", "TPR", "attack ", area(auc)} & set(flat(text).split())
        assert "In words" not in text
    assert "says nothing about membership" in in_words(report)


def test_the_strongest_attack_is_said_in_natural_frequencies() -> None:
    figure = transcript_report().attacks["lira"].tpr_at_fpr["0.01"]
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    named = [round(1000 * share) for share in (figure.value, figure.low, figure.high)]
    assert in_words(transcript_report()) == (
        "Of 1 000 people whose records trained this model, the strongest of the 3 attacks tried (lira) names about "
        f"{named[0]} ({named[1]} to {named[2]}), and wrongly about 10 of 1 000 whose records did not. "
        "Guessing would name 10. The interval is not corrected for choosing the strongest of 3."
    )


def test_one_attack_is_not_called_the_strongest() -> None:
    sentence = in_words(example_report())
    assert "the one attack tried (population) names about" in sentence
    assert "corrected" not in sentence


def test_nothing_found_says_what_is_ruled_out() -> None:
    report = nothing_found()
    highest = max(attack.auc.high or 0 for attack in report.attacks.values())
    assert in_words(report).startswith(
        "No attack tried here did better than guessing, within the precision of this audit "
        f"(an AUC above {area(highest)} is ruled out). Of 1 000 people"
    )


def test_an_advantage_seen_only_at_a_higher_rate_is_said_with_where_nothing_was_seen() -> None:
    rng = np.random.default_rng(0)
    nonmembers = rng.random(2000)
    members = np.where(rng.random(2000) < 0.7, rng.random(2000) * 0.2 + 0.78, rng.random(2000) * 0.9)
    sentence = in_words(example_report({"a": attack_from_scores(members, nonmembers)}, n=2000))
    assert "wrongly about 100 of 1 000" in sentence
    assert "At 1 % false positives, none was seen to do better than guessing." in sentence


def test_an_advantage_seen_in_the_auc_alone_is_said_of_pairs() -> None:
    rng = np.random.default_rng(0)
    right, wrong = rng.random(3000) < 0.99, rng.random(3000) < 0.8
    report = example_report({"gap": attack_from_scores(right.astype(float), wrong.astype(float))}, n=3000)
    assert re.match(
        r"Shown one record that trained this model and one that did not, the one attack tried \(gap\) tells which "
        r"is which about 59\d times of 1 000 \(5\d\d to 60\d\)\. Guessing is right 500 times\.$",
        in_words(report),
    )


def test_an_auc_below_one_half_is_marked_and_explained_not_flipped() -> None:
    text = flat(render_terminal(swapped()))
    assert "]! " in text
    assert "members and non-members are swapped, or the attack is oriented wrong" in text
    assert "above an AUC" not in text
    assert "No attack tried here did better than guessing" in text


def test_weak_figures_are_marked_where_nothing_else_is_resolved() -> None:
    report = example_report({"a": gaussian_attack(3.0, 60)}, n=60)
    assert "(weakly resolved: fewer than ten false positives decide it)" in in_words(report)


def test_no_attack_says_that_nothing_was_measured() -> None:
    assert in_words(example_report(attacks={})) == "No attack ran: nothing was measured about membership."


@pytest.mark.parametrize("colour", [False, True])
def test_foreign_text_cannot_move_the_cursor_nor_fail_to_be_written(colour: bool) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    print_report(hostile_names(), stream, colour=colour)
    stream.seek(0)
    written = stream.read()
    assert "\x1b[31m" not in written
    assert "\x00" not in written
    assert "\\x1b[31m\\udcff\\x00" in re.sub(r"\x1b\[[\d;]*m", "", written)


def test_colour_changes_nothing_but_colour() -> None:
    stream = io.StringIO()
    print_report(transcript_report(), stream, colour=True)
    assert "\x1b[" in stream.getvalue()
    assert re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue()) == render_terminal(transcript_report())


def test_a_terminal_that_knows_only_ascii_gets_escapes() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_report(example_report(), stream, colour=False)
    stream.seek(0)
    assert "9f2c41d0\\u2026" in stream.read()


def test_colour_is_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())


def test_forms_load_their_libraries_only_when_rendered() -> None:
    loaded = "{'matplotlib', 'jinja2', 'rich'} & set(sys.modules)"
    code = f"import sys, pmcore.reports.terminal, pmcore.reports.notebook, pmcore.reports.plots; print({loaded})"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("make", REPORTS)
def test_html_is_well_formed_and_inert(make: Callable[[], AuditReport]) -> None:
    html = render_html(make())
    table = ElementTree.fromstring(html).find("table")
    assert table is None or {cell.get("style") for cell in table.iterfind(".//tr/*")} == {"text-align: left"}
    html.encode("utf-8")
    assert re.search(r"<(script|style|link|img|iframe|a)\b|\son\w+=|javascript:", html) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (count(1234567), "1 234 567"),
        (area(0.7583), ".758"),
        (area(0.9999), "1.000"),
        (rate(0.0954), "9.5"),
        (rate(0.0), "0.0"),
        (rate(0.0004), "0.04"),
        (rate(1.0), "100.0"),
        (level(0.1), "10 %"),
        (level(0.001), "0.1 %"),
        (level(0.95), "95 %"),
        (str(people(0.01)), "1000"),
        (str(people(0.0001)), "10000"),
        (printable("a\x1b\n\udcff"), "a\\x1b \\udcff"),
        (printable("abcdefghij", 5), "ab…ij"),
    ],
)
def test_numbers_and_names_in_words(text: str, expected: str) -> None:
    assert text == expected

"""Pictures: of the promised size, the same bytes for the same report, and none of an invalid one."""

from __future__ import annotations

import struct
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import pytest
from matplotlib.figure import Figure as Picture

from pmcore.reports.figures import _STYLES, draw_roc
from pmcore.reports.plots import PlotsReport, _pictures, picture_names
from pmcore.schema import AuditReport
from pmcore.testing.example_report import (
    example_report,
    gaussian_attack,
    hostile_names,
    invalid_report,
    transcript_report,
)


def render(report: AuditReport) -> Mapping[str, bytes]:
    return PlotsReport().render(report)


def text_of(svg: bytes) -> str:
    return " ".join("".join(element.itertext()) for element in ET.fromstring(svg).iter() if element.tag[-4:] == "text")


def test_every_picture_is_a_png_of_800_pixels_and_an_svg() -> None:
    files = render(transcript_report())
    assert list(files) == picture_names(transcript_report())
    assert {Path(name).stem for name in files} == {
        "roc",
        "roc-log",
        "scores-lira",
        "scores-population",
        "scores-label-gap",
        "class-advantage",
    }
    for name, content in files.items():
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG\r\n\x1a\n")
            assert struct.unpack(">I", content[16:20]) == (800,)
        else:
            assert ET.fromstring(content).tag.endswith("svg")


def test_curves_name_attack_auc_interval_and_records() -> None:
    text = text_of(render(example_report())["roc.svg"])
    auc = example_report().attacks["population"].auc
    assert auc.value is not None
    assert f"population: AUC {auc.value:.3f}".replace("0.", ".") in text
    assert "5 000 members, 5 000 non-members" in text
    assert "guessing" in text


def test_the_same_report_gives_the_same_bytes() -> None:
    assert render(example_report()) == render(example_report())


def test_an_invalid_report_shows_the_word_and_no_figure() -> None:
    files = render(invalid_report())
    assert set(files) == {"invalid.png", "invalid.svg"}
    text = text_of(files["invalid.svg"])
    assert "INVALID" in text
    assert "what guessing gives" in text
    assert "AUC" not in text


def test_a_report_without_attacks_has_no_pictures() -> None:
    assert render(example_report(attacks={})) == {}


def test_hostile_names_are_text_and_stay_in_their_folder() -> None:
    files = render(
        hostile_names(["$\\frac{1$ $x^2$", "<script>alert(1)</script>", "../../\x1b[31m\udcff\x00", "a/b", "A b"])
    )
    for name, content in files.items():
        assert Path(name).name == name
        assert not name.startswith(".")
        if name.endswith(".svg"):
            ET.fromstring(content)
            assert b"<script" not in content
    assert "$\\frac{1$ $x^2$" in text_of(files["roc.svg"])


def test_names_that_meet_on_disk_get_files_of_their_own() -> None:
    attacks = {name: gaussian_attack(0.3, 100) for name in ("a/b", "a b", "A:B")}
    assert {name for name in picture_names(example_report(attacks)) if name.startswith("scores")} == {
        f"scores-{stem}.{suffix}" for stem in ("a-b", "a-b-2", "A-B-3") for suffix in ("png", "svg")
    }


def test_a_hundred_classes_are_cut_to_the_thirty_highest_and_it_is_said() -> None:
    report = example_report({"p": gaussian_attack(0.3, 5000, classes=100)})
    text = text_of(render(report)["class-advantage.svg"])
    assert "70 lower classes left out" in text
    assert text.count("(50 + 50)") == 30


def test_the_picture_of_classes_names_its_attack_and_says_that_small_classes_look_worse() -> None:
    text = text_of(render(transcript_report())["class-advantage.svg"])
    assert "strongest of 3 attacks: lira" in text
    assert "small classes look worse by chance" in text
    assert "attack: population" in text_of(render(example_report())["class-advantage.svg"])


@pytest.mark.parametrize("name", ["population:signal=rescaled_logit;per_class=true;alpha=0.05", "W" * 60, "$m$" * 20])
def test_a_long_name_stays_inside_every_picture(name: str) -> None:
    report = example_report({name: gaussian_attack(0.5, 500)})
    for draw in _pictures(report).values():
        picture = Picture(figsize=(8, 6), dpi=100)
        draw(picture)
        box = picture.get_tightbbox()
        assert box.x0 >= 0
        assert box.x1 <= 8


def test_curves_differ_in_dashes_as_well_as_in_colour_and_step_on_logarithmic_axes() -> None:
    attacks = {f"a{i}": gaussian_attack(0.2 * i, 50) for i in range(8)}
    for logarithmic in (False, True):
        picture = Picture()
        draw_roc(picture, example_report(attacks, n=50), logarithmic)
        curves = [line for line in picture.axes[0].get_lines() if line.get_label() != "guessing"]
        assert {(line.get_drawstyle(), str(line.get_marker())) for line in curves} == {
            ("steps-post" if logarithmic else "default", "None")
        }
        assert len({str(line.get_color()) for line in curves}) == 8
        assert len({str(style.dashes) for style in _STYLES}) == 8


def test_classes_with_too_few_records_are_counted_and_alone_make_no_picture() -> None:
    few = example_report({"p": gaussian_attack(0.3, 300, classes=40)}, n=300)
    assert "class-advantage.png" not in render(few)


def test_many_attacks_are_cut_to_the_eight_of_highest_auc_and_it_is_said() -> None:
    attacks = {f"a{i:02}": gaussian_attack(0.2 * i, 200) for i in range(10)}
    text = text_of(render(example_report(attacks, n=200))["roc-log.svg"])
    assert "2 attacks of lower AUC left out" in text
    assert "a09" in text
    assert "a00" not in text


@pytest.mark.parametrize("n", [2, 11])
def test_very_few_records_still_draw(n: int) -> None:
    assert len(render(example_report({"p": gaussian_attack(0.3, n, classes=2)}, n=n))) >= 6


def test_settings_of_matplotlib_are_left_as_they_were_and_pyplot_is_not_imported() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    loaded = "matplotlib.pyplot" in sys.modules
    render(example_report())
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == loaded

"""Foreign text in lines of ours."""

from __future__ import annotations

import pytest

from pmcore.quoting import printable, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb", "a b"), ("a\x1b[31mb", "a\\x1b[31mb"), ("\ud800", "\\ud800"), ("$\\frac{1$", "$\\frac{1$"), ("é", "é")],
)
def test_nothing_in_a_text_can_end_the_line_or_steer_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()


def test_a_long_text_is_shortened_in_the_middle_to_the_length_asked_for() -> None:
    assert printable("a" * 50 + "b" * 50, 11) == "aaaaa…bbbbb"
    assert printable("a" * 11, 11) == "a" * 11


def test_a_value_of_any_size_is_quoted_short() -> None:
    assert len(quoted(["x" * 10**6] * 1000)) < 300
    assert quoted("b") == "'b'"

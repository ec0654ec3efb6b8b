"""Several values after one flag."""

from __future__ import annotations

import pytest

from pmcore.commands.several import spread


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        ("m --pool a b c --out o", "m --pool a --pool b --pool c --out o"),
        ("--pool=a b --out o", "--pool=a --pool b --out o"),
        ("--pool a --pool b c", "--pool a --pool b --pool c"),
        ("--out o p --pool a", "--out o p --pool a"),
        ("--pool a -- b c", "--pool a -- b c"),
        ("--pool a - b", "--pool a --pool - --pool b"),
        ("--pool --out o", "--pool --out o"),
        ("--poolside a b", "--poolside a b"),
    ],
)
def test_every_value_gets_its_flag(typed: str, parsed: str) -> None:
    assert list(spread(typed.split(), {"--pool"})) == parsed.split()

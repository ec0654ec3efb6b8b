"""Options that take several values after one flag, as ``--pool a.npz b.npz`` does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import rich_click as click


class SeveralOption(click.Option):
    """An option, declared ``multiple``, whose flag may be followed by several values."""


class CommandWithSeveral(click.RichCommand):
    """A command that hands each option of `SeveralOption` all values up to the next flag.

    An argument of the command stands before such a flag, or behind another one.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what was typed, every value under a flag of its own."""
        flags = {flag for one in self.params if isinstance(one, SeveralOption) for flag in one.opts}
        return super().parse_args(ctx, list(spread(args, flags)))


def spread(args: Sequence[str], flags: Collection[str]) -> Iterator[str]:
    """Yield arguments with a flag put before every further value: ``--pool a b`` becomes ``--pool a --pool b``."""
    flag, values = None, 0
    for place, argument in enumerate(args):
        if argument == "--":
            yield from args[place:]
            return
        name, equals, _ = argument.partition("=")
        if argument.startswith("-") and argument != "-":
            flag, values = (name, len(equals)) if name in flags else (None, 0)
        elif flag is not None:
            if values:
                yield flag
            values += 1
        yield argument

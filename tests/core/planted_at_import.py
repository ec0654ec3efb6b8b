"""An attack and a signal whose module does something when it is imported: here it prints."""

from __future__ import annotations

from dataclasses import dataclass

from tests.core.planted_attacks import SoundPopulation
from tests.core.planted_signals import SoundOdds

print("planted")


@dataclass(frozen=True)
class ActsAtImport(SoundPopulation):
    __doc__ = SoundPopulation.__doc__


class PrintsAtImport(SoundOdds):
    __doc__ = SoundOdds.__doc__

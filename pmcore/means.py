"""What an audit has besides its model, against what an attack needs: references, records, queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pmcore.errors import InputError
from pmcore.evidence import FEWEST_FOLDS, PLAIN, Needs
from pmcore.numerals import count
from pmcore.queries import InputFacts, parse_query

FEWEST_MODELS = 4
"""Models that are audited in turn at the least: with fewer an interval over models says nothing."""


@dataclass(frozen=True)
class Coverage:
    """How many references saw, and did not see, the records.

    Parameters
    ----------
    models : how many references there are
    out : least number that did not see an audited record
    inside : least number that saw one
    population_out : least number that did not see a population record; as many as there are without a population
    """

    models: int
    out: int
    inside: int
    population_out: int

    @property
    def unseen(self) -> int:
        """Return how many references that did not see it every record has, of the audited ones and the population."""
        return min(self.out, self.population_out)


@dataclass(frozen=True)
class Means:
    """What an audit has.

    Parameters
    ----------
    references : None where none are given
    recorded : whether the references are recorded answers, which hold predictions for the plain query alone
    facts : what is known of the inputs as the model takes them; None before the records were read
    fewest_distinct : different records that the smaller side has of its own; None before they were read
    game : whose leakage is measured
    """

    references: Coverage | None = None
    recorded: bool = False
    facts: Mapping[str, InputFacts] | None = None
    fewest_distinct: int | None = None
    game: str = "model"

    def obstacle(self, needs: Needs) -> str | None:
        """Return why an attack cannot run with this, in one phrase with a remedy, or None if it can."""
        if 0 < needs.known_folds < FEWEST_FOLDS:
            return (
                f"it declares {needs.known_folds} folds of known members, and learns from others from {FEWEST_FOLDS} on"
            )
        return self._obstacle_of_references(needs) or self._obstacle_of_queries(needs) or self._too_few(needs)

    def _obstacle_of_references(self, needs: Needs) -> str | None:
        if not reads_references(needs):
            return None
        found = self.references
        if found is None:
            return "it needs reference models, and none are given - make some with `pmcore references`"
        if self.recorded and needs.queries != (PLAIN,):
            return "it sends transformed records, and the answers of the references were recorded - give their files"
        alike = needs.population_references and not needs.membership
        unseen = found.unseen if alike else found.out
        if unseen < needs.min_references:
            return (
                f"it needs {_models(needs.min_references)} that did not see a record, and some record has "
                f"{unseen} of {found.models} - give more"
            )
        if needs.membership and found.inside < needs.min_in_references:
            return (
                f"it needs {_models(needs.min_in_references)} that saw a record, and some record has {found.inside} "
                f"of {found.models} - make references whose pool holds the audited records"
            )
        return None

    def _obstacle_of_queries(self, needs: Needs) -> str | None:
        for text in needs.queries:
            if text == PLAIN:
                continue
            try:
                query = parse_query(text)
            except InputError as error:
                return f"query {error}"
            reason = None if self.facts is None else query.obstacle(self.facts)
            if reason is not None:
                return f"query {text!r}: {reason}"
        if needs.budget and self.facts is not None:
            whole = [name for name, fact in self.facts.items() if fact.dtype.kind not in "f"]
            if whole:
                return f"it moves records step by step, and input {whole[0]!r} takes whole numbers"
        return None

    def _too_few(self, needs: Needs) -> str | None:
        fewest = self.fewest_distinct
        if not needs.known_folds or fewest is None or fewest >= needs.known_folds:
            return None
        return (
            f"it learns from {needs.known_folds} parts of members and of non-members, and one side has {fewest} "
            "different records of its own"
        )


def check_game(game: str, coverage: Coverage | None) -> None:
    """Refuse a game that cannot be played with the references that there are.

    Raises
    ------
    InputError
        There are too few, or they did not train on the audited records.
    """
    if game == "model":
        return
    if coverage is None or coverage.models + 1 < FEWEST_MODELS:
        given = 0 if coverage is None else coverage.models
        raise InputError(
            f"game: {game} - audits several models in turn, and {given} references are given; make {FEWEST_MODELS - 1} "
            "or more with `pmcore references --assign in-out`"
        )
    if coverage.inside < 1 or coverage.out < 1:
        raise InputError(
            f"game: {game} - needs references that trained on half of the audited records, and some records are seen "
            "by none or by all of them; make such with `pmcore references --assign in-out`"
        )


def reads_references(needs: Needs) -> bool:
    """Return whether an attack reads anything of reference models."""
    return bool(needs.references or needs.population_references or needs.min_references or needs.membership)


def _models(number: int) -> str:
    return f"{count(number)} reference{'' if number == 1 else 's'}"

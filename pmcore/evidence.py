"""What an attack declares that it needs, and the evidence it is given: exactly that and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pmcore.errors import AuditError
from pmcore.outputs import Array, Floats, Inputs, Task

PLAIN = "plain"
"""The query that sends a record as it is."""


FEWEST_FOLDS = 3
"""Of known members: with two, each could only be told of the other, see `told_of`."""


class Access(StrEnum):
    """What of the model an attacker sees, in order from least to most."""

    LABEL = "label"
    SCORES = "scores"
    LOGITS = "logits"
    ACTIVATIONS = "activations"
    GRADIENTS = "gradients"

    @classmethod
    def most(cls, accesses: Iterable[Access]) -> Access:
        """Return the widest of several accesses; the label alone if there are none."""
        order = list(cls)
        return max(accesses, key=order.index, default=cls.LABEL)


class Source(StrEnum):
    """Which models were asked about which records."""

    TARGET = "target"
    POPULATION = "population"
    REFERENCES = "references"
    POPULATION_REFERENCES = "population_references"


@dataclass(frozen=True)
class Needs:
    """What an attack reads. Signals are named, with options if any: ``"gradient_norm:order=1"``.

    Parameters
    ----------
    target : signals of the target model on the audited records
    population : signals of the target model on the population records
    references : signals of the reference models on the audited records
    population_references : signals of the reference models on the population records
    min_references : least number of reference models that did not see a record
    min_in_references : least number of reference models that did see a record, where `membership` is read
    membership : whether the membership matrix of the references (some did see the record) is read; an attack that does
        not read it is given, of every record, answers of references alone that did not see it
    known_folds : if >= 3, `score` is called once per fold with the true membership of some other folds
        (`Evidence.known`, see `told_of`), and only the fold's own scores are kept
    queries : the queries in which every signal is read: ``"plain"`` for the record as it is, or a transformation of it,
        see `pmcore.queries`: ``"flip"``, ``"shift:rows=1,columns=-1"``, ``"noise:scale=0.1,draw=3"``,
        ``"bitflip:share=0.02,draw=0"``
    budget : adaptive queries allowed per record (`Evidence.query`), 0 for none
    features : most columns of the records' own contents that are read (`Evidence.features`), 0 for none
    """

    target: tuple[str, ...] = ()
    population: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    population_references: tuple[str, ...] = ()
    min_references: int = 0
    min_in_references: int = 0
    membership: bool = False
    known_folds: int = 0
    queries: tuple[str, ...] = (PLAIN,)
    budget: int = 0
    features: int = 0

    def signals(self) -> dict[Source, tuple[str, ...]]:
        """Return the signals by source."""
        return {
            Source.TARGET: self.target,
            Source.POPULATION: self.population,
            Source.REFERENCES: self.references,
            Source.POPULATION_REFERENCES: self.population_references,
        }


def told_of(folds: NDArray[np.intp], fold: int, count: int) -> NDArray[np.bool_]:
    """Return whose membership an attack is told while it scores one fold, shape (n,): of the next (count - 1) // 2.

    No two folds are told of each other. Were each told of all others, what is scored in one would have taught the
    scores of the next: they would move together, and the intervals of an attack that finds nothing would hold .5 in
    86 % of audits and not in 95 %.

    Parameters
    ----------
    folds : (n,) in [0, count)
    """
    after = (folds - fold) % count
    told: NDArray[np.bool_] = (after >= 1) & (after <= (count - 1) // 2)
    return told


@dataclass(frozen=True)
class PValues:
    """Valid p-values of "not a member".

    Parameters
    ----------
    values : (n,) in (0, 1]: for a record that is no member, P(p <= a) <= a for every level a
    smallest : (n,) the smallest value that each record could have got; no level below it can be claimed
    """

    values: Floats
    smallest: Floats


@dataclass(frozen=True)
class EvidenceKey:
    """The address of one array of evidence."""

    source: Source
    signal: str
    query: str = PLAIN


class LabelQueries(ABC):
    """Adaptive queries about the audited records: the model answers with labels alone, and what it is asked is counted.

    Parameters
    ----------
    bounds : input -> the least and the largest value that it has in any audited record
    budget : queries allowed per record
    """

    bounds: Mapping[str, tuple[float, float]]
    budget: int

    @abstractmethod
    def inputs(self, records: NDArray[np.intp]) -> Inputs:
        """Return audited records as the model takes them, each (b, ...); this is no query."""

    @abstractmethod
    def __call__(self, records: NDArray[np.intp], inputs: Inputs) -> Array:
        """Return the labels that the model gives to changed records, (b,) or (b, k); one query for each.

        Parameters
        ----------
        records : (b,) which audited records they were; the same one may stand there several times
        inputs : each (b, ...) of the shape that `inputs` gives

        Raises
        ------
        AuditError
            A record's budget is spent.
        """


@dataclass(frozen=True)
class Evidence:
    """Everything one attack may read, and nothing else: reading what was not declared is an error.

    Letters: n audited records, m population records, r reference models, k classes.

    Parameters
    ----------
    arrays : the signals, by address; from the target (n, ...) and (m, ...), from references (r, n, ...), (r, m, ...)
    lower_is_member : signal name -> whether its low values speak for membership; not of signals that speak for neither
    labels : (n,) or (n, ...) labels of the audited records
    population_labels : (m,) or (m, ...)
    task, classes : as the target model describes itself
    seed : entropy of this attack alone; see `rng`
    reference_membership : (n, r) bool, whether audited record i trained reference j; None unless declared
    population_membership : (m, r) bool, the same of the population records
    known : (n,) int8: 1 a known member, 0 a known non-member, -1 to be scored
    query : counted adaptive queries; None unless a budget is declared
    features : (n, d) what the audited records hold, flat: as it is where d suffices, else a seeded random projection
    population_features : (m, d) the same of the population records
    """

    arrays: Mapping[EvidenceKey, Array]
    labels: Array
    population_labels: Array | None = None
    lower_is_member: Mapping[str, bool] = field(default_factory=dict)
    task: Task = Task.MULTICLASS
    classes: int = 0
    seed: tuple[int, ...] = (0,)
    reference_membership: NDArray[np.bool_] | None = None
    population_membership: NDArray[np.bool_] | None = None
    known: NDArray[np.int8] | None = None
    query: LabelQueries | None = None
    features: Floats | None = None
    population_features: Floats | None = None

    def target(self, signal: str, query: str = PLAIN) -> Floats:
        """Return a signal of the target on the audited records, shape (n,) or (n, d)."""
        return self._read(EvidenceKey(Source.TARGET, signal, query))

    def population(self, signal: str, query: str = PLAIN) -> Floats:
        """Return a signal of the target on the population records, shape (m,) or (m, d)."""
        return self._read(EvidenceKey(Source.POPULATION, signal, query))

    def references(self, signal: str, query: str = PLAIN) -> Floats:
        """Return a signal of the references on the audited records, shape (r, n) or (r, n, d)."""
        return self._read(EvidenceKey(Source.REFERENCES, signal, query))

    def population_references(self, signal: str, query: str = PLAIN) -> Floats:
        """Return a signal of the references on the population records, shape (r, m) or (r, m, d)."""
        return self._read(EvidenceKey(Source.POPULATION_REFERENCES, signal, query))

    def membership_evidence(self, signal: str, values: Floats) -> Floats:
        """Return `values` of `signal` signed so that higher means more likely a member.

        Raises
        ------
        AuditError
            Neither side of the signal speaks for membership.
        """
        if signal not in self.lower_is_member:
            raise AuditError(f"signal {signal!r} speaks for neither side; choose one with a direction, such as loss")
        return -values if self.lower_is_member[signal] else values

    @property
    def rng(self) -> np.random.Generator:
        """Return a fresh generator: the same for the same audit seed and attack, whatever else runs."""
        return np.random.default_rng(np.random.SeedSequence(self.seed))

    def _read(self, key: EvidenceKey) -> Floats:
        try:
            return self.arrays[key]
        except KeyError:
            raise AuditError(
                f"the attack reads {key.source}({key.signal!r}, query={key.query!r}) but does not declare it in `needs`"
            ) from None

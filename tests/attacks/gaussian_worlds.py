"""Audits in which every record has a normal distribution of its own under models that saw it and under others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore.evidence import Evidence, EvidenceKey, Source
from pmcore.interfaces import Attack
from pmcore.outputs import Floats
from pmcore.statistics import Estimate, auc, sort_scores


@dataclass(frozen=True, eq=False)
class GaussianWorld:
    """What models answer about n audited and m population records; records differ in their means, and in their spread.

    Parameters
    ----------
    truth : (n,) which records trained the target
    inside : (n, r) which trained which reference
    target, population : (n,) and (m,)
    references, population_references : (r, n) and (r, m)
    means : (n,) of models that did not see a record
    spread : (n,) standard deviations
    """

    truth: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    target: Floats
    population: Floats
    references: Floats
    population_references: Floats
    means: Floats
    spread: Floats

    def evidence(self, signal: str, *, lower: bool = False) -> Evidence:
        """Return everything as the answers of one signal."""
        return evidence_of(
            signal,
            self.target,
            self.references,
            self.population,
            self.population_references,
            inside=self.inside,
            lower=lower,
        )

    def unseen(self, signal: str, *, lower: bool = False) -> Evidence:
        """Return what an attack is given that does not read membership; as many references of each record."""
        fewest = int((~self.inside).sum(axis=1).min())
        chosen = np.argsort(self.inside, axis=1, kind="stable")[:, :fewest].T
        references = self.references[chosen, np.arange(len(self.truth))[None, :]]
        return evidence_of(
            signal, self.target, references, self.population, self.population_references[:fewest], lower=lower
        )

    def area(self, scores: Floats) -> Estimate:
        """Return the AUC of scores."""
        return auc(sort_scores(scores[self.truth], scores[~self.truth]))


def gaussian_world(
    n: int,
    r: int,
    *,
    m: int = 2,
    leak: float = 1.0,
    difficulty: float = 3.0,
    spread: float = 0.0,
    seen: bool = True,
    seed: int = 0,
) -> GaussianWorld:
    """Return a world in which what a model saw lies `leak` standard deviations higher.

    Parameters
    ----------
    difficulty : how much the records' means differ
    spread : how much the logarithms of their standard deviations differ
    seen : whether half of the references saw each audited record; else none did
    """
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(n) % 2 == 0)
    halves = np.broadcast_to((np.arange(r) < r // 2) & seen, (n, r))
    inside = rng.permuted(halves, axis=1)
    means, deviations = rng.normal(0, difficulty, n), np.exp(rng.normal(0, spread, n))
    of_z, deviations_of_z = rng.normal(0, difficulty, m), np.exp(rng.normal(0, spread, m))
    return GaussianWorld(
        truth=truth,
        inside=inside,
        target=means + deviations * (leak * truth + rng.normal(size=n)),
        population=of_z + deviations_of_z * rng.normal(size=m),
        references=means + deviations * (leak * inside.T + rng.normal(size=(r, n))),
        population_references=of_z + deviations_of_z * rng.normal(size=(r, m)),
        means=means,
        spread=deviations,
    )


def evidence_of(
    signal: str,
    target: Floats,
    references: Floats,
    population: Floats | None = None,
    population_references: Floats | None = None,
    *,
    inside: NDArray[np.bool_] | None = None,
    population_inside: NDArray[np.bool_] | None = None,
    lower: bool = False,
    queries: Mapping[str, Evidence] | None = None,
) -> Evidence:
    """Return evidence of one signal; `queries` holds what other queries than the plain one gave."""
    arrays = {
        EvidenceKey(Source.TARGET, signal): target,
        EvidenceKey(Source.REFERENCES, signal): references,
        EvidenceKey(Source.POPULATION, signal): population,
        EvidenceKey(Source.POPULATION_REFERENCES, signal): population_references,
    }
    for query, other in (queries or {}).items():
        arrays |= {EvidenceKey(key.source, signal, query): values for key, values in other.arrays.items()}
    return Evidence(
        arrays={key: values for key, values in arrays.items() if values is not None},
        labels=np.zeros(len(target), dtype=np.int64),
        population_labels=None if population is None else np.zeros(len(population), dtype=np.int64),
        lower_is_member={signal: lower},
        classes=2,
        reference_membership=inside,
        population_membership=population_inside,
    )


def taken(evidence: Evidence, records: NDArray[np.intp], models: NDArray[np.intp] | None = None) -> Evidence:
    """Return the evidence of these audited records, and of references in this order."""
    arrays = {}
    for key, values in evidence.arrays.items():
        of_references = key.source in (Source.REFERENCES, Source.POPULATION_REFERENCES)
        kept = values[models] if of_references and models is not None else values
        axis = {Source.TARGET: 0, Source.REFERENCES: 1}.get(key.source)
        arrays[key] = kept if axis is None else kept.take(records, axis=axis)
    inside = evidence.reference_membership
    if inside is not None:
        inside = inside[records] if models is None else inside[records][:, models]
    return Evidence(
        arrays=arrays,
        labels=evidence.labels[records],
        population_labels=evidence.population_labels,
        lower_is_member=evidence.lower_is_member,
        classes=evidence.classes,
        reference_membership=inside,
        population_membership=evidence.population_membership,
    )


def require_no_order(attack: Attack, evidence: Evidence, seed: int = 0) -> None:
    """Require that scores follow the records, whatever the order of these and of the references."""
    rng = np.random.default_rng(seed)
    n = len(evidence.labels)
    models = rng.permutation(len(next(v for k, v in evidence.arrays.items() if k.source is Source.REFERENCES)))
    records = rng.permutation(n)
    expected = attack.score(evidence)[records]
    found = attack.score(taken(evidence, records, models))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * float(np.abs(expected).max()))


def misses_of_half(attack: Attack, signal: str, worlds: int, **recipe: float | bool) -> int:
    """Return in how many of several worlds without a leak the interval of the AUC does not hold .5."""
    misses = 0
    for seed in range(worlds):
        world = gaussian_world(100, 8, m=60, leak=0.0, seed=seed + 1_000, **recipe)  # type: ignore[arg-type]
        found = world.area(attack.score(world.evidence(signal)))
        assert found.low is not None
        assert found.high is not None
        misses += not found.low <= 0.5 <= found.high
    return misses

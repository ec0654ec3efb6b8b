"""How far a shipped form of a network is from the network in double precision: logits, signals, scores, AUC."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from pmcore import Audit, from_callable
from pmcore.audit import AuditResult
from pmcore.data import Role
from pmcore.interfaces import Array, Floats
from tests.agreement.forms import Form
from tests.agreement.networks import digits, in_float64

CORRECTNESS = "correctness"
SIGNALS = ("loss", "confidence", "rescaled_logit", "hinge", "entropy", "modified_entropy", CORRECTNESS)


@dataclass(frozen=True)
class Agreement:
    """What one form of one network differs by from double precision.

    Parameters
    ----------
    logits : largest difference of a logit
    signals : signal -> largest difference, over the audited records and the population; `correctness` apart
    changed : records that are now right or wrong and were not
    auc : signal -> difference of the AUC of the population attack on it
    displaced : signal -> how far apart the signals of two audited records are at most, in double precision, whose
        attack scores stand in the other order
    precision, device, notes : as the report states them
    """

    logits: float
    signals: dict[str, float]
    changed: int
    auc: dict[str, float]
    displaced: dict[str, float]
    precision: str
    device: str
    notes: tuple[str, ...]


def measure(form: Form, network: str, folder: Path) -> Agreement:
    """Ship a network, audit what was shipped, and compare."""
    files = _records(network, folder)
    shipped = form.make(network, folder)
    logits = _logits(Audit(model=shipped, **files, **form.options(network)))
    found = _audit(form.make(network, folder) if not isinstance(shipped, str) else shipped, files, form, network)
    exact = audit_in_float64(network)
    return Agreement(
        logits=float(np.abs(logits - in_float64(network)).max()),
        signals={name: float(_differences(found, exact, name).max()) for name in SIGNALS if name != CORRECTNESS},
        changed=int(np.count_nonzero(_differences(found, exact, CORRECTNESS))),
        auc={name: _auc(found, name) - _auc(exact, name) for name in SIGNALS},
        displaced={name: _displaced(found, exact, name) for name in SIGNALS},
        precision=found.report.model.precision,
        device=found.report.model.device,
        notes=tuple(found.report.model.notes),
    )


@cache
def audit_in_float64(network: str) -> AuditResult:
    """Return the audit of the network in double precision."""
    net = _double(network)

    def logits(x: Array) -> Array:
        with torch.inference_mode():
            answer: Array = net(torch.from_numpy(x)).numpy()
        return answer

    with TemporaryDirectory() as folder:
        files = _records(network, Path(folder))
        return Audit(model=from_callable(logits, dtype="float64"), **files, attacks=_attacks()).run()


def _double(network: str) -> torch.nn.Module:
    import copy

    from tests.agreement.networks import trained

    return copy.deepcopy(trained(network)).double()


def _audit(model: object, files: dict[str, str], form: Form, network: str) -> AuditResult:
    return Audit(model=model, **files, **form.options(network), attacks=_attacks()).run()


def _attacks() -> list[str]:
    return [f"population:signal={name}" for name in SIGNALS]


def _records(network: str, folder: Path) -> dict[str, str]:
    """Write the records; every third held-out one is population."""
    records = digits(network)
    rest = np.arange(records.n_members, len(records.x))
    rows = {
        "members": np.arange(records.n_members),
        "non_members": rest[rest % 3 > 0],
        "population": rest[rest % 3 == 0],
    }
    for role, chosen in rows.items():
        np.savez(folder / f"{role}.npz", x=records.x[chosen], y=records.y[chosen])
    return {role: str(folder / f"{role}.npz") for role in rows}


def _logits(audit: Audit) -> Array:
    """Return what the model answers about all records, in the order of `digits`."""
    plan = audit.plan()
    model, feeds = plan.model.model, plan.roles.feeds
    model.prepare(feeds[Role.MEMBERS].sample())
    answers = {role: _ask(model, feed) for role, feed in feeds.items()}
    model.close()
    members, others, population = (answers[role] for role in (Role.MEMBERS, Role.NONMEMBERS, Role.POPULATION))
    total = len(members) + len(others) + len(population)
    rest = np.arange(len(members), total)
    logits = np.empty((total, members.shape[1]))
    logits[: len(members)] = members
    logits[rest[rest % 3 > 0]], logits[rest[rest % 3 == 0]] = others, population
    return logits


def _ask(model: object, feed: object) -> Array:
    from pmcore.feed import Feed
    from pmcore.interfaces import Model

    assert isinstance(model, Model)
    assert isinstance(feed, Feed)
    parts = [model.predict(feed.batch(start, start + 256)[0]) for start in range(0, len(feed), 256)]
    return np.concatenate(parts)


def _differences(found: AuditResult, exact: AuditResult, name: str) -> Floats:
    parts = [np.abs(found.signals[f"{role.value}.{name}"] - exact.signals[f"{role.value}.{name}"]) for role in Role]
    return np.concatenate(parts)


def _auc(result: AuditResult, name: str) -> float:
    value = result.report.attacks[_title(result, name)].auc.value
    assert value is not None
    return value


def _title(result: AuditResult, name: str) -> str:
    return next(title for title, attack in result.report.attacks.items() if attack.options["signal"] == name)


def _displaced(found: AuditResult, exact: AuditResult, name: str) -> float:
    """Return the widest gap, in the exact signal, between two records whose attack scores stand in the other order."""
    signal = np.concatenate([exact.signals[f"{role}.{name}"] for role in ("members", "nonmembers")])
    order = np.argsort(exact.scores.scores[_title(exact, name)], kind="stable")
    return widest_exchange(signal[order], found.scores.scores[_title(found, name)][order])


def widest_exchange(signal: Floats, scores: Floats) -> float:
    """Return the largest distance in `signal`, which is sorted either way, of two records that `scores` exchange."""
    below = np.maximum.accumulate(scores)
    widest = 0.0
    for i in np.flatnonzero(scores < below):
        first = int(np.searchsorted(below, scores[i], side="right"))
        widest = max(widest, abs(float(signal[i] - signal[first])))
    return widest

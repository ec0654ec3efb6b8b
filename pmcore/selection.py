"""Which attacks can run on a model: what was asked for, its fallback, or the reason why neither can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

from pmcore import registry
from pmcore.errors import Complaints, InputError
from pmcore.installed import Plugin, PluginPolicy, list_plugins
from pmcore.interfaces import Attack, Model, Needs, Signal, Want
from pmcore.layers import LayersUnknown
from pmcore.means import Means
from pmcore.options import build, parse_spec
from pmcore.plugin_failures import answerable
from pmcore.wishes import wish_of

ALL = "all"
"""The word for every installed attack that can run."""


@dataclass(frozen=True)
class PlannedAttack:
    """An attack that will run, under the name that the report gives it.

    Parameters
    ----------
    note : why its fallback runs in its place, or None if it runs as it was asked for
    asked : whether it was asked for by its name, and not as one of all
    """

    name: str
    plugin: Plugin
    attack: Attack
    note: str | None = None
    asked: bool = True

    @property
    def needs(self) -> Needs:
        """Return what the attack declares."""
        return self.attack.needs


@dataclass(frozen=True)
class PlannedSignal:
    """A signal that some attack reads."""

    plugin: Plugin
    signal: Signal


@dataclass(frozen=True)
class Skipped:
    """An attack that cannot run on this model with this data, and whether it was asked for by its name."""

    name: str
    reason: str
    asked: bool = True


@dataclass(frozen=True)
class Selection:
    """The attacks that run, those that cannot, and the signals that the former read, by name."""

    running: tuple[PlannedAttack, ...]
    skipped: tuple[Skipped, ...]
    signals: Mapping[str, PlannedSignal]


def load_attacks(
    specs: Sequence[str], layers: tuple[str, ...], policy: PluginPolicy, complaints: Complaints
) -> tuple[PlannedAttack, ...]:
    """Make the attacks that are asked for; what does not fit is noted in `complaints`.

    Parameters
    ----------
    specs : attacks as NAME or NAME:option=value,...; "all" stands for every other one that is installed
    layers : the option `layers` of every attack that has one and is not given it
    """
    planned: list[PlannedAttack] = []
    read = []
    for text in specs:
        with complaints.collect():
            read.append((text, *parse_spec(text)))
    named = {name for _, name, _ in read}
    if ALL in named:
        read = [entry for entry in read if entry[1] != ALL]
        read += [(name, name, {}) for name in _installed(policy) if name not in named]
    repeated = Counter(name for _, name, _ in read)
    for text, name, options in read:
        with complaints.collect():
            plugin = registry.find("attacks", name, policy)
            cls = registry.load("attacks", name, policy)
            takes_layers = is_dataclass(cls) and "layers" in {field.name for field in fields(cls)}
            given: dict[str, object] = {"layers": layers} if layers and takes_layers else {}
            with answerable(plugin):
                attack = build(cls, given | options, f"attack {name!r}")
                attack.needs.signals()  # a third party's declaration may fail: better here than midway
            title = name if repeated[name] == 1 else text.replace(",", ";")
            if title in {other.name for other in planned}:
                raise InputError(f"attack {text!r} is asked for twice - leave one out")
            planned.append(PlannedAttack(title, plugin, attack, asked=name in named))
    return tuple(planned)


def load_signals(
    attacks: Iterable[PlannedAttack], policy: PluginPolicy, complaints: Complaints
) -> dict[str, PlannedSignal]:
    """Make the signals that attacks read, by the names under which they read them."""
    signals = {}
    for text in dict.fromkeys(name for planned in attacks for name in signal_names(planned.needs)):
        with complaints.collect():
            name, options = parse_spec(text)
            plugin = registry.find("signals", name, policy)
            with answerable(plugin):
                signal = build(registry.load("signals", name, policy), options, f"signal {name!r}")
            signals[text] = PlannedSignal(plugin, signal)
    return signals


def select(
    attacks: Sequence[PlannedAttack],
    signals: Mapping[str, PlannedSignal],
    model: Model,
    policy: PluginPolicy,
    means: Means,
) -> Selection:
    """Tell which attacks can run on a model; one that cannot is replaced by its fallback, if that can.

    Parameters
    ----------
    means : what the audit has besides the model

    Raises
    ------
    InputError
        None can run, or one names a layer that the model does not have.
    """
    complaints = Complaints()
    running: list[PlannedAttack] = []
    skipped: list[Skipped] = []
    known = dict(signals)
    for planned in attacks:
        with complaints.collect():
            found = _runnable(planned, known, _Place(model, means), policy, complaints)
            if isinstance(found, Skipped):
                skipped.append(found)
            else:
                running.append(found)
    complaints.raise_any()
    return _selection(running, skipped, known)


def obstacle(needs: Needs, signals: Mapping[str, PlannedSignal], model: Model, means: Means) -> str | None:
    """Return why an attack cannot run on a model with what else there is, or None.

    Raises
    ------
    InputError
        It names a layer that the model does not have.
    """
    task = model.describe().task
    of_references = {*needs.references, *needs.population_references}
    for name in signal_names(needs):
        signal = signals[name].signal
        if task not in signal.tasks:
            tasks = ", ".join(sorted(signal.tasks))
            return f"signal {name!r} is defined for {tasks}, and the model is {task}"
        try:
            reason = model.obstacle(wish_of((signal,), model).want)
            if reason is None and means.recorded and name in of_references and signal.want != Want(predictions=True):
                reason = "the answers of the references were recorded, and hold predictions alone - give their files"
        except LayersUnknown as error:
            reason = str(error)
        if reason is not None:
            return f"signal {name!r}: {reason}"
    return means.obstacle(needs)


def attacks_possible(model: Model, policy: PluginPolicy) -> Iterator[PlannedAttack | Skipped]:
    """Yield every installed attack, with its default options, as it would run on a model, or why it cannot."""
    for plugin in list_plugins("attacks", policy):
        complaints = Complaints()
        with complaints.collect(), answerable(plugin):
            attack = build(registry.load("attacks", plugin.name, policy), {}, f"attack {plugin.name!r}")
            planned = PlannedAttack(plugin.name, plugin, attack)
            signals = load_signals((planned,), policy, complaints)
            if not complaints.errors:
                yield _runnable(planned, signals, _Place(model, Means()), policy, complaints)
        if complaints.errors:
            yield Skipped(plugin.name, str(complaints.errors[0]))


def signal_names(needs: Needs) -> tuple[str, ...]:
    """Return the names of all signals that are read of any model or role, each once."""
    return tuple(dict.fromkeys(name for names in needs.signals().values() for name in names))


@dataclass(frozen=True)
class _Place:
    """Where an attack is to run."""

    model: Model
    means: Means


def _runnable(
    planned: PlannedAttack,
    known: dict[str, PlannedSignal],
    place: _Place,
    policy: PluginPolicy,
    complaints: Complaints,
) -> PlannedAttack | Skipped:
    """Return an attack if it can run, else its fallback if that can; `known` takes up the signals of the latter."""
    reason = obstacle(planned.needs, known, place.model, place.means)
    if reason is None:
        return planned
    other = _fallback(planned)
    if other is not None:
        known |= load_signals((other,), policy, complaints)
        if obstacle(other.needs, known, place.model, place.means) is None:
            return replace(other, note=reason)
    return Skipped(planned.name, reason, planned.asked)


def _installed(policy: PluginPolicy) -> list[str]:
    return [plugin.name for plugin in list_plugins("attacks", policy)]


def _fallback(planned: PlannedAttack) -> PlannedAttack | None:
    with answerable(planned.plugin):
        other = planned.attack.fallback
    return None if other is None else replace(planned, attack=other)


def _selection(
    running: Iterable[PlannedAttack], skipped: Iterable[Skipped], signals: Mapping[str, PlannedSignal]
) -> Selection:
    """Return a selection with no more signals than are read.

    Raises
    ------
    InputError
        No attack is left.
    """
    left, out = tuple(running), tuple(skipped)
    if not left:
        raise InputError("; ".join(f"attack {one.name!r} cannot run: {one.reason}" for one in out))
    read = {name for planned in left for name in signal_names(planned.needs)}
    return Selection(left, out, {name: signals[name] for name in sorted(read)})

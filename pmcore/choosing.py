"""Which output of a model holds the predictions, and what is said where none does."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pmcore.errors import InputError, ModelError
from pmcore.intake import Shape
from pmcore.quoting import quoted


@dataclass(frozen=True)
class Candidate:
    """An output of floating-point numbers, which may hold the predictions.

    Parameters
    ----------
    shape : batch axis first; () where it is not known
    ended : whether it is known to come from an activation
    aliases : every name by which somebody may call it, where it has several
    """

    name: str
    shape: Shape
    ended: bool
    aliases: frozenset[str] = frozenset()

    @property
    def rank(self) -> tuple[bool, int]:
        """Return how unlikely it is to hold the predictions: first what is no row per record, then by its name."""
        row = sum(size != 1 for size in self.shape[1:]) <= 1
        named = any("logit" in name.lower() for name in (self.name, *self.aliases))
        return not row, 0 if named else 1 if self.ended else 2


@dataclass(frozen=True)
class Choice:
    """The output that is read, and what a reader of the report must know of the others."""

    name: str
    notes: tuple[str, ...] = ()


def choose_output(candidates: Sequence[Candidate]) -> Choice:
    """Choose one of several outputs (at least one).

    A row of numbers per record comes first, and among these one called logits, then one that ends in an activation.
    """
    least = min(candidate.rank for candidate in candidates)
    rivals = list(dict.fromkeys(candidate.name for candidate in candidates if candidate.rank == least))
    if len(rivals) == 1:
        return Choice(rivals[0])
    listed = ", ".join(map(quoted, rivals))
    return Choice(
        rivals[0],
        (f"Outputs {listed} may all hold predictions: {quoted(rivals[0])} is read (choose with --output).",),
    )


def no_such_output(wanted: str, names: Sequence[str], path: Path) -> InputError:
    """Return what is raised where --output names an output that a model lacks."""
    near = difflib.get_close_matches(wanted, names, n=1)
    hint = f" (did you mean {quoted(near[0])}?)" if near else ""
    return InputError(f"{path}: has no output {quoted(wanted)}{hint}; its outputs are {', '.join(map(quoted, names))}")


def no_scores(wanted: str, path: Path) -> ModelError:
    """Return what is raised where --output names an output of labels behind which no scores are found."""
    return ModelError(f"{path}: output {quoted(wanted)} holds labels; --output must name one with scores")


def labels_alone(names: Iterable[str], path: Path) -> ModelError:
    """Return what is raised where a model has no output that could be read."""
    return ModelError(
        f"{path}: returns labels alone ({', '.join(map(quoted, names))}) whose scores cannot be read; "
        "export the model with its logits or probabilities"
    )


def label_note(name: str) -> str:
    """Return what a reader must know where the scores behind an output of labels are read."""
    return f"The model returns labels ({quoted(name)}); the scores behind them are read."

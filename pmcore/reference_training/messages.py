"""What the main process and a worker say to each other: pickled, each behind its length."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import IO

from pmcore.errors import AuditError
from pmcore.interfaces import Trainer
from pmcore.training import Trained, TrainingJob

_LENGTH = 8


@dataclass(frozen=True)
class Order:
    """What a worker is to do: train models side by side, or settle the trainer on the first of them."""

    trainer: Trainer
    jobs: tuple[TrainingJob, ...]
    settle: bool = False


@dataclass(frozen=True)
class Epochs:
    """How far an order has come."""

    done: int
    most: int


@dataclass(frozen=True)
class Finished:
    """What came of the models of an order, or the settled trainer."""

    trained: tuple[Trained, ...] = ()
    trainer: Trainer | None = None


@dataclass(frozen=True)
class Failed:
    """An order that failed.

    Parameters
    ----------
    error : the class of a refusal; None for anything else, which is the plugin's own failure
    reason : its message
    traceback : of anything else
    """

    error: type[AuditError] | None
    reason: str
    traceback: str = ""


def send(stream: IO[bytes], message: object) -> None:
    """Write one message."""
    content = pickle.dumps(message)
    stream.write(len(content).to_bytes(_LENGTH, "big") + content)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Return the next message, still pickled; None at the end."""
    length = stream.read(_LENGTH)
    if len(length) < _LENGTH:
        return None
    size = int.from_bytes(length, "big")
    content = stream.read(size)
    return content if len(content) == size else None

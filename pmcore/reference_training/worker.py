"""A process that trains references, one order after another, for as long as the process that began it lives."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import traceback
from time import monotonic
from typing import IO

from pmcore.errors import AuditError, InputError, ModelError
from pmcore.reference_training.messages import Epochs, Failed, Finished, Order, receive, send
from pmcore.training import TrainingTask

OFTEN = 0.1
"""Seconds between two messages on progress."""


def main() -> None:
    """Carry out the orders that come through standard input; answers go through standard output."""
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what a trainer prints must not come between the answers
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders, inbox), daemon=True).start()
    task = pickle.loads(inbox.get()).opened()
    while (content := inbox.get()) != pickle.dumps(None):
        send(answers, _carried_out(content, task, answers))
    os._exit(0)  # the thread still listens, which Python cannot end


def _listen(orders: IO[bytes], inbox: queue.SimpleQueue[bytes]) -> None:
    """Pass orders on, also during one; without somebody who gives them, there is nobody to train for."""
    while (content := receive(orders)) is not None:
        inbox.put(content)
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with the commands that a trainer runs
    os._exit(1)


def _carried_out(content: bytes, task: TrainingTask, answers: IO[bytes]) -> Finished | Failed:
    said = 0.0

    def progress(done: int, most: int) -> None:
        nonlocal said
        if monotonic() - said >= OFTEN:
            said = monotonic()
            send(answers, Epochs(done, most))

    order = None
    try:
        order = pickle.loads(content)
        assert isinstance(order, Order)
        if order.settle:
            return Finished(trainer=order.trainer.settled(task, order.jobs[0], progress))
        return Finished(tuple(order.trainer.train(task, order.jobs, progress)))
    except AuditError as error:
        kind = type(error) if type(error).__module__ == AuditError.__module__ else ModelError
        return Failed(kind if not hasattr(error, "complaints") else InputError, " ".join(str(error).split()))
    except MemoryError:
        return Failed(ModelError, f"out of memory while training {_which(order)} - try fewer --jobs")
    except (Exception, SystemExit) as error:  # a trainer may be anybody's
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Failed(None, reason, traceback.format_exc())


def _which(order: Order | None) -> str:
    return "references" if order is None else f"reference {order.jobs[0].index}"

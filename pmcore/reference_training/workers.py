"""Processes that train references side by side: each is given an order when it has carried out its last."""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pmcore.errors import ModelError, PluginError
from pmcore.installed import Plugin
from pmcore.plugin_failures import one_line
from pmcore.reference_training.messages import Epochs, Failed, Finished, Order, receive, send
from pmcore.reference_training.stored_task import StoredTask

PATIENCE = 5.0
"""Seconds that a worker has to leave when it is told to."""
_ONE_THREAD = {
    f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR")
}
_PROGRAM = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop()); "
    "from pmcore.reference_training.worker import main; main()"
)


@dataclass(frozen=True)
class News:
    """What a worker tells of an order, by its place among the orders."""

    order: int
    message: Epochs | Finished


class Workers:
    """Processes with one thread each, all with the same task; started when first needed, none outlives the block.

    Parameters
    ----------
    plugin : whose trainer they run, for messages
    most : how many there are at the most
    logs : folder for what they print
    surroundings : variables of their environment, besides those of this process
    """

    def __init__(self, task: StoredTask, plugin: Plugin, most: int, logs: Path, surroundings: Mapping[str, str]):
        self._task = task
        self._plugin = plugin
        self._most = most
        self._logs = logs
        # a fixed hash seed, so that no set of names is walked in another order when training is gone on with
        self._environment = {**os.environ, **_ONE_THREAD, "PYTHONHASHSEED": "0", **surroundings}
        self._workers: list[_Worker] = []
        self._news: queue.SimpleQueue[tuple[_Worker, bytes | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end(PATIENCE if kind is None else 0.0)

    def carry_out(self, orders: Sequence[Order]) -> Iterator[News]:
        """Yield news of all orders as they come; each is finished in the end.

        Raises
        ------
        AuditError
            A trainer refuses or fails, or a worker dies.
        """
        waiting = list(range(len(orders)))[::-1]
        busy: dict[_Worker, int] = {}
        idle = [worker for worker in self._workers if worker not in busy]
        while waiting or busy:
            while waiting and (idle or len(self._workers) < self._most):
                worker = idle.pop() if idle else self._started()
                busy[worker] = waiting.pop()
                self._give(worker, orders[busy[worker]])
            worker, content = self._news.get()
            if content is None:
                raise worker.death(orders[busy[worker]] if worker in busy else None)
            message = pickle.loads(content)
            if isinstance(message, Failed):
                raise self._failure(message)
            yield News(busy[worker], message)
            if isinstance(message, Finished):
                del busy[worker]
                idle.append(worker)

    def _started(self) -> _Worker:
        worker = _Worker(self._logs / f"worker-{len(self._workers)}.txt", self._environment, self._news)
        self._workers.append(worker)
        worker.send(self._task)
        return worker

    def _give(self, worker: _Worker, order: Order) -> None:
        try:
            pickle.dumps(order.trainer)
        except Exception as error:  # a trainer may be anybody's
            raise PluginError(
                f"{self._plugin.title} cannot be sent to another process: {one_line(str(error))}; tell its authors"
            ) from error
        worker.send(order)

    def _failure(self, failed: Failed) -> Exception:
        if failed.error is not None:
            return failed.error(failed.reason)
        if self._plugin.third_party:
            return PluginError(f"{self._plugin.title} failed: {one_line(failed.reason)}; tell its authors")
        return RuntimeError(f"{self._plugin.title} failed in a worker:\n{failed.traceback}")


class _Worker:
    """One process, at the head of a process group of its own, and a thread that listens to it."""

    def __init__(
        self,
        log: Path,
        environment: Mapping[str, str],
        news: queue.SimpleQueue[tuple[_Worker, bytes | None]],
    ) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                # the Ctrl-C of a terminal is for the main process alone, which then ends the whole group
                process_group=0 if os.name == "posix" else None,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._thread = threading.Thread(target=self._listen, args=(news,), daemon=True)
        self._thread.start()

    def send(self, message: object) -> None:
        """Give the process a message; if it is dead, that is noticed elsewhere."""
        with suppress(BrokenPipeError):
            send(self._to, message)

    def death(self, order: Order | None) -> ModelError:
        """Return why a process ended that was not told to."""
        code = self._process.wait()
        which = "references" if order is None else _title(order)
        said = last_line(self._log)
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            why = "out of memory? try fewer --jobs" if name == "SIGKILL" else f"it said: {said or 'nothing'}"
            return ModelError(f"training {which}: the process was ended by {name} - {why}")
        return ModelError(f"training {which}: the process ended with code {code} - it said: {said or 'nothing'}")

    def end(self, patience: float) -> None:
        """End the process and all that it began."""
        if patience:
            self.send(None)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        self._thread.join()
        with suppress(BrokenPipeError):
            self._to.close()
        self._from.close()

    def _listen(self, news: queue.SimpleQueue[tuple[_Worker, bytes | None]]) -> None:
        while (content := receive(self._from)) is not None:
            news.put((self, content))
        news.put((self, None))


def last_line(log: Path) -> str:
    """Return the last line that is not empty of what a process printed, shortened; "" for none."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = stream.read().decode("utf-8", "replace").split("\n")
    return next((one_line(line) for line in reversed(lines) if line.strip()), "")


def _title(order: Order) -> str:
    first, last = order.jobs[0].index, order.jobs[-1].index
    return f"reference {first}" if first == last else f"references {first} to {last}"

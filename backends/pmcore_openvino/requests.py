"""A bounded queue of asynchronous requests: several pieces of work at once, answers in the order in which it came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from pmcore.interfaces import Array


@dataclass(frozen=True)
class _Flight:
    """A request under way, and the arrays that it reads while it is."""

    request: Any
    feeds: Mapping[int, Array]


class Requests:
    """The requests of one compiled model, shared by all threads that ask it.

    OpenVINO's own AsyncInferQueue is not used: it raises its first error again ever after, and a failing callback ends
    the process. Here a failure surfaces where its answer is waited for, and no callbacks exist.

    Parameters
    ----------
    compiled : the compiled model
    count : how many requests may be under way at once, over all threads
    """

    def __init__(self, compiled: Any, count: int) -> None:
        self.count = count
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(count):
            self._idle.put(compiled.create_infer_request())

    def answer(self, parts: Iterable[Mapping[int, Array]], outputs: Sequence[int]) -> list[list[Array]]:
        """Return for each part its outputs, copied; parts are drawn when a request is free for them.

        Parameters
        ----------
        parts : arrays by the index of the input
        outputs : indices of the outputs
        """
        flying: deque[_Flight] = deque()
        answers: list[list[Array]] = []
        try:
            for feeds in parts:
                request = self._free(flying, answers, outputs)
                try:
                    request.start_async(dict(feeds), share_inputs=True)
                except BaseException:
                    self._idle.put(request)
                    raise
                flying.append(_Flight(request, feeds))
            while flying:
                answers.append(self._land(flying, outputs))
        finally:
            while flying:
                with suppress(Exception):
                    flying[0].request.wait()
                self._idle.put(flying.popleft().request)
        return answers

    def _free(self, flying: deque[_Flight], answers: list[list[Array]], outputs: Sequence[int]) -> Any:
        """Return an idle request; a thread that has some under way lands its oldest rather than wait for another's."""
        while flying:
            try:
                return self._idle.get_nowait()
            except Empty:
                answers.append(self._land(flying, outputs))
        return self._idle.get()

    def _land(self, flying: deque[_Flight], outputs: Sequence[int]) -> list[Array]:
        request = flying[0].request
        request.wait()
        answer = [np.array(request.get_output_tensor(index).data) for index in outputs]
        flying.popleft()
        self._idle.put(request)
        return answer

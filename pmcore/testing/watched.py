"""The program of a process in which a plugin is watched: run by its path, so that it imports nothing but what is asked.

It reads a job, imports the plugin's module, takes the job's steps, and writes after each one line of JSON: what
came of it, and what it did to the process and the world besides.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NETWORK = ("socket.connect", "socket.sendto", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname")
_PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile")
_FILES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")


class Watch:
    """Notes what the running code does to files, the network, other processes and the state of this one."""

    def __init__(self, ignored: str) -> None:
        self._ignored = {ignored, os.devnull}
        self._seen: list[tuple[str, str]] | None = None
        sys.addaudithook(self._hear)

    @contextmanager
    def watching(self, result: dict[str, Any]) -> Iterator[None]:
        """Put into `result` what happens inside the block: effects by kind, and what was printed."""
        before, printed = _state(), _printed()
        seen: list[tuple[str, str]] = []
        self._seen = seen
        try:
            yield
        finally:
            self._seen = None
            after = _state()
            seen += [("state", name) for name in before if before[name] != after[name]]
            result["effects"] = list(dict.fromkeys(seen))
            result["printed"] = _printed() - printed
            result["modules"] = sorted({name.partition(".")[0] for name in sys.modules})

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._seen is None:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & _WRITING) if isinstance(flags, int) else any(c in str(mode) for c in "wax+")
            if writes and not isinstance(path, int) and str(path) not in self._ignored:
                self._seen.append(("files", f"opens {path} for writing"))
        elif event in _NETWORK:
            where = arguments[0] if event.startswith("socket.get") else arguments[1]
            trial = event == "socket.bind" and isinstance(where, tuple) and where[1] == 0  # is there IPv6 at all?
            if not trial:
                self._seen.append(("network", f"{event} {where}"))
        elif event in _PROCESSES:
            self._seen.append(("processes", f"{event} {arguments[0]}"))
        elif event in _FILES and not (event == "os.mkdir" and os.path.exists(arguments[0])):
            self._seen.append(("files", f"{event} {arguments[0]}"))


def _state() -> dict[str, object]:
    """Return the state of the process that everybody shares, by what it is called."""
    numpy = sys.modules.get("numpy")
    root = logging.getLogger()
    return {
        "changes the environment": dict(os.environ),
        "changes the working directory": os.getcwd(),
        "touches the global state of random": random.getstate(),
        "touches the global state of numpy.random": [
            str(part.tolist() if hasattr(part, "tolist") else part) for part in numpy.random.get_state()
        ]
        if numpy
        else None,
        "sets up logging": (root.level, list(root.handlers), logging.root.manager.disable),
        "handles signals": signal.getsignal(signal.SIGINT),
        "leaves threads running": {thread.name for thread in threading.enumerate()},
        # Libraries add filters for warnings of their own, which concern nobody else.
        "changes the filters of warnings": [str(f) for f in warnings.filters if f[2].__module__ == "builtins"],
    }


def _printed() -> int:
    """Return how many bytes stand on both streams, which are files here."""
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(Exception):  # the buffers of C code, where there are any
        ctypes.CDLL(None).fflush(None)
    return os.fstat(1).st_size + os.fstat(2).st_size


def _error(error: BaseException) -> dict[str, Any]:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return {"kinds": kinds, "message": str(error)}


def _main(job: dict[str, Any]) -> None:
    sys.path[:] = job["path"]
    importlib.import_module("pmcore.interfaces")  # what every plugin imports is not its own doing
    watch = Watch(job["out"])
    with open(job["out"], "a", encoding="utf-8") as out:
        found: list[Any] = []

        def load() -> None:
            value: Any = importlib.import_module(job["module"])
            for part in job["name"].split("."):
                value = getattr(value, part)
            found.append(value)

        _take("import", load, watch, out)
        if found:
            for step in job["steps"]:
                name, action = _step(found[0], step)
                _take(name, action, watch, out)


def _take(name: str, action: Callable[[], object], watch: Watch, out: TextIO) -> None:
    """Take one step and write what came of it; what is begun but not ended has ended the process."""
    _write(out, {"begun": name})
    result: dict[str, Any] = {"step": name, "error": None, "value": None}
    try:
        with watch.watching(result):
            result["value"] = action()
    except BaseException as error:  # SystemExit and the panics of extension modules are told, too
        result["error"] = _error(error)
    _write(out, result)


def _write(out: TextIO, line: dict[str, Any]) -> None:
    out.write(json.dumps(line) + "\n")
    out.flush()
    os.fsync(out.fileno())


def _step(cls: Any, step: dict[str, Any]) -> tuple[str, Callable[[], object]]:
    kinds: dict[str, Callable[[], object]] = {
        "recognise": lambda: _recognise(cls, step),
        "wraps": lambda: _wraps(cls),
        "ask": lambda: _ask(cls, step),
        "load": lambda: _load(cls, step),
        "read": lambda: _read(cls, step),
        "render": lambda: _render(cls, step),
        "call": lambda: _call(cls, step),
    }
    return step["step"], kinds[step["kind"]]


def _recognise(cls: Any, step: dict[str, Any]) -> bool:
    path = Path(step["path"])
    head = path.read_bytes()[:4096] if path.is_file() else b""
    return bool(cls.recognises(path, head))


def _wraps(cls: Any) -> list[str]:
    """Return which objects that are no models of any framework are taken for one."""
    strangers: tuple[object, ...] = (None, 1.5, "model", b"model", [], {}, object(), Path("model"), Watch)
    return [repr(stranger) for stranger in strangers if cls.wraps(stranger)]


def _ask(cls: Any, step: dict[str, Any]) -> None:
    import numpy as np

    model = cls.load(Path(step["path"]), cls.options())
    inputs = {name: np.load(path, allow_pickle=False) for name, path in step["inputs"].items()}
    model.prepare(inputs)
    model.predict(inputs)
    model.close()


def _load(cls: Any, step: dict[str, Any]) -> None:
    cls.load(Path(step["path"]), cls.options())


def _read(cls: Any, step: dict[str, Any]) -> dict[str, Any]:
    table = cls().read(Path(step["path"]), (), "y")
    first = next(iter(table.inputs.values()))
    return {"records": first.tolist(), "labels": table.labels.tolist()}


def _render(cls: Any, step: dict[str, Any]) -> dict[str, str]:
    import hashlib

    from pmcore.schema import AuditReport

    report = AuditReport.model_validate_json(Path(step["path"]).read_bytes())
    files = cls(**step["options"]).render(report)
    contents = {name: content if isinstance(content, bytes) else content.encode() for name, content in files.items()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _call(cls: Any, step: dict[str, Any]) -> Any:
    """Hand the class and the step to a function named as module:function."""
    module, _, function = step["function"].partition(":")
    return getattr(importlib.import_module(module), function)(cls, step)


if __name__ == "__main__":
    _main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

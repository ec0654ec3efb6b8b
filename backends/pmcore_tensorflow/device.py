"""Where TensorFlow computes, and how: the device that was asked for or an error; its failures in one line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmcore.errors import AuditError, InputError, ModelError, OutOfMemory
from pmcore.interfaces import LoadOptions, Precision
from pmcore.quoting import printable

LONGEST_MESSAGE = 300
"""Characters of a message of TensorFlow that are shown."""
_DEVICES = "auto, cpu, gpu, gpu:N (cuda and cuda:N mean the same)"
_MEMORY = re.compile(r"out of memory|OOM when allocating|failed to allocate|bad_alloc", re.IGNORECASE)
_NOISE = (
    re.compile(r"\{\{[^}]*\}\}|\{\{node [^}]*\}\}"),
    re.compile(r"\[Op:[^\]]*\]( name: \S*)?"),
    re.compile(r"^(Graph execution error|Exception encountered when calling [^\n]*):?\s*", re.IGNORECASE),
    re.compile(r"\x1b\[[0-9;]*m"),
)


@dataclass(frozen=True)
class Device:
    """A device that is there, and how it computes.

    Parameters
    ----------
    name : as TensorFlow calls it, such as "/CPU:0"
    tf32 : whether a GPU may round the inputs of matrix products to 10 bits
    notes : what a reader of the report must know
    """

    name: str
    tf32: bool = False
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Return the device as reports show it: "CPU" or "GPU:0"."""
        return "CPU" if self.name.startswith("/CPU") else self.name.lstrip("/")

    @contextlib.contextmanager
    def computing(self, tf: Any) -> Iterator[None]:
        """Compute on this device inside the block; the switch for TF32 is global and put back."""
        if self.name.startswith("/CPU"):
            with tf.device(self.name):
                yield
            return
        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(self.tf32)
        try:
            with tf.device(self.name):
                yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)


def choose_device(tf: Any, options: LoadOptions, lives_on: str | None = None) -> Device:
    """Find the device that the options name, and make TensorFlow take memory and threads as it should.

    Parameters
    ----------
    lives_on : the device of the weights of a model that is in memory already, such as "CPU:0"

    Raises
    ------
    InputError
        The device or the number of threads is of no known form.
    ModelError
        The device is not there, or the model in memory lives on another one.
    """
    if options.threads is not None and options.threads < 1:
        raise InputError(f"threads {options.threads} cannot be had; give a number from 1 on, or none")
    asked = options.device.strip().lower()
    found = re.fullmatch(r"(auto|cpu|gpu|cuda)(?::(\d{1,9}))?", asked)
    if found is None or (found[2] and found[1] in ("auto", "cpu")):
        shown = printable(options.device, 60)
        raise InputError(f"device '{shown}' is not known to the tensorflow backend; use one of {_DEVICES}")
    notes = _set_threads(tf, options.threads)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        with contextlib.suppress(RuntimeError, ValueError):  # too late: the process uses it already
            tf.config.experimental.set_memory_growth(gpu, True)
    tf32 = options.precision is Precision.DEPLOYED
    if asked == "auto":
        home = lives_on or ("GPU:0" if gpus else "CPU:0")
        return Device(f"/{home}", tf32, notes)
    wanted = "CPU:0" if asked == "cpu" else f"GPU:{int(found[2] or 0)}"
    if wanted.startswith("GPU") and int(found[2] or 0) >= len(gpus):
        there = f"{len(gpus)} GPU{'s' if len(gpus) != 1 else ''}" if gpus else "no GPU"
        raise ModelError(
            f"device {asked!r} was asked for, but TensorFlow sees {there}; "
            "install tensorflow[and-cuda] and check the driver with nvidia-smi, or use --device cpu"
        )
    if lives_on is not None and lives_on != wanted:
        raise ModelError(
            f"device {asked!r} was asked for, but the model in memory lives on {lives_on}; "
            f"make it under tf.device('/{wanted}'), or leave the device to it"
        )
    return Device(f"/{wanted}", tf32, notes)


@contextlib.contextmanager
def explained(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Turn what TensorFlow or Keras raises inside the block into one line of ours.

    Parameters
    ----------
    what : what was being done, such as "cannot load the model"
    """
    try:
        yield
    except (AuditError, ImportError):
        raise
    except MemoryError:
        raise OutOfMemory(f"{path}: TensorFlow ran out of memory; use a smaller batch") from None
    except Exception as error:  # TensorFlow, Keras and what they call share no base class but this
        if type(error).__name__ == "ResourceExhaustedError" or _MEMORY.search(str(error)):
            raise OutOfMemory(
                f"{path}: TensorFlow ran out of memory ({first_line(error)}); use a smaller batch"
            ) from None
        raise ModelError(f"{path}: {what}: {first_line(error)}; {remedy}") from None


def first_line(error: BaseException) -> str:
    """Return what a message says first, without escape codes and node names, printable."""
    text = str(error)
    for noise in _NOISE:
        text = noise.sub("", text)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "") or type(error).__name__
    return printable(line, LONGEST_MESSAGE).rstrip(".:; ")


def _set_threads(tf: Any, threads: int | None) -> tuple[str, ...]:
    if threads is None or tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return ()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        return (f"TensorFlow was running already: it keeps its threads, {threads} could not be set.",)
    return ()

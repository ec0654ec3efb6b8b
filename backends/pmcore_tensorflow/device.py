"""Where TensorFlow computes, and how: the device that was asked for or an error; its failures in one line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmcore.devices import check_threads, parse_device, tf32_note
from pmcore.errors import AuditError, ModelError
from pmcore.interfaces import LoadOptions, Precision
from pmcore.runtime_failures import failure, first_line
from pmcore_tensorflow.starting import ONE_AT_A_TIME

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
        """Compute on this device inside the block; the switch for TF32 is that of the process, and put back."""
        if self.name.startswith("/CPU"):
            with tf.device(self.name):
                yield
            return
        with ONE_AT_A_TIME:
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
    check_threads(options.threads)
    asked = parse_device(options.device, "tensorflow", ("gpu", "cuda"), ("gpu", "cuda"))
    notes = _set_threads(tf, options.threads)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        with contextlib.suppress(RuntimeError, ValueError):  # too late: the process uses it already
            tf.config.experimental.set_memory_growth(gpu, True)
    tf32 = options.precision is Precision.DEPLOYED
    if asked.kind == "auto":
        home = lives_on or ("GPU:0" if gpus else "CPU:0")
        return _device(home, tf32, notes)
    number = asked.number or 0
    wanted = "CPU:0" if asked.kind == "cpu" else f"GPU:{number}"
    shown = options.device.strip().lower()
    if asked.kind != "cpu" and number >= len(gpus):
        there = f"{len(gpus)} GPU{'s' if len(gpus) != 1 else ''}" if gpus else "no GPU"
        raise ModelError(
            f"device {shown!r} was asked for, but TensorFlow sees {there}; "
            "install tensorflow[and-cuda] and check the driver with nvidia-smi, or use --device cpu"
        )
    if lives_on is not None and lives_on != wanted:
        raise ModelError(
            f"device {shown!r} was asked for, but the model in memory lives on {lives_on}; "
            f"make it under tf.device('/{wanted}'), or leave the device to it"
        )
    return _device(wanted, tf32, notes)


def _device(name: str, tf32: bool, notes: tuple[str, ...]) -> Device:
    return Device(f"/{name}", tf32, (*notes, tf32_note(name)) if tf32 and name.startswith("GPU") else notes)


@contextlib.contextmanager
def explained(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Turn what TensorFlow or Keras raises inside the block into one line of ours.

    Parameters
    ----------
    what : what failed and how, such as "Keras does not take the model"
    """
    try:
        yield
    except (AuditError, ImportError):
        raise
    except Exception as error:  # TensorFlow, Keras and what they call share no base class but this
        runtime, _, did = what.partition(" ")
        raise failure(error, runtime, first_line(error, _NOISE), path, did, remedy) from None


def _set_threads(tf: Any, threads: int | None) -> tuple[str, ...]:
    if threads is None or tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return ()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        return (f"TensorFlow was running already: it keeps its threads, {threads} could not be set.",)
    return ()

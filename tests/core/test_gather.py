"""The batched pass: sizes that grow and shrink without changing a result, and models that misbehave."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import pytest

from pmcore.data import Records, Role
from pmcore.discovery import discover
from pmcore.errors import ModelError, OutOfMemory
from pmcore.feed import Feed
from pmcore.gather import FIRST_BATCH, LARGEST_BATCH, Batching, gather
from pmcore.interfaces import (
    Array,
    Capability,
    Direction,
    Floats,
    Inputs,
    LoadOptions,
    Model,
    ModelDescription,
    Outputs,
    Scale,
    Signal,
    Task,
    TensorSpec,
)
from pmcore.signals import Loss, RescaledLogit


class Identity(Model):
    """A model whose logits are its inputs, and which has room for `room` records at once."""

    def __init__(self, room: int = 10**9, short: bool = False) -> None:
        self.room = room
        self.short = short
        self.batches: list[int] = []

    @classmethod
    def load(cls, source: Path, options: LoadOptions) -> Self:
        return cls()

    def describe(self) -> ModelDescription:
        return ModelDescription(
            inputs=(TensorSpec("x", ("n", 3), "float32"),),
            task=Task.MULTICLASS,
            classes=3,
            output="x",
            scale=Scale.LOGITS,
            device="CPU",
            precision="float32",
            runtime="none",
        )

    def predict(self, inputs: Inputs) -> Array:
        x = inputs["x"]
        if len(x) > self.room:
            raise OutOfMemory(f"no room for {len(x)} records")
        self.batches.append(len(x))
        return x[:-1] if self.short else x


class Broken(Signal):
    """A signal of the wrong shape."""

    direction = Direction.HIGHER

    def compute(self, outputs: Outputs) -> Floats:
        return np.zeros(1)


class Pair(Signal):
    """A signal with two numbers per record."""

    direction = Direction.HIGHER

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.log_scores[:, :2]


def feed(n: int) -> Feed:
    rng = np.random.default_rng(0)
    records = Records(
        role=Role.MEMBERS,
        path="members.npz",
        inputs={"x": rng.normal(size=(n, 3)).astype(np.float32)},
        labels=rng.integers(0, 3, n),
    )
    return Feed(records, discover(Identity().describe(), Path("model"), records.inputs, "members.npz"))


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
def test_a_fixed_batch_size_is_kept(size: int) -> None:
    model = Identity()
    gather(model, feed(100), {}, Batching(size))
    assert set(model.batches[:-1]) <= {size}
    assert sum(model.batches) == 100


def test_signals_do_not_depend_on_the_batch_size() -> None:
    signals: dict[str, Signal] = {"loss": Loss(), "pair": Pair()}
    whole = gather(Identity(), feed(100), signals, Batching(1000))
    for size in (1, 7, 64):
        parts = gather(Identity(), feed(100), signals, Batching(size))
        for name in signals:
            np.testing.assert_array_equal(parts.signals[name], whole.signals[name])
        assert parts.correct == whole.correct
    assert whole.signals["pair"].shape == (100, 2)


def test_the_batch_is_halved_until_it_fits_and_no_record_is_lost() -> None:
    roomy, cramped = Identity(), Identity(room=5)
    batching = Batching("auto")
    expected = gather(roomy, feed(300), {"loss": Loss()}, Batching("auto"))
    found = gather(cramped, feed(300), {"loss": Loss()}, batching)
    np.testing.assert_array_equal(found.signals["loss"], expected.signals["loss"])
    assert max(cramped.batches) <= 5
    assert sum(cramped.batches) == 300
    assert batching.current == 4


def test_a_model_without_room_for_one_record_stops_the_audit() -> None:
    with pytest.raises(OutOfMemory, match="no room for 1"):
        gather(Identity(room=0), feed(10), {}, Batching("auto"))


def test_the_batch_grows_while_that_pays_and_then_stays() -> None:
    batching = Batching("auto")
    record, speeds = 12, {64: 1.0, 128: 2.0, 256: 3.9, 512: 3.8, 1024: 3.8}
    batching.learn(64, 64.0, record)  # the first batch pays for warming up and is not counted
    for _ in range(8):
        batching.learn(batching.current, batching.current / speeds[batching.current], record)
    assert batching.current == 256


def test_the_batch_never_grows_beyond_its_bounds() -> None:
    small, large = Batching("auto"), Batching("auto")
    for step in range(40):
        small.learn(small.current, 1e-9 / (step + 1) ** 9, 12)
        large.learn(large.current, 1e-9 / (step + 1) ** 9, 2**22)
    assert small.current <= LARGEST_BATCH
    assert large.current == FIRST_BATCH


def test_a_model_that_answers_too_few_rows_is_named_an_error() -> None:
    with pytest.raises(ModelError, match="answered 9 rows for 10 records"):
        gather(Identity(short=True), feed(10), {}, Batching(10))


def test_a_signal_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(ModelError, match="signal 'broken'"):
        gather(Identity(), feed(10), {"broken": Broken()}, Batching(10))


def test_progress_is_told_after_each_batch() -> None:
    told: list[tuple[str, int, int]] = []
    gather(Identity(), feed(10), {}, Batching(4), lambda *step: told.append(step))
    assert told == [("members", 4, 10), ("members", 8, 10), ("members", 10, 10)]


def test_correctness_is_counted_beside_the_signals() -> None:
    one = feed(200)
    found = gather(Identity(), one, {"phi": RescaledLogit()}, Batching(64))
    x, y = one.records.inputs["x"], one.records.labels
    assert found.correct == int((x.argmax(axis=1) == y).sum())
    assert found.predicted_counts is not None
    assert found.predicted_counts.tolist() == np.bincount(x.argmax(axis=1), minlength=3).tolist()


def test_a_model_has_the_capabilities_that_its_class_overrides() -> None:
    class Deep(Identity):
        def activations(self, inputs: Inputs, layers: object) -> dict[str, Array]:
            return {}

    assert Identity().capabilities == {Capability.PREDICTIONS}
    assert Deep().capabilities == {Capability.PREDICTIONS, Capability.ACTIVATIONS}

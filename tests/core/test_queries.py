"""Transformed queries: as they are written, what they do, what keeps them from it, and on what they depend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pmcore.errors import InputError
from pmcore.outputs import Array
from pmcore.queries import BitFlip, Flip, Noise, Plain, Query, Shift, facts_of, parse_query

EVERY = ("plain", "flip", "flip:axis=height", "shift:rows=1,columns=-2", "noise:scale=0.3,draw=2", "bitflip:share=0.2")


def digests(count: int, seed: int = 0) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(2**64, size=(count, 2), dtype=np.uint64)


def sent(text: str, array: Array, owners: NDArray[np.uint64] | None = None) -> Array:
    """Return what a query makes of one input."""
    owners = digests(len(array)) if owners is None else owners
    return parse_query(text).apply({"x": array}, owners, facts_of({"x": array}))["x"]


def obstacle(text: str, array: Array) -> str | None:
    return parse_query(text).obstacle(facts_of({"x": array}))


def bits(shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    return (np.random.default_rng(3).random(shape) < 0.4).astype(dtype)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("plain", Plain()),
        ("flip", Flip("width")),
        ("flip:axis=height", Flip("height")),
        ("shift:rows=1,columns=-1", Shift(1, -1)),
        ("shift:columns=2", Shift(0, 2)),
        ("noise:scale=0.1,draw=3", Noise(0.1, 3)),
        ("noise:scale=2", Noise(2.0, 0)),
        ("bitflip:share=0.02,draw=1", BitFlip(0.02, 1)),
    ],
)
def test_a_query_is_read_from_its_text(text: str, query: Query) -> None:
    assert parse_query(text) == query


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nois:scale=1", "there is no such query - did you mean 'noise'? known are plain, flip, shift, noise, bitflip"),
        ("rotate", "known are plain, flip, shift, noise, bitflip"),
        ("noise", "'noise': option scale (float) has no default; give scale=VALUE"),
        ("noise:scal=1", "has no option 'scal'; did you mean 'scale'?"),
        ("noise:scale=much", "option scale='much': expected float"),
        ("noise:scale=0", "noise: scale: 0 - give a number above 0"),
        ("noise:scale=inf", "noise: scale: inf - give a number above 0"),
        ("noise:scale=1,draw=-1", "noise: draw: -1 - give 0 or more"),
        ("bitflip:share=1", "bitflip: share: 1 - give a chance between 0 and 1"),
        ("flip:axis=depth", "expected 'width' | 'height'"),
        ("shift", "shift: moves nothing - give rows or columns, or use plain"),
        ("plain:scale=1", "has no options; leave out scale"),
        ("", "expected NAME or NAME:option=value"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError) as told:
        parse_query(text)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((5, 3, 32, 32), "nchw"),
        ((5, 32, 32, 3), "nhwc"),
        ((5, 1, 28, 20), "nchw"),
        ((5, 28, 20, 4), "nhwc"),
        ((5, 28, 28), "nhw"),
        ((5, 3, 4, 4), "nchw"),
        ((5, 4, 4, 3), "nhwc"),
        ((5, 3, 3, 3), None),
        ((5, 16, 28, 28), None),
        ((5, 10), None),
        ((5,), None),
        ((5, 3, 8, 8, 8), None),
    ],
)
def test_the_layout_of_images_is_told_by_their_channels(shape: tuple[int, ...], layout: str | None) -> None:
    assert facts_of({"x": np.zeros(shape, dtype=np.float32)})["x"].layout == layout


def test_facts_are_those_of_the_sample() -> None:
    array = np.random.default_rng(0).normal(1e6, 2.0, size=(200, 7)).astype(np.float32)
    facts = facts_of({"x": array, "bits": bits((50, 3), np.bool_), "same": np.full((4, 2), 0.1, dtype=np.float32)})
    assert facts["x"].deviation == pytest.approx(array.astype(np.float64).std(), rel=1e-9)
    assert (facts["x"].low, facts["x"].high) == (array.min(), array.max())
    assert (facts["x"].values, facts["x"].shape, facts["x"].dtype) == (None, (7,), np.dtype(np.float32))
    assert facts["bits"].values == (0.0, 1.0)
    assert facts["same"].deviation == 0.0
    assert facts["same"].values is None


@pytest.mark.parametrize(
    ("text", "array", "words"),
    [
        ("flip", np.zeros((4, 9)), "input 'x' has shape (9,), and is no image"),
        ("shift:rows=1", np.zeros((4, 9)), "and is no image"),
        ("flip", np.zeros((4, 3, 3, 3)), "has shape (3, 3, 3), in which the axis of the channels cannot be told"),
        ("shift:rows=-8", np.zeros((4, 8, 8)), "has 8 rows and 8 columns, and would be shifted out of sight"),
        ("bitflip:share=0.1", np.arange(8.0).reshape(2, 4), "has not two values"),
        ("noise:scale=1", np.arange(8).reshape(2, 4), "takes whole numbers, which carry no noise"),
        ("noise:scale=1", bits((3, 4, 4), np.bool_), "takes whole numbers, which carry no noise"),
        ("noise:scale=1", np.ones((2, 4)), "is the same number everywhere"),
    ],
)
def test_what_an_input_cannot_carry_is_told_beforehand(text: str, array: Array, words: str) -> None:
    found = obstacle(text, array)
    assert found is not None
    assert words in found
    np.testing.assert_array_equal(sent(text, array), array)


@pytest.mark.parametrize("text", EVERY)
def test_two_valued_images_of_floats_carry_every_query(text: str) -> None:
    assert obstacle(text, bits((4, 1, 8, 8))) is None


def test_one_input_that_can_carry_the_change_suffices_and_the_others_stay() -> None:
    inputs = {"tokens": np.arange(12).reshape(3, 4), "x": np.random.default_rng(0).normal(size=(3, 5))}
    facts = facts_of(inputs)
    query = Noise(0.5)
    assert query.obstacle(facts) is None
    found = query.apply(inputs, digests(3), facts)
    assert found["tokens"] is inputs["tokens"]
    assert (found["x"] != inputs["x"]).all()


def test_images_are_mirrored_along_the_axis_that_is_named() -> None:
    rows = np.arange(6.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(sent("flip", rows), [[[2, 1, 0], [5, 4, 3]]])
    np.testing.assert_array_equal(sent("flip:axis=height", rows), [[[3, 4, 5], [0, 1, 2]]])


def test_shifts_repeat_the_edge() -> None:
    rows = np.arange(9.0).reshape(1, 3, 3)
    np.testing.assert_array_equal(sent("shift:rows=1", rows), [[[0, 1, 2], [0, 1, 2], [3, 4, 5]]])
    np.testing.assert_array_equal(sent("shift:rows=-1,columns=2", rows), [[[3, 3, 3], [6, 6, 6], [6, 6, 6]]])


@pytest.mark.parametrize("text", ["flip", "flip:axis=height", "shift:rows=2,columns=-1"])
def test_channels_first_and_last_are_changed_alike(text: str) -> None:
    first = np.random.default_rng(0).normal(size=(4, 3, 8, 9)).astype(np.float32)
    last = np.ascontiguousarray(first.transpose(0, 2, 3, 1))
    found = sent(text, first)
    np.testing.assert_array_equal(sent(text, last), found.transpose(0, 2, 3, 1))
    assert found.flags.c_contiguous


def test_noise_is_measured_in_standard_deviations_of_the_input() -> None:
    array = np.random.default_rng(0).normal(5.0, 7.0, size=(500, 40)).astype(np.float32)
    noise = sent("noise:scale=0.25", array) - array
    assert noise.mean() == pytest.approx(0.0, abs=0.05)
    assert noise.std() == pytest.approx(0.25 * array.std(), rel=0.02)


def test_draws_and_inputs_have_noise_of_their_own() -> None:
    inputs = {name: np.random.default_rng(0).normal(size=(100, 50)) for name in ("a", "b")}
    facts = facts_of(inputs)
    found = [Noise(1.0, draw).apply(inputs, digests(100), facts) for draw in (0, 1)]
    noises = [(each[name] - inputs[name]).ravel() for each in found for name in ("a", "b")]
    assert np.abs(np.corrcoef(noises) - np.eye(4)).max() < 0.06


def test_noisy_pixels_stay_whole_and_within_their_range() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(20, 8, 8, 3), dtype=np.uint8)
    found = sent("noise:scale=0.5", pixels)
    assert found.dtype == np.uint8
    far = found.astype(int) - pixels
    assert np.abs(far).max() < 5 * 0.5 * pixels.std()  # nothing wrapped around
    assert far.std() > 0.2 * pixels.std()


@pytest.mark.parametrize(("low", "high", "dtype"), [(0, 1, np.uint8), (-1, 1, np.float32), (0, 1, np.bool_)])
def test_bits_are_flipped_with_the_chance_that_is_named(low: int, high: int, dtype: Any) -> None:
    array = np.where(bits((400, 100)) > 0, high, low).astype(dtype)
    found = sent("bitflip:share=0.03", array)
    assert found.dtype == dtype
    assert set(np.unique(found).tolist()) == {low, high}
    assert (found != array).mean() == pytest.approx(0.03, abs=5 * np.sqrt(0.03 / array.size))


def test_a_value_that_the_sample_lacked_is_not_flipped() -> None:
    facts = facts_of({"x": bits((30, 10))})
    later = np.full((30, 10), 0.5, dtype=np.float32)
    np.testing.assert_array_equal(BitFlip(0.9).apply({"x": later}, digests(30), facts)["x"], later)


@pytest.mark.parametrize("text", EVERY)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_types_and_shapes_stay_and_nothing_is_written_to(text: str, dtype: Any) -> None:
    array = bits((6, 8, 8, 1), dtype)
    array.flags.writeable = False
    found = sent(text, array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), text=st.sampled_from(EVERY), cut=st.integers(1, 19))
def test_a_record_is_changed_alike_in_any_company(seed: int, text: str, cut: int) -> None:
    array, owners = bits((20, 1, 5, 6)), digests(20, seed)
    facts, query = facts_of({"x": array}), parse_query(text)
    whole = query.apply({"x": array}, owners, facts)["x"]
    order = np.random.default_rng(seed).permutation(20)[:cut]
    part = query.apply({"x": array[order]}, owners[order], facts)["x"]
    np.testing.assert_array_equal(part, whole[order])

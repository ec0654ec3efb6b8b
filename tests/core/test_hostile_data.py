"""Data, audit files and settings made to harm: one line each, soon, without a warning and without much memory."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmcore import memory
from pmcore.discovery import discover
from pmcore.errors import AuditError, InputError
from pmcore.interfaces import LoadOptions, ModelDescription, Scale, Table, Task, TensorSpec
from pmcore.options import build, parse_spec
from pmcore.outputs import Array
from pmcore.preprocessing import Preprocessing, PreprocessingSettings
from pmcore.readers import CsvReader, NpyReader, NpzReader
from pmcore.settings import read_settings

SOON = 10.0
"""Seconds that no refusal may take."""
LITTLE = 2**25
"""Bytes that no refusal may need."""
PLACES = {"model": "m.onnx", "members": "a.npz", "non_members": "b.npz"}
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _soon_and_silent() -> Iterator[None]:
    began = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert time.monotonic() - began < SOON


def one_line(caught: pytest.ExceptionInfo[AuditError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 1000
    return text


def npy(shape: str, descr: str = "'<f4'", content: bytes = b"", version: int = 1) -> bytes:
    """Return an .npy file whose head says what is given."""
    head = f"{{'descr':{descr},'fortran_order':False,'shape':{shape},}}".encode()
    head += b" " * (-(11 + len(head)) % 64) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(head))
    return b"\x93NUMPY" + bytes([version, 0]) + length + head + content


def saved(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def archive(path: Path, how: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", how) as stream:
        for name, content in members.items():
            stream.writestr(f"{name}.npy", content)
    return path


# Arrays


HEADS = {
    "fewer than no records": (npy("(-10,64)"), "which none can have"),
    "fewer than nothing, twice": (npy("(-10,-64)", content=bytes(2560)), "which none can have"),
    "no records of 2**70 values": (npy("(0,1180591620717411303424)"), "which none can have"),
    "a size of thousands of digits": (npy(f"(0x{'f' * 5000},)"), "which none can have"),
    "a truth as size": (npy("(True,64)", content=bytes(256)), "which none can have"),
    "eighty axes": (npy(f"({'1,' * 80})", content=bytes(4)), "80 axes, at most 32"),
    "sizes whose product passes 2**63": (npy("(10,0,4611686018427387904,4)"), "larger than any memory"),
    "a size whose bytes pass 2**63": (npy("(4611686018427387904,)"), "larger than any memory"),
    "text of no characters": (npy("(100000000000,)", "'<U0'"), "values without bytes"),
    "nothing of no bytes": (npy("(100000000000,)", "'|V0'"), "values without bytes"),
    "a size inside of the type": (npy("(10,)", "('<f4',(64,))", bytes(2560)), "named fields"),
    "a type with a hole": (npy("(1,)", "{'names':['a'],'formats':['<f4'],'offsets':[0],'itemsize':2147483647}"), ""),
    "an escape that Python warns of": (npy("(1,)", r"'\d'"), "not a whole .npy array"),
    "a head of an old Python": (npy("(10L,-1L)"), "which none can have"),
    "a head of four gigabytes": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(20_000), "not a whole .npy array"),
    "a version of the future": (b"\x93NUMPY\x09\x00aaaa", "version 9.0"),
}


@pytest.mark.parametrize(("head", "says"), HEADS.values(), ids=list(HEADS))
def test_a_head_that_no_array_has_is_refused_in_npy_and_npz(tmp_path: Path, head: bytes, says: str) -> None:
    labels = saved(np.arange(10) % 3)
    (tmp_path / "x.npy").write_bytes(head)
    (tmp_path / "y.npy").write_bytes(labels)
    with pytest.raises(InputError, match=r"x\.npy: ") as caught:
        NpyReader().read(tmp_path, (), "y")
    assert says in one_line(caught)
    with pytest.raises(InputError, match=r"a\.npz: x: ") as caught:
        NpzReader().read(archive(tmp_path / "a.npz", x=head, y=labels), (), "y")
    assert says in one_line(caught)


def test_a_head_of_gigabytes_is_not_inflated(tmp_path: Path) -> None:
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**26) + bytes(2**26)
    path = archive(tmp_path / "a.npz", x=head, y=saved(np.arange(10)))
    assert "not a whole .npy array" in refused_in_little_memory(path)


def test_arrays_that_do_not_belong_together_are_not_inflated(tmp_path: Path) -> None:
    x = npy("(1048576,64)", "'|u1'", bytes(2**26))
    path = archive(tmp_path / "a.npz", x=x, y=saved(np.arange(10)))
    assert "x has 1048576 records, y has 10 - one label per record" in refused_in_little_memory(path)


def test_arrays_larger_than_the_memory_that_is_free_are_not_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 200000 kB\nMemAvailable:    60000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    path = archive(tmp_path / "a.npz", x=npy("(8,8388608)", "'|u1'", bytes(2**26)), y=saved(np.arange(8)))
    assert "its arrays take 0.1 GB, 0.1 GB of memory are free - store .npy" in refused_in_little_memory(path)


def refused_in_little_memory(path: Path) -> str:
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            NpzReader().read(path, (), "y")
        assert tracemalloc.get_traced_memory()[1] < LITTLE
    finally:
        tracemalloc.stop()
    return one_line(caught)


def test_what_numpy_cannot_allocate_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise MemoryError

    path = archive(tmp_path / "a.npz", x=saved(np.zeros((4, 2))), y=saved(np.arange(4)))
    monkeypatch.setattr(np, "empty", none_left)
    with pytest.raises(InputError, match="does not fit into memory - store") as caught:
        NpzReader().read(path, (), "y")
    one_line(caught)


def test_free_memory_is_not_known_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "GROUP_LIMIT", tmp_path / "limit")
    assert memory.available_memory() is None
    (tmp_path / "limit").write_text("max\n")
    assert memory.available_memory() is None
    (tmp_path / "limit").write_text("4096\n")
    assert memory.available_memory() == 4096


@pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_that_numpy_does_not_write_is_refused(tmp_path: Path, how: int) -> None:
    path = archive(tmp_path / "a.npz", how, x=saved(np.zeros((4, 2))), y=saved(np.arange(4)))
    with pytest.raises(InputError, match=r"a\.npz: x: compressed as numpy does not - ") as caught:
        NpzReader().read(path, (), "y")
    one_line(caught)


@pytest.mark.parametrize("x", [np.arange(12.0).reshape(4, 3).T.copy().T, np.arange(12, dtype=">i2").reshape(4, 3)])
def test_arrays_of_either_order_are_read_as_numpy_reads_them(tmp_path: Path, x: Array) -> None:
    y = np.array(["a", "b", "a", "b"])
    table: Table = NpzReader().read(archive(tmp_path / "a.npz", x=saved(x), y=saved(y)), (), "y")
    np.testing.assert_array_equal(table.inputs["x"], x)
    np.testing.assert_array_equal(table.labels, y)
    assert table.inputs["x"].dtype == x.dtype
    assert table.inputs["x"].flags.f_contiguous == x.flags.f_contiguous


# Tables


def test_a_csv_of_fifty_thousand_columns_does_not_take_long(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(50_000)]
    (tmp_path / "a.csv").write_text(f"{','.join(names)},y\n" + f"{'1,' * 50_000}0\n" * 2)
    assert CsvReader().read(tmp_path / "a.csv", (), "y").inputs["x"].shape == (2, 50_000)
    (tmp_path / "b.csv").write_text(f"{','.join(names)},c7,y\n")
    with pytest.raises(InputError, match="column 'c7' occurs twice"):
        CsvReader().read(tmp_path / "b.csv", (), "y")


@pytest.mark.parametrize("lines", [0, 3, 50_000])
def test_a_byte_that_is_no_text_is_told_with_its_line_and_its_place_in_the_file(tmp_path: Path, lines: int) -> None:
    before = b"a,y\n" + b"1,0\n" * lines + b"2,"
    (tmp_path / "a.csv").write_bytes(before + "é\n".encode("latin1"))
    with pytest.raises(InputError) as caught:
        CsvReader().read(tmp_path / "a.csv", (), "y")
    assert f"a.csv: line {lines + 2}: byte {len(before)} of the file is not UTF-8" in one_line(caught)


# YAML


def bomb() -> str:
    """Return a list of ten lines that stands for 9**10 values."""
    rows = [f"&a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    return f"[{', '.join(['&a0 [x,x,x,x,x,x,x,x,x]', *rows])}]"


YAMLS = {
    "a bomb of aliases": (f"seed: {bomb()}", "line 1: aliases are not allowed - write the value out"),
    "a bomb as model": (f"model: {bomb()}", "aliases are not allowed"),
    "a bomb as keys of the data": (f"x_keys: {bomb()}", "aliases are not allowed"),
    "a bomb as attacks": (f"\nattacks: {bomb()}", "line 2: aliases are not allowed"),
    "a bomb as option": (f"attacks:\n  - population: {{signal: {bomb()}}}", "line 2: aliases are not allowed"),
    "a bomb of preprocessing": (f"preprocessing: {{mean: {bomb()}}}", "aliases are not allowed"),
    "a merged bomb": ("a: &a {b: 1}\nc: {<<: *a}", "line 2: aliases are not allowed"),
    "a list in itself": ("attacks: [{population: {signal: &a [*a]}}]", "aliases are not allowed"),
    "a mapping in itself": ("preprocessing: &a {scale: *a}", "aliases are not allowed"),
    "open brackets": ("[" * 20_000, "line 1: more than 32 lists or mappings within each other - mend"),
    "brackets": (f"seed: {'[' * 20_000}{']' * 20_000}", "more than 32 lists"),
    "a date that does not exist": ("a: 2020-13-45", "line 1: '2020-13-45' is no timestamp - mend it"),
    "an integer of 9000 digits": (f"seed: {'9' * 9000}", "a number of 9000 characters - write it with at most 100"),
    "a hexadecimal bomb": (f"seed: 0x{'f' * 9000}", "a number of 9002 characters"),
    "a sexagesimal bomb": (f"seed: 1{':59' * 30_000}.5", "a number of 90003 characters"),
    "an empty number": ("seed: !!int ''", "'' is no int"),
    "a word as number": ("seed: !!int a", "'a' is no int"),
    "a word as float": ("seed: !!float ''", "'' is no float"),
    "a word as truth": ("force: !!bool a", "'a' is no bool"),
    "a word as date": ("seed: !!timestamp a", "'a' is no timestamp"),
    "a key that is given twice": ("seed: 1\nforce: true\nseed: 2", "line 3: the key 'seed' is given twice"),
    "an inner key that is given twice": ("preprocessing:\n  mean: 1\n  'mean': 2", "line 3: the key 'mean' is given"),
    "code": ("seed: !!python/object/apply:os.getpid []", "line 1: could not determine a constructor"),
    "two documents": ("seed: 1\n---\nseed: 2", "line 2: but found another document"),
    "a character that does not print": ("seed: 1\nout: a\0b", "line 2: special characters are not allowed"),
    "a list as key": ("? [a, b]\n: 1", "line 1: found unhashable key"),
    "a megabyte": (f"out: {'a' * 2**20}", "more than 128 kB - an audit file holds settings"),
}


@pytest.mark.parametrize(("text", "says"), YAMLS.values(), ids=list(YAMLS))
def test_a_hostile_audit_file_is_refused_where_it_is_given_and_where_it_is_found(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "audit.yaml").write_text(text)
    with pytest.raises(InputError, match=r"audit\.yaml: ") as caught:
        read_settings(PLACES, tmp_path / "audit.yaml")
    assert says in one_line(caught)
    with pytest.raises(InputError, match=r"audit\.yaml: ") as caught:
        found(tmp_path)
    assert says in one_line(caught)


def test_keys_that_only_look_alike_are_not_twice(tmp_path: Path) -> None:
    (tmp_path / "audit.yaml").write_text("a: 1\nA: 2\n1: 3\n'1': 4\nb: {a: 1}\n")
    found(tmp_path)


VALUES = {
    "a path with NUL": ({"out": "a\0b"}, r"out: 'a\x00b' - give a path without a NUL character"),
    "a model with NUL": ({"model": "\0"}, r"model: '\x00' - give a path without a NUL character"),
    "members with NUL": ({"members": "a\0.npz"}, "members: "),
    "a surrogate": ({"out": "\ud800"}, r"out: '\ud800' - "),
    "a long text": ({"seed": "x" * 10**6}, "seed: 'xxx"),
    "a long list": ({"seed": ["x" * 1000] * 10_000}, "seed: ['xxx"),
    "a long attack": ({"attacks": {"population": ["x"] * 10_000}}, "attacks: population: ['x', 'x'"),
    "an endless batch": ({"batch_size": "9" * 5000}, "batch_size: 999"),
    "an endless seed": ({"seed": -(10**5000)}, "seed: a number of thousands of digits - give 0 or more"),
    "an endless seed in text": ({"seed": "9" * 5000}, "seed: '999"),
    "an endless scale": ({"preprocessing": {"scale": 10**400}}, "preprocessing.scale: "),
}


@pytest.mark.parametrize(("given", "says"), VALUES.values(), ids=list(VALUES))
def test_a_hostile_setting_is_one_short_line(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_settings({**PLACES, **given})
    assert says in one_line(caught)


def test_a_path_with_nul_to_the_audit_file_is_one_line() -> None:
    with pytest.raises(InputError, match="NUL character") as caught:
        read_settings(PLACES, Path("a\0.yaml"))
    one_line(caught)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="reads /dev/zero")
def test_an_audit_file_that_never_ends_is_one_line() -> None:
    with pytest.raises(InputError, match="more than 128 kB") as caught:
        read_settings(PLACES, Path("/dev/zero"))
    one_line(caught)


@pytest.mark.parametrize("value", [bomb(), "[" * 5000 + "]" * 5000, f"[{'9' * 9000}]", "[2020-13-45]", "{a: 1, a: 2}"])
def test_a_hostile_option_is_one_short_line(value: str) -> None:
    assert parse_spec(f"onnx:threads={value}").options == {"threads": value}
    with pytest.raises(InputError) as caught:
        build(LoadOptions, {"threads": value}, "backend 'onnx'")
    assert one_line(caught).startswith("backend 'onnx': option threads='")
    with pytest.raises(InputError) as caught:
        parse_spec(f"onnx:{value}")
    one_line(caught)


# Preprocessing


STEPS = {
    "a scale whose inverse is infinite": ({"scale": 1e-320}, "scale: 1e-320 - too close to 0 to divide by"),
    "a scale as text": ({"scale": "1/1e320"}, "scale: 0.0 - give numbers other than 0"),
    "a scale that is small in float32": ({"scale": -1e-40}, "scale: -1e-40 - too close to 0"),
    "a scale that is large": ({"scale": 1e300}, "scale: 1e+300 - too large for 32-bit numbers"),
    "a deviation whose inverse is infinite": ({"std": [1, 1e-320, 1]}, "std: (1.0, 1e-320, 1.0) - too close to 0"),
    "a deviation that is large": ({"std": 1e39}, "std: (1e+39,) - too large"),
    "a mean that is large": ({"mean": -1e39}, "mean: (-1e+39,) - too large"),
    "a scale of four hundred digits": ({"scale": 10**400}, "scale: "),
    "a mean of four hundred digits": ({"mean": [10**400]}, "mean."),
    "no deviation": ({"std": [0.0] * 10_000}, "std: (0.0, 0.0"),
    "a long number": ({"scale": "x" * 10_000}, "scale: 'xxx"),
    "a long key": ({"x" * 10_000: 1}, "unknown key 'xxx"),
    "a type with a size": ({"dtype": "(2,)f4"}, "dtype: '(2,)f4' - give a number type"),
    "a type that is no Python": ({"dtype": "(,)f4"}, "dtype: '(,)f4' - give a number type"),
    "a type with an endless size": ({"dtype": f"f{'9' * 5000}"}, "dtype: 'f999"),
    "a type in itself": ({"dtype": "f4," * 5000}, "dtype: 'f4,f4,"),
}


@pytest.mark.parametrize(("given", "says"), STEPS.values(), ids=list(STEPS))
def test_hostile_preprocessing_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=r"^place: ") as caught:
        PreprocessingSettings.parse(given, "place")
    assert says in one_line(caught)


@pytest.mark.parametrize("number", ["1e-320", "1e300", f"1{'0' * 400}", "1e400", "NaN", "[1]", '"1/0"'])
def test_a_hostile_number_is_refused_in_metadata_and_beside_the_model(tmp_path: Path, number: str) -> None:
    with pytest.raises(InputError, match=r"metadata pmcore\.preprocessing: ") as caught:
        found(tmp_path, **{"pmcore.preprocessing": f'{{"scale": {number}}}'})
    one_line(caught)
    text = f'{{"image_processor_type": "A", "rescale_factor": {number}}}'
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(InputError, match=r"preprocessor_config\.json: ") as caught:
        found(tmp_path)
    one_line(caught)


@pytest.mark.parametrize(
    "steps",
    [
        Preprocessing(scale=2.0**121),
        Preprocessing(std=(2.0**-125,), mean=(0.5,)),
        Preprocessing(scale=2.0**100, std=(2.0**-100,)),
        Preprocessing(mean=(2.0**126,), std=(2.0**-3,)),
    ],
)
def test_values_that_leave_their_type_on_the_way_are_refused(steps: Preprocessing) -> None:
    with pytest.raises(InputError, match="a value is too large - leave out scale, mean and std, or") as caught:
        steps.apply(PIXELS)
    one_line(caught)


@pytest.mark.parametrize("scale", [2.0**-126, 2.0**-32, 2.0**100])
def test_unusual_scales_within_float32_are_applied(scale: float) -> None:
    settings = PreprocessingSettings.parse({"scale": scale, "std": [1 / scale] if scale < 1 else 1.0}, "place")
    steps = Preprocessing(scale=settings.scale)
    assert steps.steps()
    np.testing.assert_allclose(steps.apply(PIXELS), PIXELS * np.float64(scale), rtol=1e-6)


def test_records_that_are_not_finite_pass_without_a_warning() -> None:
    x = np.array([[np.inf, -np.inf, np.nan, 1]], dtype=np.float32)
    np.testing.assert_array_equal(
        Preprocessing(scale=2.0, mean=(1.0,), std=(0.5,)).apply(x), [[np.inf, -np.inf, np.nan, 2]]
    )


def found(folder: Path, **properties: str) -> None:
    """Look for the preprocessing of a model of images in a folder."""
    inputs = (TensorSpec("pixels", ("n", 8, 8, 3), "float32"),)
    description = ModelDescription(
        inputs, Task.MULTICLASS, 10, "logits", Scale.LOGITS, "CPU", "float32", "test", properties=properties
    )
    discover(description, folder / "model.onnx", {"x": PIXELS}, "members.npz")

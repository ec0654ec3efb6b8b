"""Every data format: what is read, and the one line that each bad file gets."""

from __future__ import annotations

import io
import pickle
import re
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pmcore.data import Role, read_records, reader_for
from pmcore.errors import InputError
from pmcore.interfaces import Reader, Table
from pmcore.readers import CsvReader, NpyReader, NpzReader, ParquetReader

READERS: dict[str, Reader] = {
    "npz": NpzReader(),
    "npy": NpyReader(),
    "csv": CsvReader(),
    "parquet": ParquetReader(),
}
X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 2, 1])


def read(path: Path, x_keys: Sequence[str] = (), y_key: str = "y") -> Table:
    return reader_for(str(path), READERS).read(path, tuple(x_keys), y_key)


def complaint(path: Path, x_keys: Sequence[str] = (), y_key: str = "y") -> str:
    with pytest.raises(InputError) as caught:
        read(path, x_keys, y_key)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path.parent))
    return text


def npz(path: Path, **arrays: object) -> Path:
    np.savez(path, allow_pickle=True, **arrays)  # type: ignore[arg-type]
    return path


def test_npz_gives_x_and_y_whatever_else_is_in_it(tmp_path: Path) -> None:
    table = read(npz(tmp_path / "a.npz", x=X, y=Y, note=np.array(3)))
    assert list(table.inputs) == ["x"]
    np.testing.assert_array_equal(table.inputs["x"], X)
    np.testing.assert_array_equal(table.labels, Y)


def test_npz_without_x_gives_all_arrays_but_the_label_as_named_inputs(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", left=X, right=X + 1, label=Y)
    assert set(read(path, y_key="label").inputs) == {"left", "right"}
    assert list(read(path, ["right"], "label").inputs) == ["right"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_folder_and_pair_are_mapped_and_equal(tmp_path: Path, order: str) -> None:
    np.save(tmp_path / "x.npy", np.asarray(X, order="F" if order == "F" else "C"))
    np.save(tmp_path / "y.npy", Y)
    pair = Path(f"{tmp_path}/x.npy,{tmp_path}/y.npy")
    for table in (read(tmp_path), read(pair)):
        np.testing.assert_array_equal(table.inputs["x"], X)
        np.testing.assert_array_equal(table.labels, Y)
        assert not table.inputs["x"].flags.owndata
        assert not table.inputs["x"].flags.writeable
        assert table.files == (tmp_path / "x.npy", tmp_path / "y.npy")


def test_a_folder_whose_name_has_a_comma_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "x.npy,y.npy"
    folder.mkdir()
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    assert len(read(folder).labels) == 4


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_takes_delimiters_bom_and_crlf(tmp_path: Path, delimiter: str) -> None:
    text = "\r\n".join(["a,y,b", "1,0,2.5", "3,1,4", ""]).replace(",", delimiter)
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    table = read(tmp_path / "a.csv")
    np.testing.assert_array_equal(table.inputs["x"], [[1, 2.5], [3, 4]])
    assert table.labels.dtype == np.int64


def test_csv_keeps_whole_numbers_whole_and_picks_named_columns_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,c,kind\n1,2,3.5,0\n4,5,6,1\n")
    table = read(tmp_path / "a.csv", ["b", "a"], "kind")
    assert table.inputs["x"].dtype == np.int64
    np.testing.assert_array_equal(table.inputs["x"], [[2, 1], [5, 4]])
    assert read(tmp_path / "a.csv", ["c"], "kind").inputs["x"].dtype == np.float64


@settings(max_examples=25, deadline=None)
@given(
    x=arrays(np.float64, (5, 3), elements=st.floats(allow_nan=False, allow_infinity=False)),
    y=arrays(np.int64, 5, elements=st.integers(0, 9)),
)
def test_csv_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, x: object, y: object) -> None:
    assert isinstance(x, np.ndarray)
    assert isinstance(y, np.ndarray)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    rows = [",".join([*(repr(float(v)) for v in row), str(label)]) for row, label in zip(x, y, strict=True)]
    path.write_text("\n".join(["a,b,c,y", *rows]))
    table = read(path)
    np.testing.assert_array_equal(table.inputs["x"], x)
    np.testing.assert_array_equal(table.labels, y)


def test_csv_of_a_hundred_thousand_rows_does_not_take_long(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((20_000, 50)).round(6)
    np.savetxt(
        tmp_path / "a.csv",
        x,
        delimiter=",",
        fmt="%.6f",
        header=",".join([*(f"f{i}" for i in range(49)), "y"]),
        comments="",
    )
    began = time.perf_counter()
    assert read(tmp_path / "a.csv").inputs["x"].shape == (20_000, 49)
    assert time.perf_counter() - began < 2


def test_parquet_stacks_columns_and_takes_lists_as_inputs(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1, 2], "b": [0.5, 1.5], "y": [0, 1]}), tmp_path / "a.parquet")
    np.testing.assert_array_equal(read(tmp_path / "a.parquet").inputs["x"], [[1, 0.5], [2, 1.5]])
    nested = pa.table({"x": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], "id": [8, 9], "y": [0, 1]})
    pq.write_table(nested, tmp_path / "b.parquet")
    np.testing.assert_array_equal(read(tmp_path / "b.parquet").inputs["x"], np.arange(1, 9).reshape(2, 2, 2))
    pq.write_table(pa.table({"x": [[1, 2], [3]], "y": [0, 1]}), tmp_path / "c.parquet")
    assert "x[1] has 1 values, x[0] has 2" in complaint(tmp_path / "c.parquet")
    pq.write_table(pa.table({"a": [1, None], "y": [0, 1]}), tmp_path / "d.parquet")
    assert "a[1] is empty" in complaint(tmp_path / "d.parquet")
    pq.write_table(pa.table({"a": ["u", "v"], "y": [0, 1]}), tmp_path / "e.parquet")
    complaint(tmp_path / "e.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "f.parquet").write_bytes(whole[: len(whole) // 2])
    assert "damaged" in complaint(tmp_path / "f.parquet")


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (pickle.dumps({"x": [1]}), "pickle"),
    ],
)
def test_what_is_no_data_is_told_in_one_line(tmp_path: Path, suffix: str, content: bytes | None, says: str) -> None:
    path = tmp_path / f"members{suffix}"
    if content is not None:
        path.write_bytes(content)
    assert says in complaint(path)


def test_a_missing_file_names_its_likely_neighbour(tmp_path: Path) -> None:
    npz(tmp_path / "members.npz", x=X, y=Y)
    assert "did you mean" in complaint(tmp_path / "member.npz")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"x": X, "labels": Y}, "no array 'y' - it has x, labels; did you mean 'labels'?"),
        ({"x": np.array([1, "a", None], dtype=object), "y": Y[:3]}, "x: an array of Python objects"),
        ({"x": X, "y": np.array([{}] * 4, dtype=object)}, "y: an array of Python objects"),
        ({"x": X, "y": Y[:3]}, "x has 4 records, y has 3"),
        ({"x": X[:0], "y": Y[:0]}, "holds no records"),
        ({"x": np.array(1.0), "y": Y}, "x is a single value"),
        ({"x": np.array(["a"] * 4), "y": Y}, "x holds text"),
        ({"x": np.zeros(4, dtype="c8"), "y": Y}, "x holds complex numbers"),
        ({"x": np.zeros(4, dtype=[("a", "f4")]), "y": Y}, "named fields"),
        ({"y": Y}, "no array 'x'"),
    ],
)
def test_a_bad_npz_is_told_in_one_line(tmp_path: Path, content: dict[str, object], says: str) -> None:
    assert says in complaint(npz(tmp_path / "members.npz", **content))


def test_a_misspelt_key_is_met_with_the_likely_one(tmp_path: Path) -> None:
    path = npz(tmp_path / "members.npz", pixels=X, y=Y)
    assert "did you mean 'pixels'?" in complaint(path, ["pixel"])


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_or_scratched_npz_is_damaged(tmp_path: Path, part: float) -> None:
    whole = npz(tmp_path / "a.npz", x=X.repeat(100, axis=0), y=Y.repeat(100)).read_bytes()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole[: int(len(whole) * part)])
    assert "damaged or cut short" in complaint(cut)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_no_scratch_in_an_npz_ends_in_anything_but_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=X, y=Y)
    scratched = bytearray(buffer.getvalue())
    scratched[place % len(scratched)] = value
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    path.write_bytes(scratched)
    with suppress(InputError):
        read(path)


def test_other_archives_and_renamed_arrays_are_recognised(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    assert "a single .npy array" in complaint(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("data.pkl", b"")
    assert "without arrays" in complaint(tmp_path / "z.npz")
    (tmp_path / "t.npz").write_text("hello")
    assert "not an .npz archive" in complaint(tmp_path / "t.npz")


def test_a_bad_npy_is_told_in_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", Y)
    np.save(tmp_path / "x.npy", np.array([None] * 4), allow_pickle=True)
    assert "x.npy: an array of Python objects" in complaint(tmp_path)
    assert "one array alone" in complaint(tmp_path / "y.npy")
    np.save(tmp_path / "x.npy", X)
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-1])
    assert "cut short, 47 of 48 bytes" in complaint(tmp_path)
    (tmp_path / "x.npy").write_bytes(whole[:20])
    assert "not a whole .npy array" in complaint(tmp_path)
    (tmp_path / "x.npy").write_bytes(whole.replace(b"(4, 3)", b"((4, 3"))
    assert "not a whole .npy array" in complaint(tmp_path)
    (tmp_path / "x.npy").write_bytes(pickle.dumps(X))
    assert "pickle" in complaint(tmp_path)
    assert "give two files" in complaint(Path(f"{tmp_path}/x.npy,{tmp_path}/y.npy,z.npy"))
    (tmp_path / "x.npy").unlink()
    assert "no array 'x'" in complaint(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,y\n1,2,0\n1,2\n", "line 3: 2 columns, the header row has 3"),
        ("a,b,y\n1,2,0,\n1,2,0,\n", "line 2: 4 columns, the header row has 3"),
        ("a,b,y\n1,,0\n", "line 2: column 'b' is empty"),
        ("a,b,y\n1,2,0\n1,blue,0\n", "line 3: column 'b': 'blue' - encode text as numbers"),
        ("a;b;y\n1;2,5;0\n", "line 2: column 'b': '2,5' - write decimal points, not commas"),
        ("1,2,0\n1,2,1\n", "line 1 holds numbers - a header row"),
        (",a,y\n0,1,0\n", "column 1 has no name"),
        ("a,a,y\n0,1,0\n", "column 'a' occurs twice"),
        ("a,b,label\n0,1,0\n", "no column 'y' - it has a, b, label; did you mean 'label'?"),
        ("a,b,y\n", "holds no records"),
        ("y\n1\n", "no column 'x'"),
        ('a,y\n"1,0\n', ""),
        ("a,y\n\n1,u\n", "line 3: column 'y': 'u'"),
        ("a,y\n1_0,0\n", "'1_0'"),
        ("a,y\n1,cat\n", "column 'y': 'cat'"),
    ],
)
def test_a_bad_csv_names_line_column_and_value(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "members.csv").write_text(text)
    assert says in complaint(tmp_path / "members.csv")


def test_a_csv_that_is_not_text_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a,y\n1,0\n".encode("utf-16"))
    assert "not UTF-8" in complaint(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"a,y\n1,0\n\x00,1\n")
    complaint(tmp_path / "b.csv")


def test_an_unknown_suffix_lists_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape("nothing reads '.txt' - known are .csv, .npy, .npz, .parquet")):
        read_records("members.txt", Role.MEMBERS, READERS)
    with pytest.raises(InputError, match="a folder without data files"):
        read_records(str(tmp_path), Role.MEMBERS, READERS)
    with pytest.raises(InputError, match="no such file or folder"):
        read_records(str(tmp_path / "nowhere"), Role.MEMBERS, READERS)

from __future__ import annotations

from pathlib import Path

import pytest

from pmcore.errors import InputError, UntrustedError
from pmcore.model_files import HEAD, check_data_file, read_head


def test_the_head_is_how_a_file_begins(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"ab" * HEAD)
    assert read_head(path) == b"ab" * (HEAD // 2)


def test_what_is_no_file_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    with pytest.raises(InputError, match=r"is a folder; name the model inside it: m\.onnx"):
        read_head(tmp_path, "*.onnx")
    with pytest.raises(InputError, match=r"is a folder; name the model inside it$"):
        read_head(tmp_path, "*.xml")
    with pytest.raises(InputError, match="is empty"):
        read_head(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="there is no such file"):
        read_head(tmp_path / "n.onnx")


def test_data_beside_the_model_and_below_it_pass(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for location in ("weights.bin", "sub/weights.bin"):
        (tmp_path / location).write_bytes(b"1234")
        check_data_file(tmp_path / "m.onnx", location, 4)
        with pytest.raises(InputError, match="has 4 bytes where 5 are needed"):
            check_data_file(tmp_path / "m.onnx", location, 5)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "sub/../../secret", ""])
def test_data_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(b"1234")
    (tmp_path / "model").mkdir()
    with pytest.raises(UntrustedError, match="outside the model's folder"):
        check_data_file(tmp_path / "model" / "m.onnx", location, 0)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"1234")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(UntrustedError, match="outside the model's folder"):
        check_data_file(tmp_path / "model" / "m.onnx", "weights.bin", 0)


def test_an_address_in_memory_is_refused_even_where_a_file_is_called_so(tmp_path: Path) -> None:
    location = "*/_ORT_MEM_ADDR_/*"
    (tmp_path / location).parent.mkdir(parents=True)
    (tmp_path / location).write_bytes(b"1234")
    with pytest.raises(UntrustedError, match="an address in memory"):
        check_data_file(tmp_path / "m.onnx", location, 0)


def test_data_that_is_missing_or_has_no_possible_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing or no plain file"):
        check_data_file(tmp_path / "m.onnx", "weights.bin", 0)
    with pytest.raises(InputError, match="no file can be opened by"):
        check_data_file(tmp_path / "m.onnx", "a\0b", 0)

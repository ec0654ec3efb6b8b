from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pmcore.checksums import files_sha256
from pmcore.errors import InputError, UntrustedError
from pmcore.trust import how_to_trust, vouched


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    return path


def test_nobody_vouches_by_default(model: Path) -> None:
    assert not vouched([model], None)


def test_who_names_the_digest_vouches(model: Path) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    assert vouched([model], f"sha256:{digest}")
    assert vouched([model], f" SHA256:{digest.upper()} ")


def test_the_advice_can_be_pasted(model: Path) -> None:
    assert vouched([model], how_to_trust([model]).rpartition(" ")[2])


def test_another_file_than_the_trusted_one_is_refused(model: Path) -> None:
    with pytest.raises(UntrustedError, match=r"not the one that was trusted"):
        vouched([model], "sha256:" + "0" * 64)


@pytest.mark.parametrize("given", ["", "yes", "sha256:", "sha256:12", "md5:" + "0" * 64, "0" * 64])
def test_anything_but_a_sha256_is_refused(model: Path, given: str) -> None:
    with pytest.raises(InputError, match="give the SHA-256"):
        vouched([model], given)


def test_one_changed_byte_in_any_file_of_a_folder_is_another_model(tmp_path: Path) -> None:
    files = [tmp_path / "saved_model.pb", tmp_path / "variables" / "variables.index"]
    files[1].parent.mkdir()
    for file in files:
        file.write_bytes(b"a")
    before = files_sha256(files)
    files[1].write_bytes(b"b")
    assert files_sha256(files) != before


def test_the_same_names_in_other_folders_are_another_model(tmp_path: Path) -> None:
    def laid_out(folder: Path, inner: str) -> str:
        (folder / inner).mkdir(parents=True)
        files = [folder / "a", folder / inner / "b"]
        for file in files:
            file.write_bytes(b"x")
        return files_sha256(files)

    assert laid_out(tmp_path / "one", "here") == laid_out(tmp_path / "two", "here")
    assert laid_out(tmp_path / "three", "there") != files_sha256(
        [tmp_path / "one" / "a", tmp_path / "one" / "here" / "b"]
    )

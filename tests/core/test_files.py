"""Files of a report appear whole or not at all, whatever goes wrong."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pmcore.errors import AuditError, InputError
from pmcore.files import OutputFolder, check_folder

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full and resource limits")


def test_files_are_whole_private_and_together(tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    with OutputFolder(out) as folder:
        folder.write({"a.json": b"one", "b.json": b"two"})
        with folder.open("c.csv") as stream:
            stream.write(b"three")
        assert not any((out / name).exists() for name in ("a.json", "b.json", "c.csv"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        "a.json": b"one",
        "b.json": b"two",
        "c.csv": b"three",
    }
    if os.name == "posix":
        assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
        assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE(out.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("failure", [RuntimeError("stop"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failure_leaves_the_earlier_files_and_no_temporaries(tmp_path: Path, failure: BaseException) -> None:
    (tmp_path / "a.json").write_bytes(b"earlier")
    with pytest.raises(type(failure)), OutputFolder(tmp_path, force=True) as folder:  # noqa: PT012
        folder.write({"a.json": b"later", "b.json": b"new"})
        folder.retire(["a.json"])
        with folder.open("c.csv") as stream:
            stream.write(b"half")
            raise failure
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.json": b"earlier"}


def test_force_replaces_and_retires_only_what_is_named(tmp_path: Path) -> None:
    for name in ("report.json", "roc.png", "mine.txt"):
        (tmp_path / name).write_bytes(b"earlier")
    with OutputFolder(tmp_path, force=True) as folder:
        folder.retire(["roc.png", "report.json", "missing.svg"])
        folder.write({"report.json": b"later"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "report.json": b"later",
        "mine.txt": b"earlier",
    }


def test_a_file_staged_twice_is_the_later_one(tmp_path: Path) -> None:
    with OutputFolder(tmp_path) as folder:
        folder.write({"a.json": b"one"})
        folder.write({"a.json": b"two"})
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"two"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_bytes(b"keep")
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").symlink_to(elsewhere)
    with OutputFolder(out, force=True) as folder:
        folder.write({"report.json": b"new"})
    assert elsewhere.read_bytes() == b"keep"
    assert (out / "report.json").read_bytes() == b"new"
    assert not (out / "report.json").is_symlink()


def test_names_with_folders_are_refused(tmp_path: Path) -> None:
    with OutputFolder(tmp_path) as folder, pytest.raises(ValueError, match="plain file name"):
        folder.write({"../escape.json": b""})


def test_an_occupied_folder_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"is not empty; choose another --out, or replace .* --force"):
        check_folder(tmp_path)
    check_folder(tmp_path, force=True)


@pytest.mark.parametrize("below", [".", "below/it"])
def test_a_file_in_the_way_is_refused(tmp_path: Path, below: str) -> None:
    file = tmp_path / "taken"
    file.write_text("x")
    with pytest.raises(InputError, match=r"not a (folder|directory); choose another --out") as caught:
        check_folder(file / below, force=True)
    assert "\n" not in str(caught.value)


def test_checking_changes_nothing(tmp_path: Path) -> None:
    check_folder(tmp_path / "deep" / "report")
    assert list(tmp_path.iterdir()) == []


@linux
def test_an_unwritable_parent_is_refused() -> None:
    """Asked as somebody who may not write in `/`, whoever runs the tests."""
    code = """
import os
from pathlib import Path
from pmcore.files import check_folder
if os.geteuid() == 0:
    os.setuid(65534)
check_folder(Path("/pmcore-report"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError" in done.stderr
    assert "no permission to write in" in done.stderr


@linux
def test_a_full_device_is_one_line_with_the_size_needed(tmp_path: Path) -> None:
    out = tmp_path / "report"
    with (
        pytest.raises(AuditError) as caught,
        OutputFolder(out) as folder,
        folder.open("scores.csv", size=4_200_000),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert str(caught.value) == (
        f"{out}/: no space left on the device while writing scores.csv (needs about 4.2 MB); "
        "free some or choose another --out"
    )
    assert not out.exists()


def test_errors_that_are_not_of_the_disk_keep_their_traceback(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), OutputFolder(tmp_path) as folder, folder.open("a.csv"):
        Path(tmp_path / "no such input").read_bytes()
    assert list(tmp_path.iterdir()) == []


@linux
def test_a_file_over_the_limit_leaves_nothing(tmp_path: Path) -> None:
    done = _python(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            with OutputFolder(out) as folder:
                folder.write({"small.json": b"x"})
                with folder.open("scores.csv") as stream:
                    for _ in range(100):
                        stream.write(b"y" * 1000)
        except AuditError as error:
            print(error)
        """,
        tmp_path / "report",
    )
    assert done.stdout.strip() == (
        f"{tmp_path}/report/: file too large while writing scores.csv (after 50.0 kB); choose another --out"
    )
    assert list(tmp_path.iterdir()) == []


@linux
def test_killed_in_the_middle_leaves_no_final_name_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = _python(
        """
        import os, signal
        with OutputFolder(out) as folder:
            folder.write({"report.json": b"x"})
            with folder.open("scores.csv") as stream:
                stream.write(b"y")
                stream.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        """,
        out,
    )
    assert done.returncode == -signal.SIGKILL
    left = [path.name for path in out.iterdir()]
    assert left
    assert all(name.startswith(".pmcore-") for name in left)
    with OutputFolder(out, force=True) as folder:
        folder.write({"report.json": b"new"})
    assert sorted(path.name for path in out.iterdir()) == sorted([*left, "report.json"]), "an audit may be at work"
    for name in left:
        os.utime(out / name, (0, 0))
    with OutputFolder(out, force=True) as folder:
        folder.write({"report.json": b"new"})
    assert [path.name for path in out.iterdir()] == ["report.json"]


@linux
def test_interrupted_by_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = _python(
        """
        import os, signal
        with OutputFolder(out) as folder:
            folder.write({"report.json": b"x"})
            with folder.open("scores.csv") as stream:
                stream.write(b"y")
                signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
                os.kill(os.getpid(), signal.SIGINT)
        """,
        out,
    )
    assert done.returncode != 0
    assert not out.exists()


def _python(body: str, out: Path) -> subprocess.CompletedProcess[str]:
    head = (
        "from pathlib import Path\nfrom pmcore.errors import AuditError\nfrom pmcore.files import OutputFolder\n"
        f"out = Path({str(out)!r})\n"
    )
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(body)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=root,
    )

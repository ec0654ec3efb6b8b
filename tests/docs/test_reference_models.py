"""The commands of docs/reference-models.md are run as they stand, and print what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pmcore_onnx import OnnxModel
from tests.core.cases import make_case

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference-models.md").read_text()


def steps() -> list[tuple[str, str]]:
    """Return the commands of the page, and what follows each of them."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^\$ (.*)$", "\n".join(blocks), flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.slow
def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    make_case(tmp_path, n_members=200, n_nonmembers=300, backend=OnnxModel)
    assert len(steps()) == 2
    pmcore = f'pmcore() {{ "{sys.executable}" -c "from pmcore.cli import main; main()" "$@"; }}'
    for command, shown in steps():
        done = subprocess.run(
            ["bash", "-c", f"{pmcore}; {command}"],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        pattern = ".*?".join(re.escape(" ".join(part.split())) for part in shown.split("…"))
        assert re.fullmatch(rf"\s*{pattern}\s*", " ".join(done.stdout.split()), re.DOTALL), done.stdout


@pytest.mark.parametrize("name", re.findall(r"\]\(((?!http|#)[^)]+)\)", PAGE))
def test_every_file_that_is_linked_exists(name: str) -> None:
    assert (DOCS / name).exists()

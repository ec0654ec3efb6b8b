"""Every block of Python in docs/exported-graphs.md is run as it stands, one after the other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pmcore.interfaces import LoadOptions
from pmcore_onnx import OnnxModel
from tests.core.cases import make_case

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "exported-graphs.md").read_text()


@pytest.mark.slow
def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    case = make_case(tmp_path, backend=OnnxModel)
    (tmp_path / "members.npz").rename(tmp_path / "train.npz")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fc0.weight (12, 4) in logits" in done.stdout
    assert f"({case.n_members}, 1)" in done.stdout
    retrained = OnnxModel.load(tmp_path / "retrained.onnx", LoadOptions())
    original = OnnxModel.load(case.model, LoadOptions())
    x, y = case.x[: case.n_members], case.y[: case.n_members]
    answers = retrained.predict({"x": x})
    assert not np.allclose(answers, original.predict({"x": x}))
    assert (answers.argmax(axis=1) == y).mean() > 0.9


@pytest.mark.parametrize("name", re.findall(r"\]\(((?!http)[^)]+)\)", PAGE))
def test_every_file_that_is_linked_exists(name: str) -> None:
    assert (DOCS / name).exists()

"""What the README shows is run here as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pmcore import __version__
from pmcore.settings import AuditSettings
from pmcore_onnx import OnnxModel
from tests.core.cases import make_case

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for named, text in fenced if named == language]


def as_in_the_readme(folder: Path) -> None:
    case = make_case(folder, backend=OnnxModel)
    (case.folder / "members.npz").rename(case.folder / "train.npz")
    (case.folder / "nonmembers.npz").rename(case.folder / "test.npz")


def test_the_two_commands_come_first() -> None:
    first = blocks("")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]


@pytest.mark.slow
def test_the_transcript_is_what_the_demo_prints(tmp_path: Path) -> None:
    """But for numbers and line breaks, which differ where another processor trains another network."""
    done = subprocess.run(
        [sys.executable, "-m", "pmcore", "demo"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    (transcript,) = [block for block in blocks("") if block.startswith(f"pmcore {__version__} ")]
    assert without_numbers(transcript) == without_numbers(done.stdout)


def without_numbers(text: str) -> str:
    plain = re.sub(r"sha256 \w+…", "sha256 #", " ".join(text.split()))
    return re.sub(r"[\d.,]*\d[\d.,…a-f]*( \d{3})?", "#", plain)


def test_the_python_example_runs(tmp_path: Path) -> None:
    as_in_the_readme(tmp_path)
    (example,) = [block for block in blocks("python") if 'Audit(model="model.onnx"' in block]
    assert len(example.splitlines()) == 3
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "value=0." in done.stdout


def test_the_example_with_a_model_in_memory_runs(tmp_path: Path) -> None:
    as_in_the_readme(tmp_path)
    (example,) = [block for block in blocks("python") if "Audit(model=module" in block]
    before = """
import numpy as np
from sklearn.linear_model import LogisticRegression
from pmcore import Audit
train = np.load("train.npz")
module = LogisticRegression(max_iter=500).fit(train["x"], train["y"])
"""
    code = f"{before}{example}\nprint(result.report.model.backend, result.report.attacks['population'].auc.value)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("sklearn 0.")


def test_the_audit_file_is_valid() -> None:
    (example,) = blocks("yaml")
    settings = AuditSettings.model_validate(yaml.safe_load(example))
    assert settings.attacks == ("population", "population:signal=rescaled_logit,per_class=true")


def test_the_plugin_in_ten_lines_is_found_and_audits(tmp_path: Path) -> None:
    as_in_the_readme(tmp_path)
    (plugin,) = [block for block in blocks("python") if "SureAttack" in block]
    assert len([line for line in plugin.splitlines() if line.strip()]) <= 10
    (entry_points,) = blocks("ini")
    (tmp_path / "my_attack.py").write_text(plugin)
    metadata = tmp_path / "my_attack-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-attack\nVersion: 1.0\n")
    registered = entry_points.replace("[options.entry_points]\n", "").replace("pmcore.attacks =", "[pmcore.attacks]")
    (metadata / "entry_points.txt").write_text("\n".join(line.strip() for line in registered.splitlines()))
    command = "audit model.onnx --members train.npz --non-members test.npz --attack sure"
    done = subprocess.run(
        [sys.executable, "-c", "from pmcore.cli import main; main()", *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "sure" in done.stdout
    assert "scores" in done.stdout


@pytest.mark.parametrize("name", re.findall(r"\]\(((?!http)[^)]+)\)", README))
def test_every_file_that_is_linked_exists(name: str) -> None:
    assert (Path(__file__).parents[2] / name).exists()

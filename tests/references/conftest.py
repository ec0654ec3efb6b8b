"""The numpy backend and the planted trainers as they are when installed, and a small case."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.cases import Case, make_case
from tests.core.conftest import metadata_of_the_numpy_backend, numpy_backend

__all__ = ["metadata_of_the_numpy_backend", "numpy_backend"]

TRAINERS = {"planted": "PlantedTrainer", "folder": "InAFolder", "faulty": "Planted"}


@pytest.fixture(scope="session")
def metadata_of_the_trainers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("trainers")
    folder = site / "planted_trainers-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-trainers\nVersion: 1.0\n")
    entries = "".join(f"{name} = tests.references.planted_trainers:{cls}\n" for name, cls in TRAINERS.items())
    (folder / "entry_points.txt").write_text(f"[pmcore.trainers]\n{entries}")
    return site


@pytest.fixture(scope="module", autouse=True)
def trainers(numpy_backend: None, metadata_of_the_trainers: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(metadata_of_the_trainers))
        here = str(Path(__file__).parents[2])
        path = [str(metadata_of_the_trainers), *filter(None, [os.environ.get("PYTHONPATH")]), here]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        yield


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"), 60, 80)

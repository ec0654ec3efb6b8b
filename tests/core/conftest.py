"""The numpy backend as it is when installed: the core's tests make their models with it, and need no framework."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

BACKEND = Path(__file__).parents[2] / "plugins" / "numpy-backend"


@pytest.fixture(scope="session")
def metadata_of_the_numpy_backend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what pip would leave beside the package, from the plugin's own setup.cfg; return the folder."""
    config = configparser.ConfigParser()
    config.read(BACKEND / "setup.cfg", encoding="utf-8")
    site = tmp_path_factory.mktemp("numpy-backend")
    folder = site / "numpy_backend-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {config['metadata']['name']}\nVersion: 0.1.0\n")
    groups = config["options.entry_points"]
    (folder / "entry_points.txt").write_text("".join(f"[{name}]{entries}\n" for name, entries in groups.items()))
    return site


@pytest.fixture(scope="module", autouse=True)
def numpy_backend(metadata_of_the_numpy_backend: Path) -> Iterator[None]:
    """Have the numpy backend installed, for this process and for those that it starts; only in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(metadata_of_the_numpy_backend))
        path = [str(metadata_of_the_numpy_backend), str(BACKEND), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        yield

"""A plugin as a user has it: built from a copy, installed outside of the tree, run from the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

PLUGINS = Path(__file__).parents[2] / "plugins"
_PIP = (sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--no-index")
_LIST = """
    import json
    from pmcore.registry import GROUPS, PluginPolicy, list_plugins

    found = [plugin for group in GROUPS for plugin in list_plugins(group, PluginPolicy())]
    own = [plugin for plugin in found if plugin.distribution == {name!r}]
    print(json.dumps([[plugin.group, plugin.name, plugin.third_party, plugin.version] for plugin in own]))
"""
WITHOUT_FRAMEWORKS = """
    import sys

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("onnx", "onnxruntime", "torch", "tensorflow", "keras", "openvino"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Absent())
"""
"""Code after which no framework can be imported."""


@dataclass(frozen=True)
class Installed:
    """A plugin that was built and installed.

    Parameters
    ----------
    name : of the distribution
    source : the copy that it was built from: building leaves files beside it
    site : the folder that it was installed into
    """

    name: str
    source: Path
    site: Path


def install(name: str, folder: Path) -> Installed:
    """Build a plugin of this repository from a copy, and install it, without network, into a folder of its own."""
    copy, site = folder / "source" / name, folder / "site"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".*")
    shutil.copytree(PLUGINS / name, copy, ignore=ignored)
    done = subprocess.run([*_PIP, "--target", site, copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Installed(name, copy, site)


def run(arguments: list[str], folder: Path, *path: Path) -> str:
    """Run Python in `folder` with `path` in front of the installed packages; return what it prints."""
    found = [entry for entry in filter(None, sys.path) if not Path(entry).is_relative_to(PLUGINS)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, path), *found])}
    environment.pop("PMCORE_PLUGINS", None)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_pmcore(arguments: list[str], folder: Path, *path: Path, code: str = "") -> str:
    """Run the command line as `run` does, after some Python code."""
    program = f"{dedent(code)}\nfrom pmcore.cli import main\nmain()"
    return run(["-c", program, *arguments], folder, *path)


def registered(name: str, folder: Path, *path: Path) -> list[list[object]]:
    """Return what a distribution registers: group, name, whether it is a third party's, version."""
    found: list[list[object]] = json.loads(run(["-c", dedent(_LIST).format(name=name)], folder, *path))
    return found


def run_own_tests(plugin: Installed, folder: Path) -> str:
    """Run a plugin's tests against its installation, out of the tree; return what pytest prints."""
    own = folder / "own-tests"
    shutil.copytree(plugin.source / "tests", own / "tests")
    shutil.copy(plugin.source / "setup.cfg", own)
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(own), "-c", str(own / "setup.cfg")]
    return run(["-m", "pytest", *options, str(own / "tests")], own, plugin.site)

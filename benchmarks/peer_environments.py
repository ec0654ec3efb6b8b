"""The peers that the package index has: what each is installed from, in a virtual environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from pmcore.errors import AuditError

TORCH = "torch==2.13.0"
FOR_GRAPHICS_CARDS = ("nvidia-", "triton")


class PeerError(AuditError):
    """A peer cannot be installed, or its process ended."""


@dataclass(frozen=True)
class Peer:
    """What the package index has.

    Parameters
    ----------
    jobs : what both sides do, in this order
    requirements : what is installed, always under constraints.txt
    alone : installed without what it declares, because `requirements` has something else in place of it
    """

    jobs: tuple[str, ...]
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()


PEERS: Mapping[str, Peer] = {
    # Its own metadata lacks packaging, which it imports.
    "art": Peer(
        ("gap", "learnt, forest", "learnt, forest of losses", "learnt, default", "boundary"),
        ("adversarial-robustness-toolbox==1.20.1", TORCH, "packaging"),
    ),
    # It declares xgboost, which brings a library for graphics cards; xgboost-cpu has the same modules without it.
    # skops is for pmcore, which is given the estimators that the peer trained.
    "sacroml": Peer(
        ("lira, training", "lira, trained", "worst case", "quantile"),
        (
            *("acro<2", "fpdf", "pypdf", "multiprocess", "scikit-learn", "xgboost-cpu", "dictdiffer", TORCH),
            *("prompt-toolkit", "PyYAML", "skops"),
        ),
        ("sacroml==2.0.1",),
    ),
    # Its own metadata declares nothing: this is what its modules import.
    "privacy-meter": Peer(
        ("population", "reference", "shadow"),
        (
            *("privacy-meter==1.0.1", TORCH, "tensorflow-cpu==2.21.0", "opacus", "scikit-learn", "scipy", "pandas"),
            *("matplotlib", "seaborn", "pillow", "jinja2"),
        ),
    ),
}


def installed(name: str, peer: Peer, folder: Path) -> Path:
    """Return the interpreter of an environment with the peer, which is made unless it is there.

    Raises
    ------
    PeerError
        pip refuses, or would install builds for graphics cards.
    """
    python, done = folder / "bin" / "python", folder / "installed.json"
    wanted = json.dumps([*peer.requirements, *peer.alone])
    if done.is_file() and done.read_text() == wanted:
        return python
    print(f"installing {name} …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    report = folder / "report.json"
    _pip(name, python, "--dry-run", "--report", str(report), *peer.requirements)
    too_much = for_graphics_cards(json.loads(report.read_text()))
    if too_much:
        raise PeerError(f"{name}: would bring {', '.join(too_much)} - let pip find builds of torch for the CPU")
    _pip(name, python, *peer.requirements)
    if peer.alone:
        _pip(name, python, "--no-deps", *peer.alone)
    done.write_text(wanted)
    return python


def for_graphics_cards(report: Mapping[str, Any]) -> list[str]:
    """Return what of an installation report of pip is built for graphics cards."""
    found = [(part["metadata"]["name"], part["metadata"]["version"]) for part in report["install"]]
    return [
        f"{name} {version}"
        for name, version in found
        if name.lower().startswith(FOR_GRAPHICS_CARDS) or "+cu" in version
    ]


def _pip(name: str, python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    ended = subprocess.run(
        [*command, "-c", str(ROOT / "constraints.txt"), *arguments], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        errors = "\n".join(line for line in ended.stderr.splitlines() if line.startswith("ERROR"))
        raise PeerError(f"{name}: pip: {last_line(errors or ended.stderr)} - try it by hand")


def last_line(text: str) -> str:
    """Return the last line of a text that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was said"

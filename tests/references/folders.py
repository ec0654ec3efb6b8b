"""Calls of `pmcore references`, and what lies in a folder afterwards."""

from __future__ import annotations

from pathlib import Path

from tests.core.cases import Case


def arguments(case: Case, out: Path, **changed: object) -> list[str]:
    """Return the arguments of a small set; `changed` replaces or adds flags, None takes one out."""
    flags: dict[str, object] = {
        "pool": [case.folder / "members.npz", case.folder / "nonmembers.npz"],
        "count": 4,
        "trainer": "planted",
        "epochs": 3,
        "jobs": 1,
        "out": out,
        **changed,
    }
    words = ["references", str(flags.pop("model", case.model))]
    for name, value in flags.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value is not None:
            several = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, several)]
    return words


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder, by its path within; b"" for the folders themselves."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }

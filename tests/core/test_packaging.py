from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SHARED = {"pmcore_autograd"}
"""Packages that backends share; no backend themselves."""
SOURCE_ROOTS = (ROOT, ROOT / "backends", ROOT / "attacks")


def settings() -> ConfigParser:
    parser = ConfigParser()
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def lines(section: str, option: str) -> list[str]:
    return settings().get(section, option, fallback="").split("\n")[1:]


def pairs(section: str, option: str) -> dict[str, str]:
    return dict(tuple(map(str.strip, line.split("=", 1))) for line in lines(section, option))  # type: ignore[misc]


def packages() -> dict[str, Path]:
    """Return the folder of every import package in the tree, by dotted name."""
    found = {}
    for source in SOURCE_ROOTS:
        for top in source.glob("pmcore*/__init__.py"):
            for init in top.parent.rglob("__init__.py"):
                found[".".join(init.parent.relative_to(source).parts)] = init.parent
    return found


def top_level() -> dict[str, Path]:
    return {name: folder for name, folder in packages().items() if "." not in name}


def extras() -> set[str]:
    return set(settings().options("options.extras_require"))


def test_the_packages_listed_are_the_packages_in_the_tree() -> None:
    assert sorted(lines("options", "packages")) == sorted(packages())


def test_every_top_level_package_says_where_it_is() -> None:
    assert pairs("options", "package_dir") == {
        name: folder.relative_to(ROOT).as_posix() for name, folder in top_level().items()
    }


def test_every_top_level_package_ships_its_types() -> None:
    shipped = settings().options("options.package_data")
    assert [name for name, folder in top_level().items() if not (folder / "py.typed").is_file()] == []
    assert [name for name in top_level() if name not in shipped] == []


@pytest.mark.parametrize(
    ("folder", "group", "kind"),
    [("backends", "pmcore.backends", "Model"), ("attacks", "pmcore.attacks", "Attack")],
)
def test_entry_point_package_and_class_bear_one_name(folder: str, group: str, kind: str) -> None:
    registered = pairs("options.entry_points", group)
    own = {name for name in top_level() if (ROOT / folder / name).is_dir()} - SHARED
    if group == "pmcore.backends":  # a family of attacks need not hold one of its own name
        assert own - {f"pmcore_{name}" for name in registered} == set()
    assert own - {value.partition(":")[0].partition(".")[0] for value in registered.values()} == set()
    for name, value in registered.items():
        package, _, plugin_class = value.partition(":")
        assert package.partition(".")[0] in own
        assert plugin_class.lower() == f"{name.replace('_', '')}{kind}".lower()


def test_every_backend_has_an_extra_of_its_name() -> None:
    assert set(pairs("options.entry_points", "pmcore.backends")) - extras() == set()


def test_every_entry_point_names_a_module_in_the_tree() -> None:
    missing = []
    for group in settings().options("options.entry_points"):
        for name, value in pairs("options.entry_points", group).items():
            path = Path(*value.partition(":")[0].split("."))
            places = [(source / path).with_suffix(".py") for source in SOURCE_ROOTS]
            places += [source / path / "__init__.py" for source in SOURCE_ROOTS]
            if not any(place.is_file() for place in places):
                missing.append(f"{group}: {name} = {value}")
    assert missing == []


@pytest.mark.parametrize("extra", ["", *sorted(extras())])
def test_every_requirement_can_be_read_and_has_a_tested_lower_bound(extra: str) -> None:
    listed = lines("options.extras_require", extra) if extra else lines("options", "install_requires")
    read = [Requirement(line) for line in listed]
    assert read
    if extra != "dev":
        assert [r.name for r in read if not r.specifier and r.name != "pmcore"] == []

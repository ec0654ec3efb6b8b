from __future__ import annotations

import importlib
import importlib.metadata
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from pmcore.errors import PluginError
from pmcore.interfaces import Attack
from pmcore.registry import (
    GROUPS,
    GroupName,
    PluginPolicy,
    explain,
    find,
    framework_needed,
    list_plugins,
    list_unreadable,
    load,
    missing_framework_hint,
    policy_from_environment,
)

ANY = PluginPolicy()
BUILT_IN_ONLY = PluginPolicy(third_party=False)

GOOD = """
    from typing import ClassVar
    from pmcore.interfaces import Attack, Evidence, Floats, Needs

    class Good(Attack):
        '''Is it good?

        More of it.
        '''

        knowledge: ClassVar[str] = "nothing"

        @property
        def needs(self) -> Needs:
            return Needs()

        def score(self, evidence: Evidence) -> Floats:
            return evidence.target("loss")
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution with one module and its entry points on sys.path, as pip leaves it there."""
    before = set(sys.modules)

    def put(
        distribution: str,
        source: str,
        entry_points: str,
        version: str = "1.0",
        folder: str = "site",
        extras: tuple[str, ...] = (),
    ) -> Path:
        site = tmp_path / folder
        site.mkdir(exist_ok=True)
        module = distribution.replace("-", "_")
        (site / f"{module}.py").write_text(dedent(source))
        metadata = site / f"{module}-{version}.dist-info"
        metadata.mkdir(exist_ok=True)
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        lines += [f"Provides-Extra: {extra}" for extra in extras]
        (metadata / "METADATA").write_text("\n".join(lines) + "\n")
        (metadata / "entry_points.txt").write_text(dedent(entry_points))
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        return metadata

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("acme"):
            del sys.modules[name]


def attack(name: str, value: str) -> str:
    return f"[pmcore.attacks]\n{name} = {value}\n"


def refused(name: str, policy: PluginPolicy = ANY, group: GroupName = "attacks") -> str:
    """Return the message with which a plugin is refused, having seen that it is one line."""
    with pytest.raises(PluginError) as caught:
        load(group, name, policy)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


# What works


def test_every_group_has_an_interface_and_an_entry_point_group_of_its_own() -> None:
    assert {group.entry_points for group in GROUPS.values()} == {f"pmcore.{name}" for name in GROUPS}
    assert [group.interface.__name__ for group in GROUPS.values()] == [
        group.interface_name for group in GROUPS.values()
    ]


@pytest.mark.parametrize("group", GROUPS)
def test_every_built_in_plugin_loads_and_has_a_summary(group: GroupName) -> None:
    statuses = explain(group, BUILT_IN_ONLY)
    built_in = [status for status in statuses if not status.plugin.third_party]
    assert built_in or group == "trainers"
    assert [status.problem for status in built_in if status.problem] == []
    assert all(status.summary for status in built_in)
    assert all(status.notes == () for status in built_in)


def test_a_plugin_is_listed_with_its_owner_and_loaded(install: Install) -> None:
    install("acme-attack", GOOD, attack("good", "acme_attack:Good"), version="2.3")
    plugin = find("attacks", "good", ANY)
    assert (plugin.name, plugin.distribution, plugin.version) == ("good", "acme-attack", "2.3")
    assert plugin.value == "acme_attack:Good"
    assert plugin.third_party
    loaded = load("attacks", "good", ANY)
    assert issubclass(loaded, Attack)
    assert loaded.__name__ == "Good"


def test_a_plugin_is_explained_by_the_first_line_of_its_docstring(install: Install) -> None:
    install("acme", GOOD, attack("good", "acme:Good"))
    status = next(status for status in explain("attacks", ANY) if status.plugin.name == "good")
    assert (status.summary, status.problem, status.notes) == ("Is it good?", None, ())


def test_listing_imports_no_plugin(install: Install) -> None:
    install("acme", "raise RuntimeError('imported')", attack("good", "acme:Good"))
    assert "good" in {plugin.name for plugin in list_plugins("attacks", ANY)}
    assert "acme" not in sys.modules


def test_what_is_installed_and_removed_is_seen_at_once(install: Install) -> None:
    metadata = install("acme", GOOD, attack("good", "acme:Good"))
    assert find("attacks", "good", ANY).version == "1.0"
    (metadata / "entry_points.txt").write_text(attack("better", "acme:Good"))
    assert find("attacks", "better", ANY).name == "better"
    (metadata / "entry_points.txt").unlink()
    assert "there is no attack 'better'" in refused("better")


def test_the_same_distribution_twice_on_the_path_is_no_clash(install: Install) -> None:
    install("acme", GOOD, attack("good", "acme:Good"), folder="checkout")
    install("acme", GOOD, attack("good", "acme:Good"), folder="installed")
    assert find("attacks", "good", ANY).rivals == ()
    assert load("attacks", "good", ANY).__name__ == "Good"


def test_a_copy_hidden_by_an_earlier_one_on_the_path_does_not_count(install: Install) -> None:
    install("acme", GOOD, attack("old", "acme:Good"), version="1.0", folder="installed")
    install("acme", GOOD, "[console_scripts]\nacme = acme:main\n", version="2.0", folder="checkout")
    assert "old" not in {plugin.name for plugin in list_plugins("attacks", ANY)}


# Names


def test_a_misspelt_name_is_answered_with_the_nearest_and_with_all(install: Install) -> None:
    install("acme", GOOD, attack("good_attack", "acme:Good"))
    message = refused("god_attack")
    assert message.startswith("there is no attack 'god_attack': did you mean 'good_attack'? attacks here: ")
    assert "good_attack" in message.partition("attacks here: ")[2].split(", ")


def test_a_group_without_plugins_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: iter(()))
    assert "none is installed here" in refused("anything", BUILT_IN_ONLY, "trainers")


def test_two_owners_of_one_name_are_both_named_and_can_be_told_apart(install: Install) -> None:
    install("acme-one", GOOD, attack("good", "acme_one:Good"), version="1.1")
    install("acme-two", GOOD, attack("good", "acme_two:Good"), version="2.2")
    message = refused("good")
    assert "acme-one 1.1 (acme_one:Good)" in message
    assert "acme-two 2.2 (acme_two:Good)" in message
    assert "PMCORE_PLUGINS=acme-one or acme-two" in message
    only_two = policy_from_environment({"PMCORE_PLUGINS": "acme-two"})
    assert load("attacks", "good", only_two).__module__ == "acme_two"
    problems = [status.problem for status in explain("attacks", ANY) if status.plugin.name == "good"]
    assert problems == [message, message]


def test_a_foreign_owner_of_a_built_in_name_blocks_it_until_told_apart(install: Install) -> None:
    install("acme", GOOD, "[pmcore.signals]\nloss = acme:Good\n")
    message = refused("loss", group="signals")
    assert "pmcore.signals:Loss" in message
    assert "--no-third-party takes pmcore's own, or uninstall acme" in message
    assert load("signals", "loss", BUILT_IN_ONLY).__name__ == "Loss"
    assert load("signals", "entropy", ANY).__name__ == "Entropy"


def test_one_distribution_that_uses_a_name_twice_is_sent_to_its_authors(install: Install) -> None:
    install("acme", GOOD, "[pmcore.attacks]\ngood = acme:Good\ngood = acme:Better\n")
    assert refused("good").endswith("tell the authors of acme")


# What may load


def test_no_third_party_leaves_the_built_ins_alone(install: Install) -> None:
    install("acme", GOOD, attack("good", "acme:Good"))
    policy = policy_from_environment({}, no_third_party=True)
    assert not any(plugin.third_party for plugin in list_plugins("attacks", policy))
    message = refused("good", policy)
    assert message == "attack 'good' of acme 1.0 is refused by --no-third-party; leave that out to use it"
    assert "acme" not in sys.modules
    assert load("signals", "loss", policy).__name__ == "Loss"


@pytest.mark.parametrize("named", ["good", "acme-attack", "other, Acme_Attack"])
def test_the_variable_lets_in_what_it_names_by_plugin_or_distribution(install: Install, named: str) -> None:
    install("acme-attack", GOOD, attack("good", "acme_attack:Good"))
    assert load("attacks", "good", policy_from_environment({"PMCORE_PLUGINS": named})).__name__ == "Good"


@pytest.mark.parametrize("named", ["other", "", " , "])
def test_the_variable_keeps_out_what_it_does_not_name(install: Install, named: str) -> None:
    install("acme", GOOD, attack("good", "acme:Good"))
    policy = policy_from_environment({"PMCORE_PLUGINS": named})
    message = refused("good", policy)
    assert f"is not named in PMCORE_PLUGINS={named.strip(' ,')}; add good to it" in message
    assert load("signals", "loss", policy).__name__ == "Loss"
    status = next(status for status in explain("attacks", policy) if status.plugin.name == "good")
    assert status.problem == message
    assert "acme" not in sys.modules


# What does not load


# what the module says, what the entry point says, and the reason that is told
FAILURES = {
    "missing framework": ("import acme_gpu.nn", "acme:A", "needs acme_gpu; try: pip install acme_gpu"),
    "other import error": ("from os import x", "acme:A", "cannot import os: cannot import name 'x'"),
    "import of itself": ("from acme import x", "acme:A", "cannot be imported: cannot import name 'x'"),
    "nameless import error": ("raise ImportError", "acme:A", "cannot import what it needs: ImportError"),
    "missing module": ("", "acme_x:A", "there is no module acme_x; try: pip install --force-reinstall acme"),
    "missing attribute": ("", "acme:X", "there is no X in acme; try: pip install --force-reinstall acme"),
    "no attribute": ("", "acme", "registered as 'acme', which is not module:Class"),
    "malformed": ("", "acme/x:A", "registered as 'acme/x:A', which is not module:Class"),
    "not a class": ("A = 3", "acme:A", "acme:A is an instance of int, not a class that derives from pmcore"),
    "wrong class": ("class A: pass", "acme:A", "acme:A does not derive from pmcore.interfaces.Attack"),
    "wrong group": (
        "from pmcore.signals import Loss as A",
        "acme:A",
        "acme:A does not derive from pmcore.interfaces.Attack",
    ),
    "abstract": (
        "from pmcore.interfaces import Attack\nclass A(Attack): pass",
        "acme:A",
        "acme:A lacks knowledge, needs, score of pmcore.interfaces.Attack",
    ),
    "sys.exit": ("import sys; sys.exit('no\\nkey')", "acme:A", "calls sys.exit at import (no key)"),
    "exception": ("raise ValueError('a\\nb')", "acme:A", "fails at import: ValueError: a b"),
    "attribute error": ("None.x", "acme:A", "fails at import: AttributeError: 'NoneType' object"),
    "syntax error": ("def broken(:", "acme:A", "fails at import: SyntaxError: invalid syntax"),
    "assertion": ("assert False, 'x' * 999", "acme:A", "fails at import: AssertionError: xxx"),
    "panic": ("class P(BaseException): ...\nraise P('!')", "acme:A", "fails at import: P: !"),
    "unprintable": (
        "class E(Exception):\n    def __str__(self): raise self\nraise E",
        "acme:A",
        "fails at import: E: E",
    ),
}


@pytest.mark.parametrize(("source", "value", "reason"), FAILURES.values(), ids=FAILURES)
def test_what_does_not_load_is_explained_in_one_line(install: Install, source: str, value: str, reason: str) -> None:
    install("acme", source, attack("bad", value))
    install("acme-good", GOOD, attack("good", "acme_good:Good"))
    message = refused("bad")
    assert message.startswith("attack 'bad' of acme 1.0")
    assert reason in message
    assert len(message) < 450
    problems = {status.plugin.name: status.problem for status in explain("attacks", ANY)}
    assert problems["bad"] == message
    assert problems["good"] is None


def test_the_cause_is_chained_for_the_debugger(install: Install) -> None:
    install("acme", "raise ValueError('cause')", attack("bad", "acme:A"))
    with pytest.raises(PluginError) as caught:
        load("attacks", "bad", ANY)
    assert isinstance(caught.value.__cause__, ValueError)


def test_ctrl_c_during_an_import_passes_through(install: Install) -> None:
    install("acme", "raise KeyboardInterrupt", attack("bad", "acme:A"))
    with pytest.raises(KeyboardInterrupt):
        load("attacks", "bad", ANY)


def test_what_a_plugin_prints_at_import_becomes_a_note_and_leaves_stdout_pure(
    install: Install, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    install("acme", "print('hello\\nworld')\n" + dedent(GOOD), attack("good", "acme:Good"))
    with caplog.at_level(logging.WARNING, "pmcore"):
        assert load("attacks", "good", ANY).__name__ == "Good"
    assert capfd.readouterr().out == ""
    assert caplog.messages == ["attack 'good' of acme 1.0 printed at import: hello world"]


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.stdout.close()",
        "import sys; sys.stdout.buffer.write(b'raw')",
        "import sys; sys.stdout.reconfigure(encoding='utf-8'); print('\\u00e9')",
        "import io, sys; sys.stdout = io.TextIOWrapper(sys.stdout.buffer); print('wrapped')",
    ],
)
def test_a_plugin_that_tampers_with_stdout_does_no_harm(
    install: Install, capfd: pytest.CaptureFixture[str], source: str
) -> None:
    stdout = sys.stdout
    install("acme", source + "\n" + dedent(GOOD), attack("good", "acme:Good"))
    assert load("attacks", "good", ANY).__name__ == "Good"
    assert sys.stdout is stdout
    print("pure")
    assert capfd.readouterr().out == "pure\n"


def test_what_a_plugin_warns_about_at_import_becomes_a_note(install: Install) -> None:
    source = "import warnings\nwarnings.warn('old\\nand grey')\n" + dedent(GOOD)
    install("acme", source, attack("good", "acme:Good"))
    status = next(status for status in explain("attacks", ANY) if status.plugin.name == "good")
    assert status.notes == ("warned at import: old and grey",)
    assert status.problem is None


@pytest.mark.parametrize("damage", [b"[pmcore.attacks]\nno equals sign\n", b"[pmcore.attacks]\nx = \xff:A\n"])
def test_damaged_metadata_costs_the_others_nothing_and_is_named(install: Install, damage: bytes) -> None:
    metadata = install("acme", GOOD, "")
    (metadata / "entry_points.txt").write_bytes(damage)
    install("acme-good", GOOD, attack("good", "acme_good:Good"))
    assert load("attacks", "good", ANY).__name__ == "Good"
    (complaint,) = list_unreadable("attacks")
    assert "unreadable entry points" in complaint
    assert "\n" not in complaint
    assert complaint in refused("x")


# Missing frameworks


def missing(module: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {module!r}", name=module)


def test_a_built_in_names_its_extra_by_the_naming_rule() -> None:
    hint = missing_framework_hint("backends", "onnx", missing("onnxruntime.capi"))
    assert hint == "backend 'onnx' needs onnxruntime; try: pip install 'pmcore[onnx]'"


def test_a_built_in_without_an_extra_names_the_package() -> None:
    hint = missing_framework_hint("attacks", "population", missing("scipy"))
    assert hint == "attack 'population' needs scipy; try: pip install scipy"


def test_a_third_party_names_its_own_extra_if_it_has_one(install: Install) -> None:
    install("acme", "import acme_framework", "[pmcore.backends]\nfast = acme:A\n", extras=("fast",))
    assert refused("fast", group="backends") == (
        "backend 'fast' of acme 1.0 needs acme_framework; try: pip install 'acme[fast]'"
    )


def test_a_framework_that_is_missing_when_a_model_is_loaded_is_hinted_at() -> None:
    with (
        pytest.raises(PluginError, match=r"needs onnxruntime; try: pip install 'pmcore\[onnx\]'$") as caught,
        framework_needed("backends", "onnx"),
    ):
        raise missing("onnxruntime")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_framework_that_is_there_but_broken_is_to_be_reinstalled() -> None:
    with (
        pytest.raises(PluginError, match=r"cannot import onnx: libz.so.9: not found; try: .*force-reinstall"),
        framework_needed("backends", "onnx"),
    ):
        raise ImportError("libz.so.9: not found", name="onnx")


@pytest.mark.parametrize("module", ["pmcore.nowhere", "pmcore_onnx.nowhere"])
def test_a_missing_module_of_our_own_is_a_bug_and_passes_through(module: str) -> None:
    with pytest.raises(ModuleNotFoundError), framework_needed("backends", "onnx"):
        raise missing(module)


# What importing costs


def run(code: str, home: Path) -> object:
    """Run Python in a process of its own, with an empty home, and return what it prints as JSON."""
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_listing_loads_neither_stevedore_nor_numpy_nor_pydantic(tmp_path: Path) -> None:
    code = """
        import json, sys
        import pmcore.options
        from pmcore.registry import GROUPS, PluginPolicy, list_plugins
        count = sum(len(list_plugins(group, PluginPolicy())) for group in GROUPS)
        print(json.dumps([count >= 7, sorted({"stevedore", "numpy", "pydantic", "yaml"} & set(sys.modules))]))
    """
    assert run(dedent(code), tmp_path) == [True, []]


def test_loading_goes_through_stevedore_and_leaves_no_cache_behind(tmp_path: Path) -> None:
    code = """
        import json, sys
        from pmcore.registry import PluginPolicy, load
        loaded = load("signals", "loss", PluginPolicy())
        print(json.dumps([loaded.__name__, "stevedore.driver" in sys.modules]))
    """
    assert run(dedent(code), tmp_path) == ["Loss", True]
    assert list(tmp_path.rglob("*")) == []

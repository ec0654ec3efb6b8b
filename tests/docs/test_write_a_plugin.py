"""Every block of docs/write-a-plugin.md is run, in order, in a folder and an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import pmcore

PAGE = Path(__file__).parents[2] / "docs" / "write-a-plugin.md"
MODULES = ("pmcore", "pip", "pytest", "mypy")
"""Commands that must run in the environment of the page."""


@dataclass(frozen=True)
class Block:
    """A fenced block: the words after the fence, its lines without their common indent, and where it begins."""

    words: tuple[str, ...]
    text: str
    line: int

    @property
    def where(self) -> str:
        return f"{PAGE.name}:{self.line}"


@dataclass(frozen=True)
class Step:
    """A command of a console block, and what it prints according to the page."""

    command: str
    printed: str


@dataclass
class Reader:
    """Somebody who follows the page: where they are, in which environment, and the note of where they go."""

    folder: Path
    environment: Mapping[str, str]
    note: Path

    def follow(self, block: Block) -> None:
        """Do what a block says; an unknown kind of block fails."""
        language, *rest = block.words
        option, _, value = rest[0].partition("=") if rest else ("", "", "")
        if language == "console" and option in ("", "exit"):
            for step in steps(block):
                self.run_command(step, int(value or 0), block.where)
        elif (language, option) == ("python", ""):
            done = self.start(["python", "-c", block.text])
            assert done.returncode == 0, f"{block.where}: {done.stdout}{done.stderr}"
        elif (language, option) == ("python", "file"):
            assert (self.folder / value).is_file(), f"{block.where}: {value} is no file of the project"
            (self.folder / value).write_text(block.text)
        elif (language, option) == ("python", "append"):
            with (self.folder / value).open("a") as stream:
                stream.write(block.text)
        elif (language, option) == ("ini", "section"):
            path = self.folder / value
            path.write_text(with_section(path.read_text(), block.text))
        else:
            pytest.fail(f"{block.where}: no rule for a block of {' '.join(block.words)}")

    def run_command(self, step: Step, code: int, where: str) -> None:
        """Run a command in bash, compare what it prints, and follow it to another folder."""
        done = self.start(["bash", "-c", f'{step.command}\ncode=$?\npwd > "{self.note}"\nexit $code'])
        assert done.returncode == code, f"{where}: {step.command}: ended with {done.returncode}\n{done.stdout}"
        if step.printed:
            assert matches(step.printed, done.stdout), f"{where}: {step.command}: prints\n{done.stdout}"
        self.folder = Path(self.note.read_text().rstrip("\n"))

    def start(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a process with both of its streams joined."""
        found = shutil.which(command[0], path=self.environment["PATH"]) or command[0]
        return subprocess.run(
            [found, *command[1:]],
            cwd=self.folder,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )


def blocks() -> Iterator[Block]:
    """Yield the fenced blocks of the page."""
    lines = iter(enumerate(PAGE.read_text().splitlines(), start=1))
    for number, line in lines:
        if fence := re.fullmatch(r"\s*```(.*)", line):
            inside = []
            for _, text in lines:
                if text.strip() == "```":
                    break
                inside.append(text)
            else:
                pytest.fail(f"{PAGE.name}:{number}: the block has no end")
            # A block in a list is indented; one that adds a method begins with a blank line and stays as it is.
            indent = len(line) - len(line.lstrip())
            content = "\n".join(text[indent:] for text in inside)
            yield Block(tuple(fence[1].split()) or ("",), f"{content}\n", number)


def steps(block: Block) -> Iterator[Step]:
    """Yield the commands of a console block."""
    assert block.text.startswith("$ "), f"{block.where}: begins without a command"
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield Step(command, printed)


def matches(shown: str, printed: str) -> bool:
    """Tell whether the page shows what was printed; … stands for anything, blanks count as one."""
    pattern = ".*?".join(re.escape(" ".join(part.split())) for part in shown.split("…"))
    return re.fullmatch(rf"\s*{pattern}\s*", " ".join(printed.split()), re.DOTALL) is not None


def with_section(text: str, section: str) -> str:
    """Return the text of a settings file with one of its sections replaced."""
    heading = section.partition("\n")[0]
    found = re.search(rf"^{re.escape(heading)}\n.*?(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no section {heading}"
    return f"{text[: found.start()]}{section}\n{text[found.end() :]}"


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Return somebody in an empty folder, with an environment that sees what the tests see and keeps what is added."""
    home = tmp_path / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    binaries, packages = home / "bin", next(home.glob("lib/python*/site-packages"))
    own = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    lines = [f"import site; site.addsitedir({place!r})" for place in dict.fromkeys(own)]
    (packages / "of_the_tests.pth").write_text("\n".join(lines))
    (packages / "pmcore").symlink_to(Path(pmcore.__file__).parent)
    for module in MODULES:
        (binaries / module).write_text(f'#!/bin/sh\nexec "{binaries}/python" -P -m {module} "$@"\n')
        (binaries / module).chmod(0o755)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "PMCORE", "PYTEST"))
    }
    folder = tmp_path / "work"
    folder.mkdir()
    path = os.pathsep.join([str(binaries), str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    quiet = {"PATH": path, "COLUMNS": "90", "NO_COLOR": "1", "PIP_CONFIG_FILE": os.devnull}
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return Reader(folder, kept | quiet | offline, tmp_path / "note")


@pytest.mark.slow
def test_a_reader_who_does_what_the_page_says_gets_what_it_shows(reader: Reader) -> None:
    for block in blocks():
        reader.follow(block)


def test_the_page_shows_every_kind_of_block() -> None:
    kinds = {" ".join((block.words[0], *(word.partition("=")[0] for word in block.words[1:]))) for block in blocks()}
    assert kinds == {"console", "console exit", "python", "python file", "python append", "ini section"}


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a … c\n", "a b c\n", True),
        ("a … c\n", "a\nb\n  c\n", True),
        ("…\nlast\n", "first\nsecond\nlast\n", True),
        ("a b\n", "a   b\n", True),
        ("a … c\n", "a b d\n", False),
        ("a\n", "a b\n", False),
        ("a b\n", "ab\n", False),
        (".\n", "a\n", False),
    ],
)
def test_only_an_ellipsis_stands_for_anything(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


def test_a_section_is_replaced_and_the_others_stay() -> None:
    text = "[a]\nx = 1\n\n[b]\ny = 2\n\n[c]\nz = 3\n"
    assert with_section(text, "[b]\nw = 4\n") == "[a]\nx = 1\n\n[b]\nw = 4\n\n[c]\nz = 3\n"


def test_every_link_leads_somewhere() -> None:
    text = PAGE.read_text()
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    anchors = {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target in anchors or (PAGE.parent / target).exists(), target

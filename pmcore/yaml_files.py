"""YAML from strangers: plain values only, small, not deep, without aliases, every key once."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode

from pmcore.errors import InputError
from pmcore.quoting import quoted

LARGEST = 2**17
"""Bytes of a file; an audit file has a few hundred."""
DEEPEST = 32
"""Lists and mappings within each other."""
LONGEST_NUMBER = 100
"""Characters of a number or a date."""


def read_yaml(path: Path) -> Any:
    """Return what an audit file holds.

    Raises
    ------
    InputError
        The file is missing, no text, too large, or not YAML of this kind.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such audit file - check the path given to --config") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder - give the path of an audit file, such as audit.yaml") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}) - check its permissions") from None
    except ValueError:
        raise InputError(f"{quoted(str(path))}: is no path - give one without a NUL character") from None
    whole = len(content) <= LARGEST
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(content, whole)
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text - an audit file is YAML, such as `model: model.onnx`") from None
    if not whole:
        raise InputError(f"{path}: more than {LARGEST // 1024} kB - an audit file holds settings, not records")
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Return the value that a text of YAML stands for.

    Parameters
    ----------
    where : what is read, for messages: a path, or an option's label

    Raises
    ------
    InputError
        The text is not YAML, or asks for what is not allowed; the line is named.
    """
    try:
        return yaml.load(text, _PlainLoader)  # a SafeLoader
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{where}: line {line}: {error.reason} - mend the YAML") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line_of = f" line {mark.line + 1}:" if mark is not None else ""
        problem = " ".join((getattr(error, "problem", None) or "not YAML text").split())
        remedy = "" if " - " in problem else " - mend the YAML"
        raise InputError(f"{where}:{line_of} {problem}{remedy}") from None


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, without what makes a short text large, slow, or two things at once."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Refuse aliases, a few of which stand for billions of values, and depth that ends the stack."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(AliasEvent):
            raise ComposerError(None, None, "aliases are not allowed - write the value out", mark)
        if self.depth >= DEEPEST:
            raise ComposerError(None, None, f"more than {DEEPEST} lists or mappings within each other", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """Refuse a key that is repeated; of the two values one would silently win."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"the key {quoted(key.value)} is given twice - give it once"
                    raise ComposerError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Say of a value that is not what its tag or its form says, such as the 45th of May, where it stands."""
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float", "timestamp") and len(node.value) > LONGEST_NUMBER:
            problem = f"a number of {len(node.value)} characters - write it with at most {LONGEST_NUMBER}"
            raise ConstructorError(None, None, problem, node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            problem = f"{quoted(node.value)} is no {kind} - mend it, or put text into quotes"
            raise ConstructorError(None, None, problem, node.start_mark) from None

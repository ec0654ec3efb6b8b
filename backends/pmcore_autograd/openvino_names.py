"""The names of the tensors of an OpenVINO model: the file's where it gives some, else those of the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pmcore.quoting import printable
from pmcore_autograd.unsupported import Unsupported

Key: TypeAlias = tuple[str, int]
"""What tells an output of a node from all others of its model: the node's unique name, and which output."""
_SINK = "/sink_port_"


@dataclass(frozen=True)
class Names:
    """How the tensors of a model are called.

    Parameters
    ----------
    made : output of a node -> its name, which no other tensor has
    aliases : every name by which somebody may call a tensor -> its name
    """

    made: Mapping[Key, str]
    aliases: Mapping[str, str]

    def of(self, output: Any) -> str:
        """Return the name of what a node puts out."""
        return self.made[key_of(output)]


def key_of(output: Any) -> Key:
    """Return what tells an output of a node from all others of its model."""
    return str(output.get_node().get_name()), int(output.get_index())


def name_tensors(model: Any) -> Names:
    """Name every tensor of a model, as `layers` and `activations` of the openvino backend do.

    Inputs are called as the backend calls them when they are fed.

    Raises
    ------
    Unsupported
        An input has the name of another tensor.
    """
    results = _result_names(model)
    found: dict[str, Key] = {}
    aliases: dict[str, str] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Result":
            continue
        for index in range(node.get_output_size()):
            output = node.output(index)
            friendly = str(node.get_friendly_name())
            place = friendly if index == 0 else f"{friendly}:{index}"
            names = {str(name) for name in output.get_names()} | results.get(key_of(output), set())
            names = {name for name in names if not _invented(name)}
            first = next((name for name in (*sorted(names, key=_unlikely), place) if name not in found), None)
            name = first or f"{place} ({node.get_name()})"
            found[name] = key_of(output)
            for alias in (place, *sorted(names)):
                aliases.setdefault(alias, name)
    made = {key: name for name, key in found.items()}
    for name, value in zip(input_names(model), model.inputs, strict=True):
        if found.setdefault(name, key_of(value)) != key_of(value):
            raise Unsupported(
                f"input {printable(name, 60)!r}: another tensor has the same name, so its gradients cannot be told; "
                "export the model again"
            )
        made[key_of(value)] = name
    return Names(made, aliases | {name: name for name in made.values()})


def input_names(model: Any) -> tuple[str, ...]:
    """Return a name for every input: the file's, else its node's; what is still twice gets its number."""
    found: list[str] = []
    for index, value in enumerate(model.inputs):
        names = sorted(str(name) for name in value.get_names())
        candidates = (*names, str(value.get_node().get_friendly_name()), f"input{index}")
        found.append(next(name for name in candidates if name and name not in found))
    return tuple(found)


def _result_names(model: Any) -> Mapping[Key, set[str]]:
    """Return the output of a node -> the names that the model's results give it."""
    found: dict[Key, set[str]] = {}
    for result in model.get_results():
        names = {str(name) for name in result.output(0).get_names()}
        friendly, sink, _ = str(result.get_friendly_name()).partition(_SINK)
        names |= {friendly} if sink else set()
        names -= {str(result.get_friendly_name())}
        found.setdefault(key_of(result.input_value(0)), set()).update(names)
    return found


def _invented(name: str) -> bool:
    """Tell whether a name is one that OpenVINO gives to results without one."""
    return name.startswith("Result_") and name[len("Result_") :].isdigit()


def _unlikely(name: str) -> tuple[bool, bool, str]:
    return name.isdigit(), "logit" not in name.lower(), name

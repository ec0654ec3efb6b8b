"""Names of tensors of a file as torch takes them: paths of modules that end in a parameter, and none of them twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def torch_names(tensors: Iterable[str], is_taken: Callable[[str], bool]) -> dict[str, str]:
    """Return a path for every tensor: its own name wherever torch takes it, else with "_" behind what it does not.

    Parameters
    ----------
    is_taken : tells whether a module has an attribute of a name already
    """
    paths: dict[str, str] = {}
    leaves: set[str] = set()
    folders: set[str] = set()
    for tensor in tensors:
        parts = tensor.split(".")
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            while not part or is_taken(part) or _clashes(parts[:place], part, last, leaves, folders):
                part += "_"
            parts[place] = part
        path = ".".join(parts)
        leaves.add(path)
        folders.update(".".join(parts[:place]) for place in range(1, len(parts)))
        paths[tensor] = path
    return paths


def _clashes(before: list[str], part: str, last: bool, leaves: set[str], folders: set[str]) -> bool:
    path = ".".join([*before, part])
    return path in leaves or (last and path in folders)

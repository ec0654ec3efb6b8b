"""How much memory is free, so that what cannot fit is refused and not tried."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def available_memory() -> int | None:
    """Return the bytes that can be had without swapping; None where the system does not tell.

    References
    ----------
    Linux, proc(5), MemAvailable; Linux, Control Group v2, memory.max (a container's limit).
    """
    sizes = []
    for line in _text(MEMINFO).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            sizes.append(int(value.split()[0]) * 1024)
    limit = _text(GROUP_LIMIT).strip()
    if limit.isdecimal():  # else "max"
        sizes.append(int(limit))
    return min(sizes, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""

"""torch.export archives: checked part by part, and written anew in memory before PyTorch reads them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pmcore.errors import AuditError, InputError, ModelError, UntrustedError
from pmcore.quoting import printable
from pmcore_autograd.quiet import quiet, start_torch
from pmcore_torch.archives import Archive
from pmcore_torch.expressions import strings_under
from pmcore_torch.pickles import strange_call
from pmcore_torch.programcheck import AGAIN, DOTTED, Json, ProgramCheck

_DECOMPOSED = "torch.ops.quantized_decomposed."


def load_exported(archive: Archive, device: Mapping[str, Any]) -> Any:
    """Load an exported program.

    Parameters
    ----------
    device : {"type": "cpu", "index": None}: where its weights go and what it computes on

    Raises
    ------
    UntrustedError
        The archive holds something that loading it would run.
    InputError, ModelError
        It is damaged, or PyTorch does not take it.
    """
    checked = rewritten(archive, device)
    import torch

    with quiet():
        try:
            return torch.export.load(checked)
        except AuditError:
            raise
        except Exception as error:  # the loader raises what its parts raise
            raise ModelError(f"{archive.path}: torch does not take it: {_reason(error)}; {AGAIN}") from None


def rewritten(archive: Archive, device: Mapping[str, Any]) -> io.BytesIO:
    """Return an archive of the parts that were checked, and of these alone.

    What is read is what was checked: samples of inputs, traces, guards and other notes of the exporter are left
    out, so that nothing in them is ever evaluated.
    """
    name = _only_model(archive)
    _check_parts(archive, name)
    program = _json(archive, f"models/{name}.json")
    ProgramCheck(archive.path, device, f"models/{name}.json").check(program)
    start_torch()
    import torch

    if any(str(target).startswith(_DECOMPOSED) for target in strings_under(program, "target")):
        with quiet():
            import torch.ao.quantization.fx._decomposed  # registers its operators
    target = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(target)

    def write(part: str, data: bytes) -> None:
        writer.write_record(part, data, len(data))

    write("archive_format", b"pt2")
    write("archive_version", archive.read("archive_version"))
    write("models/model.json", json.dumps(program).encode())
    write("data/sample_inputs/model.pt", b"")
    for folder in ("weights", "constants"):
        _copy_tensors(archive, name, folder, device, write)
    writer.write_end_of_file()
    target.seek(0)
    return target


def _only_model(archive: Archive) -> str:
    if "serialized_exported_program.json" in archive.members:
        raise UntrustedError(f"{archive.path}: is an archive of PyTorch 2.7 or before, which keeps pickles; {AGAIN}")
    names = [part[7:-5] for part in archive.members if part.startswith("models/") and part.endswith(".json")]
    if any(part.startswith("data/aotinductor/") for part in archive.members):
        raise UntrustedError(
            f"{archive.path}: carries compiled code (data/aotinductor), which runs when loaded; {AGAIN}"
        )
    if len(names) != 1:
        raise InputError(f"{archive.path}: holds {len(names)} models where one is audited; save it alone")
    if not re.fullmatch(r"[\w\-]{1,100}", names[0]):
        raise UntrustedError(f"{archive.path}: its model has the name '{printable(names[0], 60)}'; {AGAIN}")
    return names[0]


def _check_parts(archive: Archive, name: str) -> None:
    for folder in ("weights", "constants"):
        if f"data/{folder}/{name}.pt" in archive.members:
            raise UntrustedError(f"{archive.path}: keeps data/{folder} as a pickle, as old versions did; {AGAIN}")
    sample = f"data/sample_inputs/{name}.pt"
    if sample in archive.members and archive.members[sample].file_size:
        _check_sample(archive, sample)


def _check_sample(archive: Archive, part: str) -> None:
    """Refuse samples of inputs whose pickle would do more than rebuild tensors; they are never loaded."""
    import zipfile

    data = archive.read(part)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            pickles = [inner.read(entry) for entry in inner.infolist() if entry.filename.endswith(".pkl")]
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError):
        pickles = [data]
    for pickle in pickles:
        try:
            call = strange_call(pickle)
        except ValueError:
            raise UntrustedError(
                f"{archive.path}: its sample inputs ({part}) are not what torch.export saves; {AGAIN}"
            ) from None
        if call is not None:
            raise UntrustedError(
                f"{archive.path}: its sample inputs ({part}) are a pickle that calls "
                f"'{printable(call.name, 80)}' when loaded; {AGAIN}"
            )


def _copy_tensors(
    archive: Archive, name: str, folder: str, device: Mapping[str, Any], write: Callable[[str, bytes], None]
) -> None:
    part = f"data/{folder}/{name}_{folder}_config.json"
    entries = _json(archive, part).get("config")
    if not isinstance(entries, dict):
        raise InputError(f"{archive.path}: {part} lists no tensors; {AGAIN}")
    files: dict[str, None] = {}
    for key, entry in entries.items():
        shown = printable(key, 80)
        if not isinstance(entry, dict) or not DOTTED.fullmatch(key):
            raise UntrustedError(f"{archive.path}: {part} has an entry '{shown}' that no exporter writes; {AGAIN}")
        path = entry.get("path_name")
        plain = isinstance(path, str) and re.fullmatch(r"(?:weight|tensor)_\d{1,9}", path)
        if entry.get("use_pickle") or not plain:
            raise UntrustedError(
                f"{archive.path}: keeps '{shown}' as a pickle or a custom object ({part}), "
                f"which can run code when loaded; {AGAIN}"
            )
        meta = entry.get("tensor_meta")
        source = f"data/{folder}/{path}"
        if not isinstance(meta, dict) or source not in archive.members:
            raise InputError(f"{archive.path}: says nothing about the tensor '{shown}' in {part}; {AGAIN}")
        if not archive.members[source].file_size and not _is_empty(meta.get("sizes")):
            raise InputError(f"{archive.path}: the tensor '{shown}' has no data; {AGAIN}")
        meta["device"] = dict(device)
        files[str(path)] = None
    ProgramCheck(archive.path, device, part).check_tables(entries)
    write(f"data/{folder}/model_{folder}_config.json", json.dumps({"config": entries}).encode())
    for path in files:
        write(f"data/{folder}/{path}", archive.read(f"data/{folder}/{path}"))


def _is_empty(sizes: Json) -> bool:
    return isinstance(sizes, list) and any(isinstance(size, dict) and size.get("as_int") == 0 for size in sizes)


def _json(archive: Archive, part: str) -> Json:
    try:
        found = json.loads(archive.read(part))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{archive.path}: its part '{part}' is damaged; {AGAIN}")
    return found


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[-1] if lines else type(error).__name__, 200)

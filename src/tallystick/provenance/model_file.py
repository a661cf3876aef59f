"""Compare a file with the model on the ledger, and say where it differs."""

from __future__ import annotations

import hashlib
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tallystick.crypto.hashes import CHUNK_BYTES, chunk_hashes, root_of_chunks
from tallystick.storage.files import open_regular, translated
from tallystick.tensors.layout import layout_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.ledger.collect.rows import ModelRef
    from tallystick.tensors.layout import Layout
    from tallystick.tensors.spec import ModelSpec

__all__ = ["Compared", "compare_model"]


@dataclass(frozen=True, slots=True)
class Compared:
    """The verdict on a model file, with the hash other tools print."""

    ok: bool
    says: str
    sha256: str


def compare_model(
    path: Path | str, model: ModelRef, spec: ModelSpec | None, chunks: Sequence[bytes]
) -> Compared:
    """Compare a file with the model on the ledger.

    Parameters
    ----------
    chunks
        Hashes of the ledger's model's chunks, to say where a difference is; may be empty.

    Raises
    ------
    ConfigError
        The file cannot be read.
    """
    data = _read(Path(path))
    digest = hashlib.sha256(data.data).hexdigest()
    leaves = chunk_hashes(data)
    root = root_of_chunks(leaves, len(data))
    if (root, len(data)) == (model.root, model.size):
        return Compared(ok=True, says=f"the file is the model {root.hex()}", sha256=digest)
    layout = None if spec is None else layout_of(spec.parameters)
    if len(data) != model.size:
        says = f"the file has {len(data)} bytes, the model {model.size}"
    elif chunks:
        at = next(at for at, pair in enumerate(zip(leaves, chunks, strict=True)) if _differ(pair))
        says = _place(at, layout)
    elif layout is not None and data[: len(layout.prefix)].tobytes() != layout.prefix:
        says = "the file's header is not that of the model's names, shapes and dtypes"
    else:
        says = f"the file has root {root.hex()}, the model {model.root.hex()}"
    return Compared(ok=False, says=says, sha256=digest)


def _differ(pair: tuple[bytes, bytes]) -> bool:
    return pair[0] != pair[1]


def _place(chunk: int, layout: Layout | None) -> str:
    """Name a chunk of the file by the tensor that lies in it, counted from the tensor's first."""
    if layout is None:
        return f"chunk {chunk} of the file differs"
    start, stop = chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES
    ends = (*layout.offsets[1:], layout.size)
    touched = [
        (parameter.name, offset // CHUNK_BYTES)
        for parameter, offset, end in zip(layout.parameters, layout.offsets, ends, strict=True)
        if offset < stop and end > start and end > offset
    ]
    if not touched:
        return f"chunk {chunk} of the file, in its header, differs"
    name, first = touched[0]
    more = f" (or one of {len(touched) - 1} more tensors in it)" if len(touched) > 1 else ""
    return f"chunk {chunk - first} of tensor '{name}' differs{more}"


def _read(path: Path) -> np.ndarray:
    hint = "name the model file, such as model.safetensors"
    with translated(path), open_regular(path, hint) as file:
        if not os.fstat(file.fileno()).st_size:
            return np.frombuffer(b"", np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)

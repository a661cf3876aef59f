"""Write a bundle from a ledger at hand."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from tallystick.codec import encode
from tallystick.consensus.finality import check_engine
from tallystick.crypto.hashes import BlobHasher
from tallystick.errors import ConfigError, UnavailableError
from tallystick.ledger.collect.rows import TASKS
from tallystick.provenance.frames import (
    MAGIC,
    BlobHead,
    ChunkList,
    Head,
    Kind,
    RowProof,
    write_frame,
)
from tallystick.provenance.history import read_history

if TYPE_CHECKING:
    import numpy as np

    from tallystick.consensus.engine import Engine
    from tallystick.tensors.spec import Blobs

__all__ = ["BlobsMissingError", "write_bundle"]

COPY_BYTES = 1 << 20


class BlobsMissingError(ConfigError):
    """Bytes that the task's outputs rest on are not at hand: say where they are."""

    slug: ClassVar[str] = "blobs-missing"


def write_bundle(
    path: Path | str,
    engine: Engine,
    task: bytes,
    blobs: Blobs | None = None,
    *,
    with_updates: bool = True,
) -> None:
    """Write everything needed to check a task offline to one file, which appears whole or not.

    Parameters
    ----------
    blobs
        Where models and updates are. With ``with_updates`` all of them go into the file, so that
        the arithmetic can be repeated; without, only the hashes of the final model's chunks.
        `None` writes neither.

    Raises
    ------
    ConfigError
        The ledger has no such task, or an engine whose evidence is not its blocks'.
    BlobsMissingError
        ``blobs`` lacks something that the outputs rest on.
    UnavailableError
        The file cannot be written.
    """
    check_engine(engine.genesis)
    if engine.state.get(TASKS, task) is None:
        msg = f"the ledger has no task {task.hex()}"
        raise ConfigError(msg)
    target = Path(path)
    try:
        number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        with os.fdopen(number, "wb") as file:
            _write(file, engine, task, blobs, with_updates=with_updates)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _write(
    file: BinaryIO, engine: Engine, task: bytes, blobs: Blobs | None, *, with_updates: bool
) -> None:
    height = engine.head.height
    leaves = [leaf for leaf in engine.leaves(task) if leaf[0] <= height]
    history = read_history(leaves)
    wanted = history.artefacts() if blobs is not None and with_updates else {}
    chunked = blobs is not None and history.model is not None
    head = Head(
        genesis=encode(engine.genesis),
        task=task,
        height=height,
        leaves=len(leaves),
        chunked=int(chunked),
        blobs=len(wanted),
    )
    file.write(MAGIC)
    write_frame(file, Kind.HEAD, encode(head))
    written = 0
    for block in engine.blocks(1):
        if block.header.height <= height:
            write_frame(file, Kind.BLOCK, encode(block))
            written += 1
    if written != height:
        msg = f"the ledger keeps {written} of its {height} blocks"
        raise ConfigError(msg)
    for _, leaf in leaves:
        write_frame(file, Kind.LEAF, leaf)
    _, row, proof = engine.state.prove(TASKS, task)
    write_frame(file, Kind.PROOF, encode(RowProof(row or b"", proof)))
    if chunked and blobs is not None and history.model is not None:
        write_frame(file, Kind.CHUNKS, encode(_chunks(blobs, history.model.root)))
    for root in sorted(wanted):
        if blobs is not None:
            _write_blob(file, blobs, root)
    write_frame(file, Kind.END, b"")


def _chunks(blobs: Blobs, root: bytes) -> ChunkList:
    hasher = BlobHasher(keep_leaves=True)
    hasher.update(_open(blobs, root))
    return ChunkList(hasher.leaves)


def _write_blob(file: BinaryIO, blobs: Blobs, root: bytes) -> None:
    data = _open(blobs, root)
    write_frame(file, Kind.BLOB, encode(BlobHead(root, len(data))))  # an author's size may be a lie
    pieces = range(0, len(data), COPY_BYTES)
    file.writelines(data[start : start + COPY_BYTES].data for start in pieces)


def _open(blobs: Blobs, root: bytes) -> np.ndarray:
    try:
        return blobs.open(root)
    except UnavailableError as error:
        msg = f"blob {root.hex()} is needed for the bundle and is not here"
        raise BlobsMissingError(msg, hint="fetch it from a holder, or leave updates out") from error


def _unwritable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(f"{path}: {error.strerror or error}")

"""Get a blob of a task from a node, checked chunk by chunk, from where an earlier call ended."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from tallystick.consensus.client import RefusedError
from tallystick.consensus.wire import API
from tallystick.crypto.hashes import chunk_count
from tallystick.errors import UnavailableError, VerificationError
from tallystick.storage.blobs import ROOT_BYTES
from tallystick.storage.partial import PartialBlob

if TYPE_CHECKING:
    from tallystick.consensus.client import NodeClient
    from tallystick.storage.blobs import FileBlobs

__all__ = ["fetch_blob"]

NOT_FOUND, PARTIAL = 404, 206


def fetch_blob(client: NodeClient, task: bytes, root: bytes, size: int, blobs: FileBlobs) -> None:
    """Get a task's blob from a node, checked chunk by chunk; go on where an earlier call ended.

    Raises
    ------
    UnavailableError
        No node has it or answers.
    VerificationError
        What came is not the blob.
    """
    if blobs.has(root) and blobs.size(root) == size:
        return
    path = f"{API}/tasks/{task.hex()}/blobs/{root.hex()}"
    try:
        listed = client.ask("GET", f"{path}/chunks", signed=True).content
        if len(listed) != ROOT_BYTES * chunk_count(size):
            msg = f"{client.url} names other chunks than those of blob {root.hex()}"
            raise VerificationError(msg, hint="ask another node")
        leaves = tuple(listed[at : at + ROOT_BYTES] for at in range(0, len(listed), ROOT_BYTES))
        with closing(PartialBlob(blobs, root, size, leaves)) as part:
            if part.offset < size:
                _fill(client, path, part)
            part.commit()
    except RefusedError as error:
        if error.status != NOT_FOUND:
            raise
        msg = f"the node does not have blob {root.hex()} yet"
        raise UnavailableError(msg, hint="whoever proposed the task uploads it") from error


def _fill(client: NodeClient, path: str, part: PartialBlob) -> None:
    """Read what is missing of a blob; whoever answers may begin at its first byte instead."""
    start = part.offset
    wanted = {"Range": f"bytes={start}-"} if start else {}
    with client.stream("GET", path, signed=True, headers=wanted) as answer:
        at = start if answer.status == PARTIAL else 0
        for piece in answer.pieces:
            client.count(received=len(piece))
            part.write(piece[max(0, start - at) :])
            at += len(piece)
    if part.offset < part.size:
        msg = f"{client.url} broke off in blob {part.root.hex()}"
        raise UnavailableError(msg, hint="the same command goes on from there")

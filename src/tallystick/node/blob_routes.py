"""A task's bytes over HTTP: chunk by chunk in, by range out, for its members only."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from anyio import to_thread
from starlette.responses import JSONResponse, Response, StreamingResponse

from tallystick.codec import encode
from tallystick.consensus.wire import NO_PART_HERE, PIECE_BYTES, SIZE_HEADER, Held
from tallystick.crypto.hashes import CHUNK_BYTES
from tallystick.errors import ConfigError, UnavailableError
from tallystick.node.asking import admit, hash_in, number_in, range_in, read_signed
from tallystick.node.gate import MEMBERS, MEMBERS_AND_NODES, HttpError, Visitor, terms_for
from tallystick.storage.shelf import OffsetError
from tallystick.storage.shelved import WrongBytesError
from tallystick.storage.slots import QuotaError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from starlette.requests import Request

    from tallystick.node.service import Service
    from tallystick.storage.shelf import Progress

__all__ = ["chunks", "get_blob", "put_blob", "put_chunks"]

OCTETS = "application/octet-stream"
WAIT_SECONDS = 10.0  # for what other nodes may have


async def put_blob(service: Service, request: Request) -> Response:
    """Take the next chunks of a blob; when it is whole, give the node's word for it."""
    task, root = hash_in(request, "task"), hash_in(request, "root")
    offset, size = number_in(request, "offset", None), number_in(request, "size", None)
    visitor = _admit(service, request, task)
    body = await read_signed(request, PIECE_BYTES, visitor)
    if len(body) % CHUNK_BYTES and offset + len(body) != size:
        msg = f"{len(body)} bytes at {offset} are no whole chunks of a blob of {size} bytes"
        raise HttpError(400, "bad-input", msg)
    with _refusing():
        held = await to_thread.run_sync(
            _append,
            service,
            (task, root, size, visitor.member),
            offset,
            body,
            limiter=service.hands,
        )
    _counters(service, visitor, "in")(len(body))
    document: dict[str, object] = {"ok": True, "offset": held, "complete": held == size}
    if held == size:
        if service.replicator is not None:
            service.replicator.stored(task, root, visitor.member, visitor.role)
        word = Held(task, root, size, service.clerk.now)
        document["held"] = encode(word).hex()
        document["signature"] = service.sign_held(word).hex()
    return JSONResponse(document)


async def put_chunks(service: Service, request: Request) -> Response:
    """Take the hashes of a blob's chunks before they come, so that nobody can send others."""
    task, root = hash_in(request, "task"), hash_in(request, "root")
    size = number_in(request, "size", None)
    visitor = _admit(service, request, task)
    body = await read_signed(request, PIECE_BYTES, visitor)
    plan = service.shelf.plan
    with _refusing():
        held = await to_thread.run_sync(
            plan, task, root, size, visitor.member, body, limiter=service.hands
        )
    return JSONResponse({"ok": True, "offset": held, "complete": held == size})


@contextmanager
def _refusing() -> Generator[None]:
    """Say over HTTP why a shelf refuses."""
    try:
        yield
    except OffsetError as error:
        raise HttpError(409, "other-offset", str(error), offset=error.offset) from error
    except QuotaError as error:
        facts = {"used": error.used, "quota": error.quota}
        raise HttpError(413, "quota-exceeded", str(error), hint=error.hint, **facts) from error
    except WrongBytesError as error:
        raise HttpError(422, "wrong-bytes", str(error)) from error
    except ConfigError as error:
        raise HttpError(400, "bad-input", str(error), hint=error.hint) from error


def _append(service: Service, blob: tuple[bytes, bytes, int, str], offset: int, body: bytes) -> int:
    """Store a body chunk by chunk; return how much of the blob is there."""
    held = service.shelf.append(*blob, offset, body[:CHUNK_BYTES])
    for start in range(CHUNK_BYTES, len(body), CHUNK_BYTES):
        held = service.shelf.append(*blob, offset + start, body[start : start + CHUNK_BYTES])
    return held


async def get_blob(service: Service, request: Request) -> Response:
    """Answer a blob, or a range of it."""
    task, root, visitor, size = await _find(service, request)
    start, length = range_in(request, size)
    pieces = await to_thread.run_sync(
        service.shelf.read, task, root, start, length, limiter=service.hands
    )
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(length)}
    status = 200
    if length != size:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
        status = 206
    if request.method == "HEAD":
        return Response(b"", status, headers, OCTETS)
    count = _counters(service, visitor, "out")
    return StreamingResponse(_counted(count, pieces), status, headers, OCTETS)


async def chunks(service: Service, request: Request) -> Response:
    """Answer the hashes of a blob's chunks, 32 bytes each, so that each can be checked."""
    task, root, _, size = await _find(service, request)
    leaves = await to_thread.run_sync(service.shelf.leaves, task, root, limiter=service.hands)
    headers = {SIZE_HEADER: str(size)}
    return Response(b"".join(leaves), headers=headers, media_type=OCTETS)


def _admit(service: Service, request: Request, task: bytes) -> Visitor:
    """Return who asks for a task's bytes, a party of it; among several nodes a node may ask."""
    others = service.replicator
    visitor = admit(service, request, MEMBERS if others is None else MEMBERS_AND_NODES)
    terms = terms_for(service.state, task, visitor)
    if others is not None and others.member not in terms.parties:
        msg = f"the node of '{others.member}', who has no part in the task, keeps none of its bytes"
        raise HttpError(403, NO_PART_HERE, msg, hint="ask the node of a party of the task")
    return visitor


async def _find(service: Service, request: Request) -> tuple[bytes, bytes, Visitor, int]:
    """Return what is asked for, by whom, and its size; a member waits for what others may have."""
    task, root = hash_in(request, "task"), hash_in(request, "root")
    visitor = _admit(service, request, task)
    visitor.check_body(b"")
    progress, others = service.shelf.progress, service.replicator
    found = await to_thread.run_sync(progress, task, root, limiter=service.hands)
    if others is not None and request.method == "GET" and not (_is_whole(found) or visitor.is_node):
        begun = found is not None and found.offset > 0
        coming = others.wanted(task, root, visitor.member, begun=begun)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(coming), WAIT_SECONDS)
        found = await to_thread.run_sync(progress, task, root, limiter=service.hands)
    if found is None or not found.complete:
        held = 0 if found is None else found.offset
        msg = f"blob {root.hex()} is not here"
        raise HttpError(404, "no-such-blob", msg, offset=held)
    return task, root, visitor, found.size


def _is_whole(found: Progress | None) -> bool:
    return found is not None and found.complete


def _counters(service: Service, visitor: Visitor, direction: str) -> Callable[[int], None]:
    """Return what counts bytes that came or went, for another node once more."""
    counters = [service.metrics.blob_bytes.labels(direction)]
    if visitor.is_node:
        counters.append(service.metrics.replicated_bytes.labels(direction))

    def count(size: int) -> None:
        for counter in counters:
            counter.inc(size)

    return count


def _counted(count: Callable[[int], None], pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        for piece in pieces:
            count(len(piece))
            yield piece
    except UnavailableError:  # the copy here is damaged: the reader sees it break off
        return

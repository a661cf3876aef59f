"""A task's bytes over HTTP: chunk by chunk in, by range out, for its members only."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from starlette.responses import JSONResponse, Response, StreamingResponse

from tallystick.codec import encode
from tallystick.consensus.wire import PIECE_BYTES, SIZE_HEADER, Held
from tallystick.crypto.hashes import CHUNK_BYTES
from tallystick.errors import ConfigError, UnavailableError
from tallystick.node.asking import admit, hash_in, number_in, range_in, read_body
from tallystick.node.gate import HttpError, terms_for
from tallystick.storage.shelf import OffsetError
from tallystick.storage.shelved import WrongBytesError
from tallystick.storage.slots import QuotaError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from starlette.requests import Request

    from tallystick.node.service import Service

__all__ = ["chunks", "get_blob", "put_blob", "put_chunks"]

OCTETS = "application/octet-stream"
HANDS = CapacityLimiter(16)  # so that bytes hold up nothing else


async def put_blob(service: Service, request: Request) -> Response:
    """Take the next chunks of a blob; when it is whole, give the node's word for it."""
    task, root = hash_in(request, "task"), hash_in(request, "root")
    offset, size = number_in(request, "offset", None), number_in(request, "size", None)
    body = await read_body(request, PIECE_BYTES)
    if len(body) % CHUNK_BYTES and offset + len(body) != size:
        msg = f"{len(body)} bytes at {offset} are no whole chunks of a blob of {size} bytes"
        raise HttpError(400, "bad-input", msg)
    visitor = admit(service, request, body)
    terms_for(service.state, task, visitor)
    with _refusing():
        held = await to_thread.run_sync(
            _append, service, (task, root, size, visitor.member), offset, body, limiter=HANDS
        )
    service.metrics.blob_bytes.labels("in").inc(len(body))
    document: dict[str, object] = {"ok": True, "offset": held, "complete": held == size}
    if held == size:
        word = Held(task, root, size, service.clerk.now)
        document["held"] = encode(word).hex()
        document["signature"] = service.sign_held(word).hex()
    return JSONResponse(document)


async def put_chunks(service: Service, request: Request) -> Response:
    """Take the hashes of a blob's chunks before they come, so that nobody can send others."""
    task, root = hash_in(request, "task"), hash_in(request, "root")
    size = number_in(request, "size", None)
    body = await read_body(request, PIECE_BYTES)
    visitor = admit(service, request, body)
    terms_for(service.state, task, visitor)
    plan = service.shelf.plan
    with _refusing():
        held = await to_thread.run_sync(plan, task, root, size, visitor.member, body, limiter=HANDS)
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
    task, root = await _asked(service, request)
    size = await to_thread.run_sync(_size, service, task, root, limiter=HANDS)
    start, length = range_in(request, size)
    pieces = await to_thread.run_sync(service.shelf.read, task, root, start, length, limiter=HANDS)
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(length)}
    status = 200
    if length != size:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
        status = 206
    if request.method == "HEAD":
        return Response(b"", status, headers, OCTETS)
    return StreamingResponse(_counted(service, pieces), status, headers, OCTETS)


async def chunks(service: Service, request: Request) -> Response:
    """Answer the hashes of a blob's chunks, 32 bytes each, so that each can be checked."""
    task, root = await _asked(service, request)
    size = await to_thread.run_sync(_size, service, task, root, limiter=HANDS)
    leaves = await to_thread.run_sync(service.shelf.leaves, task, root, limiter=HANDS)
    headers = {SIZE_HEADER: str(size)}
    return Response(b"".join(leaves), headers=headers, media_type=OCTETS)


async def _asked(service: Service, request: Request) -> tuple[bytes, bytes]:
    task, root = hash_in(request, "task"), hash_in(request, "root")
    visitor = admit(service, request)
    terms_for(service.state, task, visitor)
    return task, root


def _size(service: Service, task: bytes, root: bytes) -> int:
    found = service.shelf.progress(task, root)
    if found is None or not found.complete:
        held = 0 if found is None else found.offset
        msg = f"blob {root.hex()} is not here"
        raise HttpError(404, "no-such-blob", msg, offset=held)
    return found.size


def _counted(service: Service, pieces: Iterator[bytes]) -> Iterator[bytes]:
    served = service.metrics.blob_bytes.labels("out")
    try:
        for piece in pieces:
            served.inc(len(piece))
            yield piece
    except UnavailableError:  # the copy here is damaged: the reader sees it break off
        return

"""Read a request with care: its numbers, its names, and a body of bounded size and time."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from tallystick.node.gate import MEMBERS, HttpError

if TYPE_CHECKING:
    from starlette.requests import Request

    from tallystick.node.gate import Visitor
    from tallystick.node.service import Service

__all__ = [
    "admit",
    "hash_in",
    "is_admitted",
    "number_in",
    "range_in",
    "read_body",
    "read_signed",
    "target_of",
]

BODY_SECONDS = 20.0
HASH = re.compile(r"^[0-9a-f]{64}\Z")
RANGE = re.compile(r"^bytes=([0-9]{1,18})-([0-9]{0,18})\Z")
MOST_DIGITS = 18
MOST = 10**MOST_DIGITS - 1


def target_of(request: Request) -> str:
    """Return path and query as they were sent."""
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    query = request.scope["query_string"]
    return (path + (b"?" + query if query else b"")).decode("latin-1")


async def read_body(request: Request, most: int) -> bytes:
    """Return the body.

    Raises
    ------
    HttpError
        413: larger than ``most`` bytes. 408: it takes too long, or breaks off.
    """
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit() and len(declared) <= MOST_DIGITS) or (
        int(declared) > most
    ):
        raise HttpError(413, "too-large", f"a body of {declared[:20]} bytes; {most} are taken")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise HttpError(413, "too-large", f"more than {most} bytes")
    except TimeoutError:
        msg = f"the body did not come within {BODY_SECONDS:g} seconds"
        raise HttpError(408, "too-slow", msg) from None
    except ClientDisconnect:
        raise HttpError(408, "cut-off", "the request was cut off") from None
    return bytes(body)


def admit(service: Service, request: Request, roles: frozenset[str] = MEMBERS) -> Visitor:
    """Return which member signed the request; raises as `Gate.admit` and `Gate.check_rate`.

    Its body is not looked at, so that nobody's is read who has no right to send one.
    """
    gate = service.gate
    target = target_of(request)
    visitor = gate.admit(service.state, request.method, target, request.headers, roles)
    request.state.is_admitted = True
    if visitor.is_node:
        gate.check_rate(f"node {visitor.member}")  # a member's own share is for its members
    else:
        gate.check_rate(f"member {visitor.member}")
        service.note(visitor.member)
    return visitor


async def read_signed(request: Request, most: int, visitor: Visitor) -> bytes:
    """Return the body that was signed.

    Raises
    ------
    HttpError
        As `read_body`; 401: another body was signed.
    """
    body = await read_body(request, most)
    visitor.check_body(body)
    return body


def is_admitted(request: Request) -> bool:
    """Return whether it was found out which member signed the request."""
    return getattr(request.state, "is_admitted", False)


def hash_in(request: Request, name: str) -> bytes:
    """Return a hash from the path.

    Raises
    ------
    HttpError
        400: it is none.
    """
    text = request.path_params[name]
    if not HASH.match(text):
        raise HttpError(400, "bad-input", f"'{text[:80]}' is no hash of 64 lower-case hex digits")
    return bytes.fromhex(text)


def number_in(request: Request, name: str, default: int | None, most: int = MOST) -> int:
    """Return a whole number from the query.

    Raises
    ------
    HttpError
        400: it is missing without a default, or no number up to ``most``.
    """
    text = request.query_params.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS) or int(text) > most:
        raise HttpError(400, "bad-input", f"{name} = '{text[:40]}': a number from 0 to {most}")
    return int(text)


def range_in(request: Request, size: int) -> tuple[int, int]:
    """Return start and length of the bytes asked for: all of them without a range.

    Raises
    ------
    HttpError
        416: there are no such bytes.
    """
    text = request.headers.get("range")
    if text is None:
        return 0, size
    found = RANGE.match(text)
    start = int(found[1]) if found else size
    end = min(size, int(found[2]) + 1 if found and found[2] else size)
    if start >= end:
        raise HttpError(416, "no-such-range", f"no bytes '{text[:60]}' in a blob of {size}")
    return start, end - start

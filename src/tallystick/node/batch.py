"""Several transactions in one request: signed, sent and acknowledged for less than one by one."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from starlette.responses import JSONResponse, Response

from tallystick.codec import encode
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.wire import MOST_TOGETHER, MOST_TOGETHER_BYTES, frames_in
from tallystick.errors import DecodeError, RejectedError, UnavailableError
from tallystick.ledger.receipt import Receipt
from tallystick.ledger.transaction import transaction_hash
from tallystick.node.asking import admit, read_signed
from tallystick.node.gate import HttpError

if TYPE_CHECKING:
    from starlette.requests import Request

    from tallystick.node.reception import Answer
    from tallystick.node.service import Service

__all__ = ["submit_batch"]


async def submit_batch(service: Service, request: Request) -> Response:
    """Take transactions in their order, and say of each what `submit` would say of it."""
    visitor = admit(service, request)
    body = await read_signed(request, MOST_TOGETHER_BYTES, visitor)
    try:
        wires = list(islice(frames_in(body), MOST_TOGETHER + 1))
    except DecodeError as error:
        raise HttpError(400, "bad-input", str(error)) from error
    if not 0 < len(wires) <= MOST_TOGETHER:
        many = "none" if not wires else f"more than {MOST_TOGETHER}"
        msg = f"{many} in a request; 1 to {MOST_TOGETHER} transactions are taken"
        raise HttpError(400, "bad-input", msg)
    service.gate.check_rate(f"member {visitor.member}", len(wires) - 1)
    asked = [asyncio.wrap_future(service.clerk.submit(wire)) for wire in wires]
    found = await asyncio.gather(*asked, return_exceptions=True)
    answers = [
        await _answer(service, wire, given) for wire, given in zip(wires, found, strict=True)
    ]
    return JSONResponse({"format": "tally.batch/1", "ok": True, "answers": answers})


async def _answer(service: Service, wire: bytes, given: Answer | BaseException) -> dict[str, Any]:
    """Return what became of one transaction at the door."""
    if not isinstance(given, BaseException):
        tx_hash, word = given
        signature = service.sign_acknowledgement(word)
        return {
            "hash": tx_hash.hex(),
            "acknowledgement": encode(word).hex(),
            "signature": signature.hex(),
        }
    known = transaction_hash(wire)
    said: dict[str, Any] = {"hash": known.hex()}
    if isinstance(given, RejectedError):
        outcome = await to_thread.run_sync(service.clerk.outcome, known)
        if isinstance(outcome, Receipt):  # it is in a block already: said twice is said once
            return {**said, "included": True}
        return {
            **said,
            "error": {"code": given.slug, "message": str(given), "number": given.code},
        }
    if isinstance(given, RetryLaterError | UnavailableError):
        return {**said, "error": {"code": "retry-later", "message": str(given)}}
    raise given

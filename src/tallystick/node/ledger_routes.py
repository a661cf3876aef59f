"""The ledger over HTTP: submit, receipts, blocks, state with proof, events, sightings."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
from anyio import to_thread
from starlette.responses import JSONResponse, Response, StreamingResponse

from tallystick.codec import decode, encode
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.wire import HEIGHT_HEADER, Sighting
from tallystick.errors import DecodeError, RejectedError, UnavailableError
from tallystick.ledger.block import header_hash
from tallystick.ledger.receipt import Receipt
from tallystick.ledger.transaction import transaction_hash
from tallystick.node.asking import admit, hash_in, number_in, read_body, read_signed
from tallystick.node.gate import HttpError
from tallystick.text import plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from tallystick.node.service import Service

__all__ = [
    "blocks",
    "events",
    "genesis",
    "light",
    "receipt",
    "sightings",
    "state",
    "status",
    "submit",
    "tasks",
]

OCTETS = "application/octet-stream"
MOST_WAIT_SECONDS = 25
MOST_BLOCKS = 10_000
MOST_KEY_BYTES = 1024
MOST_SIGHTING_BYTES = 1 << 15  # everybody's are in every answer
MOST_LIGHT_BYTES = 1 << 12
MOST_ASKING = 64  # who ask the engine, all but one of whom wait for their turn
SERVER_ERROR = -32000  # of JSON-RPC
LIGHT_METHODS = {"commit", "consensus_params", "health", "validators"}
LIGHT_PARAMETERS = {"height", "page", "per_page"}
EVENT_ID = re.compile(r"^[0-9]{1,18}\Z")
PULSE_SECONDS = 15.0
PROOF_SECONDS = 10.0  # until a state is fixed by the next block


class _Call(msgspec.Struct):
    """A call of JSON-RPC."""

    method: str
    params: dict[str, str | int | bool | None] = {}
    id: int | str | None = None


_CALLS = msgspec.json.Decoder(_Call)


async def status(service: Service, _: Request) -> Response:
    """Answer what the node says of itself."""
    return JSONResponse(plain(await to_thread.run_sync(service.status)))


async def tasks(service: Service, _: Request) -> Response:
    """Answer every task of the ledger."""
    found = await to_thread.run_sync(service.tasks)
    return JSONResponse({"format": "tally.tasks/1", "ok": True, "tasks": plain(found)})


async def genesis(service: Service, _: Request) -> Response:
    """Answer the genesis, encoded."""
    return Response(encode(service.clerk.engine.genesis), media_type=OCTETS)


async def submit(service: Service, request: Request) -> Response:
    """Take a transaction, and give the node's word for it."""
    most = service.clerk.engine.genesis.limits.transaction_bytes
    wire = await read_signed(request, most, admit(service, request))
    try:
        tx_hash, given = await asyncio.wrap_future(service.clerk.submit(wire))
    except RejectedError as error:
        known = transaction_hash(wire)
        found = await to_thread.run_sync(service.clerk.outcome, known)
        if isinstance(found, Receipt):  # it is in a block already: said twice is said once
            return JSONResponse({"ok": True, "hash": known.hex(), "included": True})
        raise HttpError(422, error.slug, str(error), number=error.code) from error
    except RetryLaterError as error:
        raise HttpError(503, error.slug, str(error), hint="send it again in a second") from error
    signature = service.sign_acknowledgement(given)
    document = {
        "ok": True,
        "hash": tx_hash.hex(),
        "acknowledgement": encode(given).hex(),
        "signature": signature.hex(),
    }
    return JSONResponse(document, status_code=202)


async def receipt(service: Service, request: Request) -> Response:
    """Answer what became of a transaction."""
    tx_hash = hash_in(request, "hash")
    found = await to_thread.run_sync(service.clerk.outcome, tx_hash)
    if found is None:
        raise HttpError(404, "unknown-transaction", "no block has it, and it was not refused")
    document: dict[str, Any] = {"format": "tally.receipt/1", "ok": True, "hash": tx_hash.hex()}
    if isinstance(found, Receipt):
        return JSONResponse({**document, "code": found.code, "events": plain(found.events)})
    refusal = {"code": found.code, "slug": found.slug, "message": str(found)}
    return JSONResponse({**document, "refused": refusal})


async def blocks(service: Service, request: Request) -> Response:
    """Answer blocks from a height on, framed; wait a while for the first if it is not there."""
    start = number_in(request, "from", None)
    most = number_in(request, "count", MOST_BLOCKS, MOST_BLOCKS)
    wait = request.query_params.get("wait", "0")
    try:
        seconds = min(float(wait), MOST_WAIT_SECONDS)
    except ValueError:
        seconds = -1.0
    if not start or not most or not seconds >= 0:
        raise HttpError(400, "bad-input", "from and count begin at 1, and wait at 0 seconds")
    if seconds:
        await service.bell.above(start - 1, seconds)
    head = service.clerk.height
    found = b""
    if start <= head:
        found = await to_thread.run_sync(service.clerk.framed, start, most)
    return Response(found, media_type=OCTETS, headers={HEIGHT_HEADER: str(head)})


async def state(service: Service, request: Request) -> Response:
    """Answer a row of the newest state with its proof, or the proof that there is none."""
    text = request.path_params["key"]
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if not 0 < len(key) <= MOST_KEY_BYTES or text != key.hex():
        raise HttpError(400, "bad-input", f"'{text[:80]}' is no key in lower-case hex")

    clerk = service.clerk
    row, proof, head = await to_thread.run_sync(clerk.prove, key)
    fixed = clerk.fixed_at(head.height)
    if clerk.height < fixed and not await service.bell.above(fixed - 1, PROOF_SECONDS):
        msg = f"no block after {head.height} fixes this state yet"
        raise UnavailableError(msg, hint="ask again")
    evidence = await to_thread.run_sync(clerk.evidence, fixed)
    document = {
        "format": "tally.state/1",
        "ok": True,
        "key": key.hex(),
        "row": None if row is None else row.hex(),
        "proof": encode(proof).hex(),
        "header": encode(head).hex(),
        "evidence": evidence.hex(),
        "height": head.height,
    }
    return JSONResponse(document)


async def events(service: Service, request: Request) -> Response:
    """Stream an event a block, from a height on (by default the next)."""
    again = request.headers.get("last-event-id", "")
    after = int(again) if EVENT_ID.match(again) else service.bell.height
    start = number_in(request, "from", after + 1)
    if service.bell.is_full:
        raise HttpError(503, "retry-later", "too many wait for blocks", hint="ask again later")
    await to_thread.run_sync(service.clerk.check_whole)
    stream = _events(service, max(1, start))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(b"", headers=headers, media_type="text/event-stream")
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _events(service: Service, start: int) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    height = start
    while not service.bell.closed:
        if not await service.bell.above(height - 1, PULSE_SECONDS):
            if service.bell.is_full:
                return  # the reader comes back, and finds out where it was by its last event
            yield ": nothing new\n\n"
            continue
        try:
            found = await to_thread.run_sync(service.clerk.headers, height)
        except RetryLaterError:
            return  # it began with a state just now
        for header, count in found:
            height = header.height + 1
            said = {
                "height": header.height,
                "hash": header_hash(header).hex(),
                "time": header.time,
                "transactions": count,
                "state_root": header.state_root.hex(),
            }
            yield f"id: {header.height}\nevent: block\ndata: {json.dumps(said)}\n\n"


async def light(service: Service, request: Request) -> Response:
    """Answer for CometBFT what a light client asks: headers, commits and validators."""
    body = await read_body(request, MOST_LIGHT_BYTES)
    try:
        asked = _CALLS.decode(body)
    except msgspec.MsgspecError as error:
        raise HttpError(400, "bad-input", f"a JSON-RPC call is expected: {error}") from error
    ask_engine = service.clerk.ask_engine
    if ask_engine is None or asked.method not in LIGHT_METHODS:
        raise HttpError(404, "no-such-method", f"'{asked.method[:40]}' is not answered here")
    if not asked.params.keys() <= LIGHT_PARAMETERS:
        known = ", ".join(sorted(LIGHT_PARAMETERS))
        raise HttpError(400, "bad-input", f"a call has other parameters than {known}")
    given = {name: str(value) for name, value in asked.params.items() if value is not None}
    if service.asking >= MOST_ASKING:
        msg = "too many ask the engine now"
        raise HttpError(503, "retry-later", msg, hint="ask again in a second")
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked.id}
    service.asking += 1
    try:
        answer["result"] = await to_thread.run_sync(
            ask_engine, asked.method, given, limiter=service.askers
        )
    except (UnavailableError, DecodeError) as error:
        answer["error"] = {"code": SERVER_ERROR, "message": str(error), "data": ""}
    finally:
        service.asking -= 1
    return JSONResponse(answer)


async def sightings(service: Service, request: Request) -> Response:
    """Take the newest block a member has checked, and answer what others were shown."""
    visitor = admit(service, request)
    body = await read_signed(request, MOST_SIGHTING_BYTES, visitor)
    try:
        sighting = decode(Sighting, body)
    except DecodeError as error:
        raise HttpError(400, "bad-input", str(error)) from error
    if sighting.member != visitor.member:
        raise HttpError(403, "no-part", "a member says what it has seen itself")
    if sighting.seen.header.chain != service.chain:
        raise HttpError(400, "bad-input", "that block is another ledger's")
    service.sightings[visitor.member] = sighting
    others = [encode(seen).hex() for _, seen in sorted(service.sightings.items())]
    return JSONResponse({"ok": True, "sightings": others})


def check_ready(service: Service) -> None:
    """Raise `UnavailableError` unless the node takes transactions."""
    if not service.clerk.works:
        msg = "the node takes no transactions now"
        raise UnavailableError(msg)

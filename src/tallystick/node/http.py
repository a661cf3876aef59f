"""The node's HTTP interface: one table of routes, and what holds for every request.

The table makes the application and the OpenAPI description. Every answer carries the node's time;
every refusal is a JSON document that says why; an error of ours is logged and answered as such.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tallystick.consensus.wire import API, SIGNATURE_HEADER, TIME_HEADER
from tallystick.errors import TallyError, UnavailableError
from tallystick.node import blob_routes, ledger_routes
from tallystick.node.asking import is_admitted, target_of
from tallystick.node.batch import submit_batch
from tallystick.node.gate import HttpError
from tallystick.node.openapi import describe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

    from tallystick.node.service import Service

__all__ = ["ROUTES", "Entry", "make_app"]

LOG = logging.getLogger(__name__)
NOT_FOUND = 404
BODY_IS_LEFT = {408, 413}  # refused before all of it was read
BLOB = API + "/tasks/{task}/blobs/{root}"
Handler = Callable[["Service", "Request"], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One route: what it is for, and what it takes and gives.

    Attributes
    ----------
    signed
        Whether only members' signed requests are answered.
    query
        Names of numbers in the query, each with what it means.
    takes, gives
        What the body is, and the answer's.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    signed: bool = False
    query: tuple[tuple[str, str], ...] = ()
    takes: str = ""
    gives: str = "application/json"


async def healthy(_: Service, __: Request) -> Response:
    """Answer that the process answers."""
    return PlainTextResponse("ok\n")


async def ready(service: Service, _: Request) -> Response:
    """Answer whether transactions are taken."""
    ledger_routes.check_ready(service)
    return PlainTextResponse("ready\n")


async def metrics(service: Service, _: Request) -> Response:
    """Answer what is counted, for Prometheus."""
    text = await to_thread.run_sync(service.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def openapi(_: Service, __: Request) -> Response:
    """Answer the description of this interface."""
    return JSONResponse(describe(ROUTES))


OCTETS, EVENTS, TEXT = "application/octet-stream", "text/event-stream", "text/plain"
FROM = ("from", "first height, 1 or more")
ROUTES: tuple[Entry, ...] = (
    Entry("GET", f"{API}/status", ledger_routes.status, "What the node says of itself."),
    Entry("GET", f"{API}/genesis", ledger_routes.genesis, "The genesis, encoded.", gives=OCTETS),
    Entry("GET", f"{API}/tasks", ledger_routes.tasks, "Every task of the ledger."),
    Entry(
        "POST",
        f"{API}/transactions",
        ledger_routes.submit,
        "Submit a transaction; 202 with the node's signed word, 503 when there is no room now.",
        signed=True,
        takes=OCTETS,
    ),
    Entry(
        "POST",
        f"{API}/transactions/batch",
        submit_batch,
        "Submit up to 256 transactions, framed as blocks are; an answer for each, in their order.",
        signed=True,
        takes=OCTETS,
    ),
    Entry("GET", f"{API}/receipts/{{hash}}", ledger_routes.receipt, "What became of it."),
    Entry(
        "GET",
        f"{API}/blocks",
        ledger_routes.blocks,
        "Blocks, each behind its length in four bytes, little-endian.",
        query=(FROM, ("count", "at most so many"), ("wait", "seconds to wait for the first")),
        gives=OCTETS,
    ),
    Entry(
        "GET",
        f"{API}/state/{{key}}",
        ledger_routes.state,
        "A row with its proof into the newest state, or the proof that there is none.",
    ),
    Entry(
        "GET",
        f"{API}/events",
        ledger_routes.events,
        "An event a block, from then on.",
        query=(FROM,),
        gives=EVENTS,
    ),
    Entry(
        "POST",
        f"{API}/sightings",
        ledger_routes.sightings,
        "Say which block one has checked; see what others were shown.",
        signed=True,
        takes=OCTETS,
    ),
    Entry(
        "POST",
        f"{API}/light",
        ledger_routes.light,
        "What a light client of CometBFT asks, in JSON-RPC: commit, validators, consensus_params.",
        takes="application/json",
    ),
    Entry(
        "PUT",
        BLOB,
        blob_routes.put_blob,
        "Send the next bytes of a blob, up to 1 MiB of whole chunks; 409 says where to go on.",
        signed=True,
        query=(("offset", "where the chunk begins"), ("size", "of the whole blob, in bytes")),
        takes=OCTETS,
    ),
    Entry(
        "PUT",
        f"{BLOB}/chunks",
        blob_routes.put_chunks,
        "Say which chunks a blob has before they come, by their hashes, 32 bytes each.",
        signed=True,
        query=(("size", "of the whole blob, in bytes"),),
        takes=OCTETS,
    ),
    Entry("GET", BLOB, blob_routes.get_blob, "A blob or a range.", signed=True, gives=OCTETS),
    Entry("HEAD", BLOB, blob_routes.get_blob, "Its size.", signed=True, gives=OCTETS),
    Entry(
        "GET",
        f"{BLOB}/chunks",
        blob_routes.chunks,
        "The hashes of a blob's chunks, 32 bytes each.",
        signed=True,
        gives=OCTETS,
    ),
    Entry("GET", "/healthz", healthy, "Whether the process answers.", gives=TEXT),
    Entry("GET", "/readyz", ready, "Whether transactions are taken.", gives=TEXT),
    Entry("GET", "/metrics", metrics, "What is counted, for Prometheus.", gives=TEXT),
    Entry("GET", f"{API}/openapi.json", openapi, "This description."),
)


def make_app(service: Service) -> Starlette:
    """Return the application that serves a node."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        import asyncio  # noqa: PLC0415 - the loop is there only now

        service.bell.bind(asyncio.get_running_loop())
        yield
        service.bell.close()

    routes = [
        Route(
            path,
            _endpoint(service, path),
            methods=sorted({e.method for e in ROUTES if e.path == path}),
        )
        for path in dict.fromkeys(entry.path for entry in ROUTES)
    ]
    handlers: dict[Any, Any] = {HTTPException: _not_found(service)}
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
    app.router.redirect_slashes = False  # to where a header says that this host is
    return app


def _endpoint(service: Service, path: str) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers a path, whatever happens on the way."""
    handlers = {entry.method: entry for entry in ROUTES if entry.path == path}

    async def answer(request: Request) -> Response:
        started = time.monotonic()
        entry = handlers.get(request.method) or handlers["GET"]  # for HEAD, which Starlette adds
        is_claimed = entry.signed and SIGNATURE_HEADER in request.headers
        try:
            if not is_claimed:
                service.gate.check_rate(f"address {_address(request)}")  # else counted by member
            _check_length(request)
            response = await entry.handler(service, request)
        except TallyError as error:
            is_counted = not is_claimed or is_admitted(request)
            said = error if is_counted else _unless_often(service, request, error)
            response = _refusal(service, said)
        except Exception as error:
            LOG.exception("our bug at %s %s", request.method, path)
            msg = f"the node failed: {type(error).__name__}; its log says more"
            response = _refusal(service, HttpError(500, "our-bug", msg))
        return _finish(service, request, path, response, started)

    return answer


def _unless_often(service: Service, request: Request, error: TallyError) -> TallyError:
    """Return the refusal, which counts for the address it came from, whoever it claims to be."""
    try:
        service.gate.check_rate(f"address {_address(request)}")
    except HttpError as often:
        return often
    return error


def _not_found(service: Service) -> Callable[[Request, HTTPException], Awaitable[Response]]:
    async def answer(request: Request, error: HTTPException) -> Response:
        code = "no-such-route" if error.status_code == NOT_FOUND else "bad-request"
        refusal = HttpError(error.status_code, code, f"{request.method}: {error.detail}")
        response = _refusal(service, _unless_often(service, request, refusal))
        return _finish(service, request, "none", response, time.monotonic())

    return answer


def _refusal(service: Service, error: TallyError) -> Response:
    if isinstance(error, HttpError):
        status, code, facts = error.status, error.code, error.facts
    else:
        status = 503 if isinstance(error, UnavailableError) else 400
        code, facts = error.slug, {}
    service.metrics.refused.labels(code).inc()
    said = {"code": code, "message": str(error), "hint": error.hint, **facts}
    document = {"format": "tally.error/1", "ok": False, "error": said}
    headers = {"Retry-After": "1"} if status in {429, 503} else {}
    return JSONResponse(document, status, headers)


def _finish(
    service: Service, request: Request, path: str, response: Response, started: float
) -> Response:
    taken = time.monotonic() - started
    response.headers[TIME_HEADER] = str(service.clerk.now)
    response.headers["X-Content-Type-Options"] = "nosniff"
    if response.status_code in BODY_IS_LEFT or _has_two_lengths(request):
        response.headers["Connection"] = "close"  # what follows would be read as a request
    service.metrics.requests.labels(path, str(response.status_code)).inc()
    service.metrics.seconds.labels(path).observe(taken)
    LOG.debug(
        "%s %a: %d",
        request.method,
        target_of(request)[:300],
        response.status_code,
        extra={"address": _address(request), "seconds": round(taken, 4)},
    )
    return response


def _check_length(request: Request) -> None:
    if _has_two_lengths(request):
        msg = "a request has a length or comes in chunks, not both"
        raise HttpError(400, "bad-input", msg)


def _has_two_lengths(request: Request) -> bool:
    """Whether something in front of the node might see another end of the body than the node."""
    return "transfer-encoding" in request.headers and "content-length" in request.headers


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host

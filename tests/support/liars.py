"""A node whose answers a test can bend: an honest ledger in memory, behind a socket."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from tallystick.codec import decode, encode
from tallystick.consensus.client import NodeClient, Route, Signer
from tallystick.consensus.proofs import read_row
from tallystick.consensus.remote import Remote
from tallystick.consensus.solo import Solo, SoloSeal
from tallystick.consensus.wire import (
    HEIGHT_HEADER,
    TIME_HEADER,
    Acknowledgement,
    Held,
    SealedHeader,
    Sighting,
    frame,
    sign_acknowledgement,
    sign_held,
)
from tallystick.consensus.witness import LyingNodeError, Witness
from tallystick.crypto import keys
from tallystick.crypto.hashes import CHUNK_BYTES, blob_root, chunk_hashes
from tallystick.errors import RejectedError, TallyError
from tallystick.federation.founding import trial_network
from tallystick.ledger.block import header_hash
from tallystick.ledger.contracts import accounts
from tallystick.ledger.messages import Transfer
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction
from tallystick.storage.sqlite import MEMORY, LedgerStore

NAMES = ("east", "north", "south")
NET = trial_network(NAMES, 7)
GENESIS = NET.genesis
RING = NET.keyrings[GENESIS.sealer]
SECRET = RING.validator[0]
PUBLIC = keys.public_of(SECRET)
SOLO_DOMAIN = b"solo-seal/1"
OTHER = keys.secret_from_seed(b"nobody")


class Ledger:
    """An honest ledger in memory, sealed by hand."""

    def __init__(self, genesis=GENESIS, secret=SECRET):
        self.engine = Solo(LedgerStore(MEMORY), genesis, secret)
        self.lock = threading.RLock()

    def pay(self, micros=1, sender="north", nonce=None):
        """Return a signed payment that the ledger takes now."""
        key = 0
        state = self.engine.state
        nonce = last_nonce(state, sender, key) + 1 if nonce is None else nonce
        until = now() + GENESIS.limits.validity // 2
        body = Body(sender, key, nonce, until, Transfer("south", micros))
        secret = NET.keyrings[sender].owner[0]
        return sign_transaction(body, secret, self.engine.kernel.chain)

    def take(self, wire, at=None):
        """Take a transaction now; return its hash."""
        (found,) = self.engine.admit([wire], now() if at is None else at)
        if isinstance(found, TallyError):
            raise found
        return found

    def grow(self, count=1, micros=1):
        """Seal blocks with a payment each."""
        with self.lock:
            for _ in range(count):
                self.take(self.pay(micros).wire)
                self.engine.seal(max(self.engine.head.time, now()))
        return self.blocks()

    def blocks(self, start=1):
        with self.lock:
            return list(self.engine.blocks(start))

    def fork(self, height):
        """Return another ledger of the same sealer, the same up to a height."""
        other = Ledger(self.engine.genesis)
        for block in self.blocks():
            if block.header.height > height:
                break
            for wire in block.transactions:
                other.take(wire, block.header.time)
            other.engine.seal(block.header.time)
            assert other.engine.head == block.header
        return other

    def close(self):
        self.engine.close()


def now():
    return time.time_ns() // 1_000_000


def seal(header, secret=SECRET, key=2):
    """Return what seals a header."""
    return encode(SoloSeal(key, keys.sign(secret, SOLO_DOMAIN, header_hash(header))))


def resealed(block, secret=SECRET, **fields):
    """Return a block whose header says something else, sealed again."""
    header = msgspec.structs.replace(block.header, **fields)
    return msgspec.structs.replace(block, header=header, evidence=seal(header, secret))


def framed(*blocks):
    return b"".join(frame(encode(block)) for block in blocks)


def is_sealed(text):
    """Return the header of a sealed header in hex, whose seal a third party has checked."""
    seen = decode(SealedHeader, bytes.fromhex(text))
    signature = decode(SoloSeal, seen.evidence).signature
    keys.verify(PUBLIC, SOLO_DOMAIN, header_hash(seen.header), signature)
    return seen.header


@dataclass(frozen=True)
class Asked:
    """A request as the node got it."""

    method: str
    path: str
    query: dict
    headers: dict
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What a node answers; ``raw`` goes onto the socket as it is, ``then`` is called after."""

    status: int = 200
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    raw: bytes | None = None
    then: object = None


class _Handler(BaseHTTPRequestHandler):
    """Gives the honest reply to the node, and sends what it makes of it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        with suppress(ConnectionError, TimeoutError):
            super().handle_one_request()

    def finish(self):
        with suppress(ConnectionError, ValueError):
            super().finish()

    def answer(self):
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        asked = Asked(
            self.command,
            parts.path,
            {name: found[-1] for name, found in parse_qs(parts.query).items()},
            {name.lower(): value for name, value in self.headers.items()},
            body,
        )
        self.server.node.asked.append(asked)
        reply = self.server.node.bend(asked, self.server.node.honest(asked))
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            if reply.then:
                reply.then(self.wfile)
            self.close_connection = True
            return
        headers = {"content-length": str(len(reply.body)), **reply.headers}
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        if reply.then:
            reply.then(self.wfile)
            self.close_connection = True
        if len(reply.body) != int(headers["content-length"]):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - as the base class wants it


class Liar:
    """A node on a thread; ``bend`` gets each request and the honest reply, and returns another."""

    def __init__(self, ledger, *, secret=SECRET):
        self.ledger, self.secret = ledger, secret
        self.bend = lambda asked, honest: honest
        self.asked = []
        self.blobs = {}  # whole ones, by task and root
        self.parts = {}
        self.sightings = {}
        self.takes = True  # whether transactions are sealed at once
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.node = self
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, path):
        return sum(path in asked.path for asked in self.asked)

    def honest(self, asked):  # noqa: PLR0911 - one a route
        """Return what an honest node answers."""
        parts = asked.path.strip("/").split("/")
        with self.ledger.lock:
            match (asked.method, *parts):
                case ("GET", "v1", "genesis"):
                    return self._stamped(Reply(body=encode(self.ledger.engine.genesis)))
                case ("GET", "v1", "blocks"):
                    count = int(asked.query.get("count", 10_000))
                    found = self.ledger.blocks(int(asked.query["from"]))[:count]
                    return self._stamped(Reply(body=framed(*found)))
                case ("GET", "v1", "state", key):
                    return self._stamped(self._state(bytes.fromhex(key)))
                case ("POST", "v1", "transactions"):
                    return self._stamped(self._submit(asked.body))
                case ("POST", "v1", "sightings"):
                    sighting = decode(Sighting, asked.body)
                    self.sightings[sighting.member] = encode(sighting).hex()
                    return self._stamped(said(sightings=list(self.sightings.values())))
                case (_, "v1", "tasks", task, "blobs", root, *rest):
                    return self._stamped(self._blob(asked, (task, root), rest))
        return refused(404, "no-such-route")

    def _stamped(self, reply):
        headers = {
            HEIGHT_HEADER: str(self.ledger.engine.head.height),
            TIME_HEADER: str(now()),
        }
        return replace(reply, headers={**headers, **reply.headers})

    def _state(self, key):
        engine = self.ledger.engine
        row, proof = engine.state.prove_key(key)
        evidence = self.ledger.blocks(engine.head.height)[0].evidence if engine.head.height else b""
        return said(
            row=None if row is None else row.hex(),
            proof=encode(proof).hex(),
            header=encode(engine.head).hex(),
            evidence=evidence.hex(),
        )

    def _submit(self, wire):
        engine = self.ledger.engine
        try:
            tx_hash = self.ledger.take(wire)
        except RejectedError as error:
            return refused(422, error.slug)
        given = Acknowledgement(tx_hash, engine.head.height, now())
        signature = sign_acknowledgement(given, self.secret, engine.kernel.chain)
        if self.takes:
            engine.seal(now())
        return replace(
            said(acknowledgement=encode(given).hex(), signature=signature.hex()), status=202
        )

    def _blob(self, asked, name, rest):
        data = self.blobs.get(name)
        if asked.method == "PUT":
            return self._put(asked, name, data)
        if data is None:
            return refused(404, "no-such-blob")
        if rest == ["chunks"]:
            return Reply(body=b"".join(chunk_hashes(data)))
        if asked.method == "HEAD":
            return Reply(headers={"content-length": str(len(data))})
        start = int(asked.headers.get("range", "bytes=0-")[6:].split("-")[0])
        return Reply(206 if start else 200, data[start:])

    def _put(self, asked, name, data):
        if "offset" not in asked.query:  # the hashes of its chunks, which it takes on trust
            return said(offset=0, complete=False)
        size, offset = int(asked.query["size"]), int(asked.query["offset"])
        if data is None:
            part = self.parts.setdefault(name, bytearray())
            if offset != len(part):
                return refused(409, "other-offset", offset=len(part))
            part += asked.body
            if len(part) < size:
                return said(offset=len(part))
            assert blob_root(bytes(part)).hex() == name[1]
            self.blobs[name] = bytes(self.parts.pop(name))
        held = Held(bytes.fromhex(name[0]), bytes.fromhex(name[1]), size, now())
        signature = sign_held(held, self.secret, self.ledger.engine.kernel.chain)
        return said(offset=size, held=encode(held).hex(), signature=signature.hex())

    def put(self, task, data):
        """Let the node have a blob; return its root."""
        root = blob_root(data)
        self.blobs[task.hex(), root.hex()] = data
        return root


def said(**facts):
    return Reply(body=msgspec.json.encode({"ok": True, **facts}))


def refused(status, code, **facts):
    error = {"code": code, "message": code, **facts}
    document = {"format": "tally.error/1", "ok": False, "error": error}
    return Reply(status, msgspec.json.encode(document))


class Follower:
    """A member that follows nodes, and what it holds."""

    def __init__(self, folder, *urls, name="south", store=None):
        self.folder, self.name = folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self.client = NodeClient(Route(urls), self._signer)
        self.witness = Witness(folder / "evidence")
        path = MEMORY if store is None else store
        self.engine = Remote(LedgerStore(path), self.client, GENESIS, self.witness)

    def _signer(self):
        secret = NET.keyrings[self.name].worker[0]
        return Signer(self.engine.kernel.chain, self.name, 1, secret)

    def standing(self):
        """Return what must not change when a node lies."""
        return self.engine.head, self.engine.state.root, len(list(self.engine.blocks(1)))

    def evidence(self):
        """Return what was written down."""
        found = sorted((self.folder / "evidence").glob("*.json"))
        return [msgspec.json.decode(path.read_bytes()) for path in found]

    def close(self):
        self.client.close()
        self.engine.close()


def bends(path, change):
    """Return how a node bends its answers to one path."""
    return lambda asked, honest: change(asked, honest) if path in asked.path else honest


def shows(*blocks):
    """Return how a node answers with these blocks whatever it is asked."""
    height = str(max(block.header.height for block in blocks))
    return bends(
        "/v1/blocks",
        lambda _, honest: replace(
            honest, body=framed(*blocks), headers={**honest.headers, HEIGHT_HEADER: height}
        ),
    )


def lie_of(member, act=None):
    """Return the one lie a member names, having accepted nothing."""
    before = member.standing()
    with pytest.raises(LyingNodeError) as caught:
        (act or member.engine.follow)()

    assert member.standing() == before
    assert caught.value.evidence.exists()
    (evidence,) = [
        each
        for each in member.evidence()
        if (each["lie"], each["node"]) == (caught.value.kind, caught.value.url)
    ]
    return caught.value, evidence


def row_of(member, name="south", publics=(PUBLIC,)):
    return read_row(
        member.client, GENESIS, publics, accounts.BALANCES, name, witness=member.witness
    )


__all__ = [
    "CHUNK_BYTES",
    "GENESIS",
    "NET",
    "OTHER",
    "PUBLIC",
    "SECRET",
    "Asked",
    "Follower",
    "Ledger",
    "Liar",
    "Reply",
    "bends",
    "framed",
    "is_sealed",
    "lie_of",
    "refused",
    "resealed",
    "row_of",
    "said",
    "seal",
    "shows",
]

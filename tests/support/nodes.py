"""A real node in this process, asked without a socket: whatever bytes a test likes reach it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from urllib.parse import unquote

from support.sites import terms_of
from tallystick.consensus.client import Signer
from tallystick.errors import TallyError
from tallystick.federation.founding import trial_network
from tallystick.federation.network_folder import plan_settings, write_network
from tallystick.federation.settings import NodeSettings
from tallystick.ledger.messages import ProposeTask, Transfer
from tallystick.ledger.terms import task_id
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction
from tallystick.node.home import init_home, open_home
from tallystick.node.http import make_app

NAMES = ("east", "north", "south", "west")
KEYS = {"owner": 0, "worker": 1, "validator": 2}


def now():
    return time.time_ns() // 1_000_000


def make_home(folder, limits=None, **settings):
    """Make a trial network and its node's folder; return the network."""
    net = trial_network(NAMES, 7, **({} if limits is None else {"limits": limits}))
    planned = plan_settings(NAMES, {})
    given = {"requests_per_second": 1_000_000, "port": 0, **settings}
    planned = {name: replace(each, **given) for name, each in planned.items()}
    write_network(folder / "net", net.genesis, planned, net.keyrings)
    init_home(folder / "node", folder / "net", folder / "net" / net.genesis.sealer)
    return net


@dataclass(frozen=True)
class Said:
    """What came back."""

    status: int
    headers: dict
    body: bytes

    @property
    def document(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.document["error"]["code"]


class Node:
    """A node's whole application, and the keys of everybody."""

    def __init__(self, folder, limits=None, **settings):
        self.folder = folder
        self.net = make_home(folder, limits, **settings)
        self.home = open_home(folder / "node")
        self.service = self.home.service
        self.clerk = self.service.clerk
        self.loop = asyncio.new_event_loop()
        self.service.bell.bind(self.loop)
        self.app = make_app(self.service)
        self.clerk.start()
        assert isinstance(self.home.settings, NodeSettings)

    def close(self):
        self.home.opened.close()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def secret(self, name, role="worker"):
        ring = self.net.keyrings[name]
        return getattr(ring, role)[0]

    def headers(self, method, target, body=b"", *, who="south", role="worker", **wrong):
        """Return the headers that sign a request; every part of it can be wrong."""
        signer = Signer(
            wrong.get("genesis", self.service.chain),
            who,
            wrong.get("key", KEYS[role]),
            wrong.get("secret") or self.secret(who, role),
        )
        return signer.sign(method, target, body, wrong.get("at", now()))

    def ask(self, method, target, body=b"", *, signed=True, headers=None, pieces=None, **signing):
        """Return the answer to a request, signed for what it is unless told otherwise."""
        given = self.headers(method, target, body, **signing) if signed else {}
        given |= headers or {}
        return self.loop.run_until_complete(
            self.call(method, target.encode(), given, [body] if pieces is None else pieces)
        )

    async def call(self, method, target, headers, pieces=(b"",), until=None):
        """Call the application as a server does; ``until`` ends it early, given what came."""
        path, _, query = target.partition(b"?")
        listed = headers.items() if isinstance(headers, dict) else headers
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 5),
            "scheme": "http",
            "method": method,
            "root_path": "",
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "headers": [(_raw(name).lower(), _raw(value)) for name, value in listed],
        }
        waiting = list(pieces)
        status, head, body = 0, {}, bytearray()
        gone = asyncio.Event()

        async def receive():
            if waiting:
                piece = waiting.pop(0)
                if piece is None:
                    return {"type": "http.disconnect"}
                return {"type": "http.request", "body": piece, "more_body": bool(waiting)}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            nonlocal status, head
            if message["type"] == "http.response.start":
                status = message["status"]
                head = {k.decode(): v.decode("latin-1") for k, v in message["headers"]}
            else:
                body.extend(message.get("body", b""))
                if until is not None and until(bytes(body)):
                    gone.set()

        await self.app(scope, receive, send)
        return Said(status, head, bytes(body))

    def tx(self, who="north", micros=1, *, message=None, nonce=None):
        """Return a signed transaction of an owner."""
        nonce = last_nonce(self.service.state, who, 0) + 1 if nonce is None else nonce
        until = now() + self.net.genesis.limits.validity // 2
        to = "south" if who != "south" else "north"
        body = Body(who, 0, nonce, until, message or Transfer(to, micros))
        return sign_transaction(body, self.secret(who, "owner"), self.service.chain)

    def seal(self, *transactions):
        """Hand transactions to the clerk; return when they are in blocks."""
        for tx in transactions:
            self.clerk.submit(tx.wire).result(10)
        for tx in transactions:
            until(lambda tx=tx: self.clerk.outcome(tx.hash) is not None)
            outcome = self.clerk.outcome(tx.hash)
            if isinstance(outcome, TallyError):
                raise outcome
        return self.clerk.engine.head.height

    def propose(self, name, names=NAMES[1:3]):
        """Propose a task; return its id."""
        terms = terms_of(self.folder, name=name, names=tuple(names), owner=names[0])
        self.seal(self.tx(names[0], message=ProposeTask(terms)))
        return task_id(terms)


def until(done, seconds=10.0):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.005)


def _raw(text):
    return text if isinstance(text, bytes) else str(text).encode("latin-1")

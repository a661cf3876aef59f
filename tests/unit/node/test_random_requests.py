"""Ten thousand requests without sense, many of them nearly right: no crash, no leak, no 500."""

import asyncio
import gc
import json
import logging
import random
import tracemalloc
from collections import Counter

import pytest
from support.nodes import NAMES, now

from tallystick.codec import encode
from tallystick.consensus.wire import SealedHeader, Sighting
from tallystick.crypto import keys
from tallystick.crypto.hashes import blob_root
from tallystick.ledger.transaction import DOMAIN, SignedTransaction
from tallystick.node import ledger_routes

WARM = 2_000
LEAK_BYTES = 3 << 20
METHODS = ["GET", "GET", "GET", "PUT", "PUT", "POST", "POST", "HEAD", "DELETE", "OPTIONS", "X\xff"]
PATHS = ["status", "genesis", "tasks", "transactions", "sightings", "blocks", "events", "state"]
PATHS += ["receipts", "openapi.json", "", "..", "%2e%2e", "\x00", "\xff"]
TEXTS = ["", "0", "1", "-1", "9" * 25, "nan", "inf", "\xb2", "%00", "a" * 300, "1e9", "\n", "é"]
NAMES_OF_HEADERS = ["range", "last-event-id", "content-length", "content-type", "host", "cookie"]
NAMES_OF_HEADERS += ["tally-request", "tally-signature", "accept-encoding", "expect", "\xff", ""]


class Chaos:
    """Requests from a seed."""

    def __init__(self, node, task, seed):
        self.node, self.task, self.dice = node, task.hex(), random.Random(seed)
        self.data = self.dice.randbytes(5000)
        self.root = blob_root(self.data).hex()
        self.blob = f"/v1/tasks/{self.task}/blobs/{self.root}"
        _, _, header = node.clerk.prove(b"\x02")
        evidence = node.clerk.evidence(header.height)
        self.sighting = encode(Sighting("south", SealedHeader(header, evidence)))

    def request(self):
        """Return method, target, headers and body."""
        kind = self.dice.random()
        if kind < 0.3:
            return self.noise()
        method, target, body = self.valid()
        if kind < 0.45:
            return method, target, self.sign(method, target, body), body
        if kind < 0.6:  # signed, and then something is changed
            signed = self.sign(method, target, body)
            return self.spoil(method, target, signed, body)
        if kind < 0.85:  # spoiled, and then signed as it is
            method, target, _, body = self.spoil(method, target, {}, body)
            try:
                return method, target, self.sign(method[:8], target[:2000], body), body
            except UnicodeError:
                return method, target, {}, body
        return method, target, self.headers(), body

    def valid(self):
        tx = self.node.tx(self.dice.choice(NAMES[1:]), self.dice.randrange(1, 9))
        return self.dice.choice(
            [
                ("GET", "/v1/status", b""),
                ("GET", "/v1/tasks", b""),
                ("GET", "/metrics", b""),
                ("POST", "/v1/transactions", tx.wire),
                ("POST", "/v1/transactions", self.nonsense_tx()),
                ("GET", f"/v1/receipts/{tx.hash.hex()}", b""),
                ("GET", f"/v1/blocks?from={self.dice.randrange(1, 9)}&count=3", b""),
                ("GET", f"/v1/state/{self.dice.randbytes(9).hex()}", b""),
                ("POST", "/v1/sightings", self.sighting),
                ("PUT", f"{self.blob}?offset=0&size=5000", self.data),
                ("GET", self.blob, b""),
                ("HEAD", self.blob, b""),
                ("GET", f"{self.blob}/chunks", b""),
                ("HEAD", "/v1/events", b""),
            ]
        )

    def nonsense_tx(self):
        """Return a transaction whose envelope is signed rightly and whose body was spoiled."""
        tx = self.node.tx(self.dice.choice(NAMES[1:]))
        body = self.flip(tx.raw_body)
        secret = self.node.secret(tx.body.sender, "owner")
        signature = keys.sign(secret, DOMAIN, self.node.service.chain + body)
        return encode(SignedTransaction(body, signature))

    def noise(self):
        parts = [self.dice.choice(PATHS) for _ in range(self.dice.randrange(5))]
        if self.dice.random() < 0.5:
            parts.append(self.dice.randbytes(self.dice.choice([1, 32, 32, 200])).hex())
        target = "/" + "/".join(["v1", *parts])
        while self.dice.random() < 0.4:
            mark = "&" if "?" in target else "?"
            name = self.dice.choice(["from", "count", "wait", "offset", "size", "x", ""])
            target += f"{mark}{name}={self.dice.choice(TEXTS)}"
        if "wait=" in target:
            target = target.replace("wait=inf", "wait=0").replace("wait=1", "wait=0")
            target = target.replace("wait=9", "wait=0.")
        body = self.dice.randbytes(self.dice.choice([0, 0, 1, 100, 3000]))
        return self.dice.choice(METHODS), target, self.headers(), body

    def headers(self):
        count = self.dice.choice([0, 0, 1, 3, 40])
        names = [self.dice.choice(NAMES_OF_HEADERS) for _ in range(count)]
        texts = [self.dice.choice([*TEXTS, "bytes=0-", "bytes=9-1", "AAAA"]) for _ in names]
        return dict(zip(names, texts, strict=True))

    def sign(self, method, target, body):
        who = self.dice.choice(["south", "north", "west", "east"])
        role = self.dice.choice(["worker", "owner", "validator", "worker"])
        return self.node.headers(method, target, body, who=who, role=role)

    def spoil(self, method, target, headers, body):
        what = self.dice.randrange(5)
        if what == 0:
            method = self.dice.choice(METHODS)
        elif what == 1:
            at = self.dice.randrange(len(target))
            target = target[:at] + chr(self.dice.randrange(256)) + target[at + 1 :]
        elif what == 2:
            body = self.flip(body)
        elif what == 3:
            target += self.dice.choice(["?", "&", "/", "#", "%", "?from=2", "/../x", "\x00"])
        else:
            headers = {**headers, **self.headers()}
        return method, target, headers, body

    def flip(self, data):
        found = bytearray(data or b"x")
        for _ in range(self.dice.randrange(1, 4)):
            what = self.dice.random()
            at = self.dice.randrange(len(found)) if found else 0
            if what < 0.6 and found:
                found[at] = self.dice.randrange(256)
            elif what < 0.8:
                found[at:at] = self.dice.randbytes(self.dice.randrange(1, 9))
            else:
                del found[at:]
        return bytes(found)


def check(said, asked):
    """Say that an answer is as promised."""
    assert 200 <= said.status < 300 or 400 <= said.status < 500 or said.status == 503, (said, asked)
    if said.status >= 400:
        document = json.loads(said.body)
        assert document["format"] == "tally.error/1"
        assert document["error"]["code"]
    assert said.headers["tally-time"].isdigit()


async def play(node, chaos, count, counts):
    for _ in range(count):
        method, target, headers, body = chaos.request()
        if method == "GET" and "events" in target:
            continue  # a stream that goes on
        pieces = [body] if chaos.dice.random() < 0.9 else [body[:7], body[7:], None]
        raw = target.encode("latin-1")
        said = await asyncio.wait_for(node.call(method, raw, headers, pieces), 30)
        check(said, (method, target[:100]))
        counts[said.status] += 1


@pytest.fixture
def chaos(make_node, monkeypatch, caplog):
    monkeypatch.setattr(ledger_routes, "MOST_WAIT_SECONDS", 0.01)
    caplog.set_level(logging.WARNING)
    node = make_node(batch_milliseconds=5)
    task = node.propose("a")
    node.seal(node.tx())
    yield Chaos(node, task, seed=11)
    lines = node.ask("GET", "/metrics", signed=False).body.count(b"\n")

    assert node.clerk.works
    assert node.ask("POST", "/v1/transactions", node.tx().wire, at=now()).status in {202, 422}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert lines < 1000


def test_requests_without_sense_are_answered_with_sense(chaos):
    counts = Counter()
    chaos.node.loop.run_until_complete(play(chaos.node, chaos, 1500, counts))

    assert sum(counts.values()) > 1400
    assert {200, 202, 206, 400, 401, 404, 405, 422} - counts.keys() <= {206}
    assert counts[200] > 100


@pytest.mark.slow
def test_ten_thousand_requests_without_sense_leave_nothing_behind(chaos):
    counts = Counter()

    async def all_of_it():
        await play(chaos.node, chaos, WARM, counts)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await play(chaos.node, chaos, 10_000 - WARM, counts)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    try:
        grown = chaos.node.loop.run_until_complete(all_of_it())
    finally:
        tracemalloc.stop()

    assert grown < LEAK_BYTES

"""``python -m support.flood HOME GENESIS SECONDS URL...``: one member sends all it can.

A URL with a path is a CometBFT, which gets transactions behind its node's back. At the end it
prints how often each answer came.
"""

import http.client
import json
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from tallystick.consensus.client import Signer
from tallystick.consensus.wire import API
from tallystick.federation.key_file import load_keyring
from tallystick.ledger.genesis import genesis_hash, load_genesis
from tallystick.ledger.messages import Transfer
from tallystick.ledger.transaction import Body, sign_transaction

OWNER, BATCH = 0, 200


class Flood:
    """A member's owner key, and everything it is good for."""

    def __init__(self, home, genesis):
        self.keyring = load_keyring(home)
        self.secret = self.keyring.owner[0]
        self.genesis = load_genesis(genesis.read_bytes())
        self.chain = genesis_hash(self.genesis)
        self.payee = next(f.id for f in self.genesis.founders if f.id != self.keyring.name)
        self.nonce, self.lock = time.time_ns() // 1000, threading.Lock()
        self.answers = Counter()

    def sign(self):
        with self.lock:
            self.nonce += 1
            nonce = self.nonce
        until = time.time_ns() // 1_000_000 + self.genesis.limits.validity // 2
        body = Body(self.keyring.name, OWNER, nonce, until, Transfer(self.payee, 1))
        return sign_transaction(body, self.secret, self.chain).wire

    def by_node(self, connection):
        """Hand one to a node, as it wants it."""
        wire, target = self.sign(), f"{API}/transactions"
        signer = Signer(self.chain, self.keyring.name, OWNER, self.secret)
        headers = signer.sign("POST", target, wire, time.time_ns() // 1_000_000)
        connection.request("POST", target, wire, headers)
        answer = connection.getresponse()
        answer.read()
        self.answers[str(answer.status)] += 1

    def by_engine(self, connection):
        """Hand many to CometBFT, which is told to answer at once."""
        calls = [
            {
                "jsonrpc": "2.0",
                "id": number,
                "method": "broadcast_tx_async",
                "params": {"tx": b64encode(self.sign()).decode()},
            }
            for number in range(BATCH)
        ]
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/", json.dumps(calls), headers)
        said = json.loads(connection.getresponse().read())
        for each in said if isinstance(said, list) else [said]:
            self.answers["refused" if "error" in each else "taken"] += 1

    def go_on(self, url, end):
        parts = urlsplit(url)
        send = self.by_engine if parts.path else self.by_node
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        while time.monotonic() < end:
            try:
                send(connection)
            except (OSError, http.client.HTTPException):
                connection.close()
                self.answers["broken off"] += 1


def main():
    home, genesis, seconds, *urls = sys.argv[1:]
    flood, end = Flood(Path(home), Path(genesis)), time.monotonic() + float(seconds)
    threads = [threading.Thread(target=flood.go_on, args=(url, end)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(flood.answers) + "\n")


if __name__ == "__main__":
    main()

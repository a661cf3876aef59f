"""One act on a network, or one look at it: follow the ledger, say something, see it in a block.

A verb has no member that runs. It keeps the ledger it has checked in a file of its own beside that
member's, so that both may work at once, and waits until what it said is final or refused.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.consensus.client import NodeClient, Route, Signer
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.meeting import fetch_genesis
from tallystick.consensus.remote import Remote
from tallystick.consensus.witness import Witness
from tallystick.errors import ConfigError, RejectedError, UnavailableError
from tallystick.federation.key_file import load_keyring
from tallystick.federation.network_folder import genesis_line
from tallystick.federation.stores import FolderStore
from tallystick.federation.transfer import Transfers
from tallystick.ledger.genesis import genesis_hash, load_genesis
from tallystick.ledger.receipt import OK, Receipt
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction
from tallystick.provenance.anchors import parse_genesis
from tallystick.storage.sqlite import MEMORY, LedgerStore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from tallystick.federation.habits import Identity
    from tallystick.federation.keyring import Keyring
    from tallystick.ledger.genesis import Role
    from tallystick.ledger.messages import Message
    from tallystick.ledger.state import State
    from tallystick.ledger.transaction import Transaction
    from tallystick.storage.blobs import FileBlobs

__all__ = ["MEMBER", "Acting"]

MEMBER = "member"  # the folder, in a key folder, of what belongs to the member besides its key
LEDGER, EVIDENCE = "tool.db", "evidence"
FINAL_SECONDS = 30.0  # until a block should have what was sent
POLL_SECONDS = 5.0
RETRY_SECONDS = 0.5


@dataclass
class Acting:
    """A member, or nobody, at a network; see `open`.

    Attributes
    ----------
    engine
        The ledger, executed here.
    keyring
        Whose acts these are; `None` for a reader.
    role
        Whose key signs.
    trusted
        The line ``CHAIN+HEX`` of a genesis that was taken on the node's word; empty if it was
        given or is remembered.
    witness
        Writes down what a node said that was not true.
    """

    engine: Remote
    client: NodeClient
    keyring: Keyring | None
    role: Role
    trusted: str
    witness: Witness

    @classmethod
    @contextmanager
    def open(
        cls,
        urls: Sequence[str],
        *,
        key_folder: Path | None = None,
        ca: Path | None = None,
        proxy: str | None = None,
        genesis: str = "",
        role: Role = "owner",
    ) -> Generator[Acting]:
        """Open the ledger and follow it to its head; close everything at the end.

        Parameters
        ----------
        urls
            The nodes' addresses, the preferred one first.
        key_folder
            Of the member that acts; without one, nothing can be said and nothing is kept.
        ca, proxy
            See `Route`.
        genesis
            What the ledger has to start from: its hash, ``CHAIN+HEX``, or a file. By default what
            is remembered, or else what the node serves.

        Raises
        ------
        ConfigError
            An address, the key folder or the genesis is none.
        VerificationError
            The node serves another ledger, or lies.
        UnavailableError
            No node answers, or the same verb is at work with this key folder.
        """
        wanted = parse_genesis(genesis).genesis if genesis else b""
        keyring = None if key_folder is None else load_keyring(key_folder)
        folder = None if key_folder is None else key_folder / MEMBER
        if folder is not None:
            folder.mkdir(mode=0o700, exist_ok=True)
        opened: list[Acting] = []

        def sign() -> Signer:
            who = opened[0].identity
            return Signer(opened[0].engine.kernel.chain, who.member, who.key, who.secret)

        client = NodeClient(Route(tuple(urls), ca, proxy), sign)
        store = None
        try:
            store = LedgerStore(MEMORY if folder is None else folder / LEDGER, durable=False)
            known = store.fact("genesis")
            remembered = genesis_hash(load_genesis(known)) if known else b""
            found = fetch_genesis(client, wanted or remembered)
            witness = Witness(None if folder is None else folder / EVIDENCE)
            name = "" if keyring is None else keyring.name
            engine = Remote(store, client, found, witness)
            engine.member = name
            trusted = "" if wanted or remembered else genesis_line(found)
            opened.append(cls(engine, client, keyring, role, trusted, witness))
            engine.catch_up()
            yield opened[0]
        finally:
            client.close()
            if store is not None:
                store.close()

    @property
    def state(self) -> State:
        """The ledger's newest state known here."""
        return self.engine.state

    @property
    def name(self) -> str:
        """Who acts.

        Raises
        ------
        ConfigError
            Nobody: a reader has no key.
        """
        return self._ring.name

    @property
    def identity(self) -> Identity:
        """Who acts, by the key that is valid now; raises as `Keyring.identity_in`."""
        return self._ring.identity_in(self.state, self.role)

    def transfers(self, blobs: FileBlobs) -> Transfers:
        """Return what moves blobs between a store and the nodes."""
        return Transfers(self.client, FolderStore(blobs), self.witness)

    def check_identity(self) -> None:
        """Refuse who may not act, before anything is made for the act; raises as `identity`."""
        self._ring.identity_in(self.state, self.role)

    def act(self, message: Message, seconds: float = FINAL_SECONDS) -> Receipt:
        """Submit a message and return its receipt once a block has it.

        Raises
        ------
        RejectedError
            The ledger refuses it; nothing changed.
        ConfigError
            The member has no valid key whose secret is here.
        UnavailableError
            It is in no block after so many seconds; it may still come into one.
        """
        until = time.monotonic() + seconds
        tx = self._submit(message, until)
        while True:
            found = self.engine.outcome(tx.hash)
            if isinstance(found, RejectedError):
                raise found
            if found is not None:
                return _done(found)
            left = until - time.monotonic()
            if left <= 0:
                msg = f"transaction {tx.hash.hex()[:12]} is in no block after {seconds:g} seconds"
                raise UnavailableError(msg, hint="see whether it came into one, then try again")
            self.engine.follow(min(POLL_SECONDS, left))

    def wait(self, is_done: Callable[[], bool], seconds: float) -> bool:
        """Follow the ledger until something is so; return whether it is."""
        until = time.monotonic() + seconds
        while not is_done():
            left = until - time.monotonic()
            if left <= 0:
                return False
            self.engine.follow(min(POLL_SECONDS, left))
        return True

    def _submit(self, message: Message, until: float) -> Transaction:
        """Hand a message in, signed anew whenever the node cannot take it yet."""
        while True:
            tx = self._sign(message)
            refused = self.engine.foresee(tx.wire)
            if refused is not None:
                raise refused
            try:
                self.engine.submit(tx.wire)
            except RetryLaterError:
                if time.monotonic() >= until:
                    raise
                time.sleep(RETRY_SECONDS)
                self.engine.catch_up()
            else:
                return tx

    def _sign(self, message: Message) -> Transaction:
        who = self.identity
        body = Body(
            sender=who.member,
            key=who.key,
            nonce=last_nonce(self.state, who.member, who.key) + 1,
            valid_until=self.engine.now + self.engine.genesis.limits.validity // 2,
            message=message,
        )
        return sign_transaction(body, who.secret, self.engine.kernel.chain)

    @property
    def _ring(self) -> Keyring:
        if self.keyring is None:
            msg = "nobody acts here: there is no key"
            raise ConfigError(msg, hint="name a key folder with --key")
        return self.keyring


def _done(receipt: Receipt) -> Receipt:
    """Return a receipt of something done; a block may hold what was refused, too."""
    if receipt.code != OK:
        msg = f"the ledger refused it with code {receipt.code}"
        raise RejectedError(msg, hint="docs/codes.md says what the code means")
    return receipt

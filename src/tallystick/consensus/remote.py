"""A node's ledger as an engine, believed in nothing.

Every block is executed again here: its seal, its place after the one before, each root it claims.
So what a member acts on is proven by what was signed, and what it holds is enough to write a bundle
without asking anybody. A block that does not check out is refused and its node named
(`tallystick.consensus.witness`); blocks are kept in a file, so an absence costs what was missed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from tallystick.codec import decode, encode
from tallystick.consensus.awaited import Awaited, word_in
from tallystick.consensus.client import RefusedError, number_of
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.finality import check_final, check_twin, orderers
from tallystick.consensus.kept import KeptLedger
from tallystick.consensus.wire import (
    API,
    HEIGHT_HEADER,
    TIME_HEADER,
    SealedHeader,
    Sighting,
    blocks_in,
)
from tallystick.consensus.witness import LyingNodeError
from tallystick.errors import (
    ConfigError,
    DecodeError,
    InvariantError,
    RejectedError,
    UnavailableError,
    VerificationError,
)
from tallystick.ledger.block import header_hash
from tallystick.ledger.collect.installed import needing_rules
from tallystick.ledger.genesis import Genesis

if TYPE_CHECKING:
    from tallystick.consensus.client import Answer, NodeClient
    from tallystick.consensus.witness import Witness
    from tallystick.ledger.block import Block
    from tallystick.ledger.receipt import Receipt
    from tallystick.ledger.transaction import Transaction
    from tallystick.storage.sqlite import LedgerStore

__all__ = ["Asked", "Remote"]

LOG = logging.getLogger(__name__)
SIGHTING_SECONDS = 10.0  # between two looks at what others were shown


@dataclass(frozen=True, slots=True)
class Asked:
    """A node's answer to whether there are new blocks, and what was known when it was asked."""

    answer: Answer
    height: int
    shown: int  # the highest block this node had shown


class Remote(KeptLedger):
    """The ledger that nodes serve; an `Engine` for members and tools.

    Parameters
    ----------
    store
        Where the checked blocks are kept; it may be one that an earlier process filled.
    client
        How nodes are asked.
    genesis
        Where the ledger has to start: known from elsewhere than the nodes, or kept by the store.
    witness
        Writes down what a node said that was not true.

    Attributes
    ----------
    member
        Whose sightings are passed on to others; nobody's until it is set.

    Raises
    ------
    UnavailableError
        Another process uses the store, or its file is damaged.
    ConfigError
        The store started from another genesis.
    """

    def __init__(
        self,
        store: LedgerStore,
        client: NodeClient,
        genesis: Genesis | None,
        witness: Witness,
    ) -> None:
        """Open what is known so far; nothing is fetched before `follow`."""
        store.claim()
        self._client = client
        self._witness = witness
        self.member = ""
        super().__init__(store, genesis)
        self.check_rules()
        self._seal = b""  # of the head; empty at genesis
        for block in store.blocks(max(1, self._head.height)):
            self._seal = block.evidence
        self._awaited = Awaited(self.genesis, client, witness)
        self._shown: dict[str, int] = {}  # the highest block each node showed
        self._said = 0  # the newest block there is, as a node said last
        self._looked = 0.0
        self._skew = 0  # of the node's clock, in milliseconds

    @property
    def now(self) -> int:
        """See `Engine.now`; by the node's clock, which blocks go by, as it last said."""
        return max(self._head.time, time.time_ns() // 1_000_000 + self._skew)

    @property
    def behind(self) -> int:
        """How many blocks there are besides those here, as a node said last."""
        return max(0, self._said - self._head.height)

    def catch_up(self) -> int:
        """Follow to the head there was when this began; return how many blocks were new.

        Raises as `follow`.
        """
        found = self.follow()
        wanted = self._head.height + self.behind
        while self._head.height < wanted:
            found += self.follow()
        return found

    def follow(self, wait_seconds: float = 0.0) -> int:
        """Fetch the blocks that are new and execute them; return how many there were.

        Parameters
        ----------
        wait_seconds
            How long a node may wait for the next block before it answers that there is none.

        Raises
        ------
        UnavailableError
            No node answers.
        LyingNodeError
            What a node showed is not true. It is asked no more; nothing of it was accepted.
        """
        return self.take(self.ask(wait_seconds))

    def ask(self, wait_seconds: float = 0.0) -> Asked:
        """Return a node's answer to whether there are new blocks, for `take`; from any thread."""
        height, shown = self._head.height, dict(self._shown)
        target = f"{API}/blocks?from={height + 1}&wait={wait_seconds:g}"
        try:
            answer = self._client.ask("GET", target, wait_seconds=wait_seconds)
        except RefusedError as error:
            self._client.turn(self._client.url)
            msg = f"a node refuses to show its blocks: {error}"
            raise UnavailableError(msg) from error
        return Asked(answer, height, shown.get(answer.url, 0))

    def take(self, asked: Asked) -> int:
        """Execute the blocks of an answer; return how many there were. Raises as `follow`."""
        before, answer = self._head.height, asked.answer
        try:
            said = self._check_height(asked)
            for block in blocks_in(answer.content):
                self._take(answer.url, block)
            self._shown[answer.url] = max(
                self._shown.get(answer.url, 0), min(said, self._head.height)
            )
            clock = number_of(answer.headers.get(TIME_HEADER, ""))
            if clock > 0:
                self._skew = clock - time.time_ns() // 1_000_000
            self._compare_sightings()
        except DecodeError as error:
            self._client.turn(answer.url)
            msg = f"{answer.url} does not answer with blocks: {error}"
            raise UnavailableError(msg) from error
        except LyingNodeError as error:
            self._client.bar(error.url)
            raise
        return self._head.height - before

    def submit(self, wire: bytes) -> bytes:
        """See `Engine.submit`; the node's word that it took it is kept until it is in a block."""
        tx = self.kernel.check(self._state, wire, self.now)
        try:
            answer = self._client.ask("POST", f"{API}/transactions", wire, signed=True)
            word = word_in(answer.document(), tx.hash, self._state, self.genesis, self.kernel.chain)
        except RefusedError as error:
            # It checks out here, so the node is ahead of us, or lies: the next blocks tell.
            msg = f"the node refuses what is in order here: {error}"
            raise RetryLaterError(msg) from error
        except RetryLaterError:
            raise
        except UnavailableError as error:
            raise RetryLaterError(str(error), hint=error.hint) from error
        self._awaited.add(tx, answer.url, self._head.height, word)
        return tx.hash

    def foresee(self, wire: bytes) -> RejectedError | None:
        """Return why a transaction would be in no block after the head, `None` if it could be.

        Such a transaction brings about no block, so its sender would wait for an outcome in vain.

        Raises
        ------
        RejectedError
            Its envelope is refused.
        """
        return self._refusal_of(self.kernel.check(self._state, wire, self.now))

    def outcome(self, tx_hash: bytes) -> Receipt | RejectedError | None:
        """See `Engine.outcome`; whether it is refused is found out here, not asked."""
        found = self._store.receipt(tx_hash)
        if found is not None:
            self._awaited.forget(tx_hash)
            return found[1]
        sent = self._awaited.find(tx_hash)
        if sent is None or sent.height == self._head.height:
            return None
        refused = self._refusal_of(sent.tx)
        if refused is not None:
            self._awaited.forget(tx_hash)
            return refused
        self._awaited.check_dropped(sent, SealedHeader(self._head, self._seal))
        return None

    def _take(self, url: str, block: Block) -> None:
        """Execute a block after the head and keep it, or name the node."""
        header = block.header
        if header.chain != self.kernel.chain:
            msg = "its blocks are another ledger's"
            raise self._witness.name(url, "other-ledger", msg, block=encode(block))
        if header.height <= self._head.height:
            self._check_known(url, block)
            return
        self._check_final(url, block)
        if header.parent != header_hash(self._head):
            self._check_fork(url, block)
        try:
            with needing_rules():
                outcome = self.kernel.apply(self._state, self._head, block)
        except (RejectedError, InvariantError) as error:
            msg = f"block {header.height} claims what its transactions do not do: {error}"
            raise self._witness.name(
                url, "false-state", msg, block=encode(block), parent=encode(self._head)
            ) from error
        self._store.commit(outcome, block.evidence)
        self._state.commit(outcome.changes)
        self._head, self._seal = outcome.header, block.evidence

    def _check_final(self, url: str, block: Block) -> None:
        """See that a block is final and the next one."""
        height, expected = block.header.height, self._head.height + 1
        skips = height != expected
        if skips and self.genesis.engine != "solo":  # its evidence speaks of the block before
            self._leave_out(url)
        try:
            check_final(self.genesis, self._state, self._head, self._seal, block)
        except (DecodeError, VerificationError) as error:
            msg = f"block {height} is not sealed by {orderers(self.genesis)}: {error}"
            raise self._witness.name(url, "unsealed-block", msg, block=encode(block)) from error
        if skips:
            self._leave_out(url)

    def _leave_out(self, url: str) -> NoReturn:
        msg = f"{url} leaves out block {self._head.height + 1}"
        self._client.turn(url)
        raise UnavailableError(msg)

    def _check_height(self, asked: Asked) -> int:
        """Return what a node says its height is; name it when it showed more before."""
        url, height = asked.answer.url, asked.height
        said = number_of(asked.answer.headers.get(HEIGHT_HEADER, ""))
        if said < 0:
            self._client.turn(url)
            msg = f"{url} does not answer as a node does"
            raise UnavailableError(msg)
        seen = encode(SealedHeader(self._head, self._seal))
        if said < height and self.genesis.engine != "solo":
            self._said = said  # its node may have begun again: others agree on blocks without it
            self._client.turn(url)
            return said
        if said < asked.shown:
            msg = f"it says its newest block is {said}, and has shown block {asked.shown} before"
            facts = {"said": said, "shown": asked.shown, "seen": seen}
            raise self._witness.name(url, "old-head", msg, **facts)
        if said < height and len(self._client.urls) == 1:
            msg = f"it says its newest block is {said}; block {height} was sealed before"
            raise self._witness.name(url, "old-head", msg, said=said, seen=seen)
        self._said = said
        if said < height:  # perhaps it is only behind the others
            self._client.turn(url)
        return said

    def _check_known(self, url: str, block: Block) -> None:
        """See that a block of a known height is the known one."""
        known = next(self._store.blocks(block.header.height), None)
        if known is None or known.header == block.header:
            return
        self._check_twin(url, SealedHeader(block.header, block.evidence))
        msg = f"block {block.header.height} is another one than before, and not sealed"
        raise self._witness.name(url, "unsealed-block", msg, block=encode(block))

    def _check_fork(self, url: str, block: Block) -> None:
        """Raise what a sealed block means that comes after the head and names another parent."""
        height = self._head.height
        twin: Block | None = None
        if height:
            try:
                answer = self._client.ask("GET", f"{API}/blocks?from={height}&count=1", at=url)
                twin = next(blocks_in(answer.content), None)
            except (RefusedError, UnavailableError, DecodeError) as error:
                LOG.info("%s does not show what block %d follows: %s", url, height + 1, error)
        if twin is not None and twin.header.height == height:
            seen = SealedHeader(twin.header, twin.evidence)
            self._check_twin(url, seen, follower=encode(block))
        # Two seals all the same: of our head, and of a block whose parent is another one.
        raise self._witness.name(
            url,
            "forked-history",
            f"block {block.header.height} does not follow block {height}",
            one=encode(SealedHeader(self._head, self._seal)),
            other=encode(SealedHeader(block.header, block.evidence)),
            height=height,
        )

    def _check_twin(self, url: str, seen: SealedHeader, whose: str = "", **facts: object) -> None:
        """Name a sealer that signed another block than the one known here at a height."""
        height = seen.header.height
        known = next(self._store.blocks(height), None)
        if known is None or known.header.height != height or known.header == seen.header:
            return
        mine = SealedHeader(known.header, known.evidence)
        if seen.header.chain != self.kernel.chain:
            return  # whoever seals this ledger may seal others, too
        try:
            guilty = check_twin(self._state, self.genesis, mine, seen)
        except (DecodeError, VerificationError):
            return  # nobody's word but its bringer's
        shown = f", and showed it to '{whose}'" if whose else ""
        msg = f"{guilty} sealed two blocks {height}{shown}"
        facts |= {"one": encode(mine), "other": encode(seen), "height": height}
        raise self._witness.name(url, "forked-history", msg, **facts)

    def _compare_sightings(self) -> None:
        """Pass on the head, and see that nobody was shown another history."""
        now = time.monotonic()
        if not self.member or not self._head.height or now - self._looked < SIGHTING_SECONDS:
            return
        self._looked = now
        seen = encode(Sighting(self.member, SealedHeader(self._head, self._seal)))
        try:
            answer = self._client.ask("POST", f"{API}/sightings", seen, signed=True)
            found = answer.document().get("sightings")
        except (ConfigError, RefusedError, UnavailableError) as error:
            LOG.info("sightings were not compared: %s", error)
            return
        for text in found if isinstance(found, list) else ():  # pyright: ignore[reportUnknownVariableType]
            try:
                sighting = decode(Sighting, bytes.fromhex(str(text)))  # pyright: ignore[reportUnknownArgumentType]
            except (DecodeError, ValueError) as error:
                LOG.info("a sighting is none: %s", error)
                continue
            self._check_twin(answer.url, sighting.seen, sighting.member)

    def _refusal_of(self, tx: Transaction) -> RejectedError | None:
        """Return why no block can hold the transaction now, `None` if one could."""
        outcome = self.kernel.propose(self._state, self._head, self.now, [tx])
        return outcome.refusals.get(tx.hash)

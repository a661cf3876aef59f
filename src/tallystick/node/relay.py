"""Pass transactions on to CometBFT, and show the blocks that it made final.

A transaction is acknowledged once it survives power loss here, then handed to the mempool, and
handed over again while no block has it: a mempool is not kept. A block is shown once the signatures
of two thirds of the validators are written beside it.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from tallystick.codec import encode
from tallystick.consensus.cometbft.commits import LightBlock, check_commit, without_unverifiable
from tallystick.consensus.cometbft.rpc import validator_pages
from tallystick.consensus.cometbft.rpc_json import parse_commit, parse_validators, voters_in
from tallystick.consensus.cometbft.validators import (
    address_of,
    founding_validators,
    validators_hash,
)
from tallystick.consensus.engine import RetryLaterError
from tallystick.errors import DecodeError, UnavailableError, VerificationError
from tallystick.ledger.contracts import changes, members, validators
from tallystick.ledger.transaction import transaction_hash
from tallystick.node.reception import Reception

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from tallystick.consensus.cometbft.replica import Replica
    from tallystick.consensus.cometbft.rpc import CometRpc, RpcError
    from tallystick.consensus.cometbft.validators import Validators
    from tallystick.errors import RejectedError
    from tallystick.ledger.kernel import Outcome
    from tallystick.storage.sqlite import LedgerStore

__all__ = ["Relay"]

LOG = logging.getLogger(__name__)
AGAIN_SECONDS = 2.0  # until what no block has is handed over again
LEFT_OUT_BLOCKS = 8  # until what waits is looked at for whether a block can hold it at all
LOOK_SECONDS = 0.5  # between two looks for evidence while CometBFT is away
PEERS_SECONDS = 1.0  # what is known of peers is so old at most


class Relay(Reception):
    """Hands transactions over and shows blocks, for a node under CometBFT.

    Parameters
    ----------
    engine, reader
        As of `Reception`.
    make_rpc
        Connects to CometBFT's JSON-RPC; each thread has a connection of its own.
    member
        Whose node this is.
    quiet_seconds
        After how long without a block something is wrong.
    also
        Asked for what else the node's status says of the engine.
    """

    engine: Replica

    def __init__(
        self,
        engine: Replica,
        reader: LedgerStore,
        make_rpc: Callable[[], CometRpc],
        *,
        member: str,
        quiet_seconds: float,
        also: Callable[[], dict[str, Any]],
    ) -> None:
        """Work from `start` on."""
        super().__init__(engine, reader)
        self._make_rpc = make_rpc
        self._rpc = make_rpc()
        self._height = engine.proven
        self._sets: dict[bytes, Validators] = {}
        first = founding_validators(engine.genesis)
        self._sets[validators_hash(first)] = first
        self._member = member
        self._quiet_seconds = quiet_seconds
        self._also = also
        self._still = engine.lock
        self._looking, self._asking = make_rpc(), make_rpc()
        self._late: dict[bytes, int] = {}  # what waits, and how high the ledger was when seen to
        self._unhanded = set(engine.waiting())  # taken here, and not known to be with CometBFT
        self.ask_engine = self._ask_light
        self._peers: list[str] = []
        self._voters: set[str] | None = None
        self._peers_lock = threading.Lock()
        self._looked = -PEERS_SECONDS
        self._catching_up = True  # until CometBFT says that it is not
        self._news = threading.Event()
        self._showing = threading.Thread(target=self._show_on, name="evidence", daemon=True)
        engine.listen(self._on_block)

    def start(self) -> None:
        """Begin to hand over and to show."""
        super().start()
        self._showing.start()

    def stop(self) -> None:
        """See `Reception.stop`."""
        super().stop()
        self._news.set()
        if self._showing.is_alive():
            self._showing.join()
        self._rpc.close()
        self._looking.close()
        self._asking.close()

    @property
    def works(self) -> bool:
        """Whether it is there to take transactions; what keeps the ledger from going on is not."""
        return super().works and not self.engine.failure

    @property
    def height(self) -> int:
        """Of the newest block whose evidence is here."""
        return self._height

    def fixed_at(self, height: int) -> int:
        """See `Reception.fixed_at`: a header under CometBFT states what was before it."""
        return height + 1

    def facts(self) -> dict[str, Any]:
        """See `Reception.facts`; what CometBFT says is as it was a moment ago."""
        state = self.engine.state.reader()
        seated = validators.validator_set(state)
        quiet = max(0, self.clock.now() - self.engine.head.time) / 1000
        is_quiet = quiet >= self._quiet_seconds
        is_old = time.monotonic() - self._looked > PEERS_SECONDS
        if is_old and self._peers_lock.acquire(blocking=False):  # one looks, others do not wait
            try:
                self._look_at_peers(is_quiet=is_quiet)
            finally:
                self._looked = time.monotonic()
                self._peers_lock.release()
        names = {
            address_of(public).hex(): name for name, public in validators.validator_keys(state)
        }
        base = self.engine.base
        behind = self.engine.head.height > self._height + 1
        return {
            "validators": list(seated),
            "peers": sorted(names.get(each, each) for each in self._peers),
            "catching_up": base is not None or self._catching_up or behind,
            "history_from": 1 if base is None else base.height + 1,
            **self._also(),
            "quiet_seconds": round(quiet, 1),
            "missing": self._absent(seated, names) if is_quiet else [],
            "failure": self.engine.failure,
            "upgrades": [list(each) for each in changes.upcoming(state)],
            "protocol": members.protocol(state),
        }

    def _ask_light(self, method: str, parameters: dict[str, str]) -> dict[str, Any]:
        return self._asking.call(method, **parameters)

    def _look_at_peers(self, *, is_quiet: bool) -> None:
        peers, voters = [], None
        try:
            found: list[dict[str, Any]] = self._looking.call("net_info").get("peers") or []
            peers = [str(each["node_info"]["id"]) for each in found]
            sync = self._looking.call("status")["sync_info"]
            self._catching_up = bool(sync["catching_up"])
            if is_quiet:
                voters = voters_in(self._looking.call("consensus_state"))
        except (UnavailableError, DecodeError, KeyError, TypeError) as error:
            LOG.debug("nothing is known of peers: %s", error)
            peers = []
        self._peers, self._voters = peers, voters

    def _absent(self, seated: dict[str, bytes], names: dict[str, str]) -> list[str]:
        """Return the validators whose vote is lacking, or, where no vote is open, who is away.

        Who is connected may yet be silent: it takes a minute until its connection is given up.
        """
        if self._voters:
            found = {name: address_of(public).hex() for name, public in seated.items()}
            return [name for name in found if not self._has_voted(found[name])]
        here = {names.get(each, each) for each in self._peers} | {self._member}
        return [name for name in seated if name not in here]

    def _has_voted(self, address: str) -> bool:
        return any(address.startswith(each) for each in self._voters or ())

    def _go_on(self) -> None:
        handed = time.monotonic() - AGAIN_SECONDS
        while not self._stopping:
            self._take_in(AGAIN_SECONDS / 4)
            if time.monotonic() - handed >= AGAIN_SECONDS:
                handed = time.monotonic()
                self._hand_over_again()

    def _admit(self, wires: Sequence[bytes]) -> list[bytes | RejectedError | RetryLaterError]:
        held = {each for each in map(transaction_hash, wires) if self.engine.holds(each)}
        answers = self.engine.admit(wires, self.now)
        taken = [
            (place, wire, answer)
            for place, (wire, answer) in enumerate(zip(wires, answers, strict=True))
            if isinstance(answer, bytes)
        ]
        new = [(tx_hash, wire) for _, wire, tx_hash in taken]
        earlier = self._earlier(dict(new).keys())
        try:
            problems = self._hand_over([*earlier, *new])
        except (UnavailableError, DecodeError) as error:
            LOG.warning("%s; what was taken is handed over later", error)
            return answers
        told = list(zip(taken, problems[len(earlier) :], strict=True))
        held.update(tx_hash for (_, _, tx_hash), problem in told if problem is None)
        for (place, _, tx_hash), problem in told:
            if isinstance(problem, RetryLaterError) and tx_hash not in held:
                self.engine.give_back(tx_hash)
                answers[place] = problem
            elif problem is not None:
                LOG.warning("transaction %s is handed over later: %s", tx_hash.hex()[:12], problem)
        return answers

    def _earlier(self, new: AbstractSet[bytes]) -> list[tuple[bytes, bytes]]:
        """Return what is to go before those that are new: a nonce must not be overtaken."""
        before = self._unhanded - new
        self._unhanded |= new
        if not before:
            return []
        waiting = self.engine.waiting()
        self._unhanded.intersection_update(waiting)
        return [each for each in waiting.items() if each[0] in before]

    def _hand_over(
        self, listed: Sequence[tuple[bytes, bytes]]
    ) -> list[RetryLaterError | RpcError | None]:
        """Hand transactions, each with its hash, to CometBFT; raises as `CometRpc.broadcast`."""
        problems = self._rpc.broadcast([wire for _, wire in listed])
        said = zip(listed, problems, strict=True)
        self._unhanded.difference_update(tx for (tx, _), problem in said if problem is None)
        return problems

    def _hand_over_again(self) -> None:
        """Hand over what no block has for a while, and forget what none can hold.

        Whether it could be executed is asked only once blocks went on without it: it may rest on
        what another node was handed, and while nothing is decided that is in no block either.
        """
        waiting = {} if self.engine.failure else self.engine.waiting()
        height = self.engine.head.height
        seen = {tx: self._late[tx] for tx in waiting if tx in self._late}
        self._late = {tx: seen.get(tx, height) for tx in waiting}
        late = self._unhanded.union(seen).intersection(waiting)  # it waited when this was done last
        if not late:
            return
        try:
            self.engine.reconsider(tx for tx in seen if height - seen[tx] >= LEFT_OUT_BLOCKS)
            self._hand_over([each for each in self.engine.waiting().items() if each[0] in late])
        except (UnavailableError, DecodeError) as error:
            LOG.info("nothing is handed over now: %s", error)

    # --- blocks and their evidence --------------------------------------------------------------

    def _on_block(self, _: Outcome) -> None:
        self._news.set()

    def _show_on(self) -> None:
        """Fetch the evidence of each block that has none, in order, and show it."""
        rpc = self._make_rpc()
        complained = False
        while not self._stopping:
            if self._height >= self.engine.head.height:
                self._news.wait(LOOK_SECONDS)
                self._news.clear()
                continue
            try:
                self._show(rpc, self._height + 1)
                complained = False
            except (UnavailableError, DecodeError) as error:
                if not complained:
                    LOG.info("no evidence of block %d yet: %s", self._height + 1, error)
                complained = True
                self._news.wait(LOOK_SECONDS / 5)
                self._news.clear()
            except BaseException as error:
                LOG.critical("blocks are shown no more", exc_info=error)
                self.failure = error
                raise
        rpc.close()

    def _show(self, rpc: CometRpc, height: int) -> None:
        self._height = max(self._height, self.engine.proven)  # it may have begun with a snapshot
        if self._height >= height:
            return
        header, commit = parse_commit(rpc.call("commit", height=str(height)))
        found = self._sets.get(header.validators_hash)
        if found is None:
            found = parse_validators(*validator_pages(rpc.call, height))
            self._sets[header.validators_hash] = found
        # What does not verify is left out: a single validator could make a block unprovable.
        light = without_unverifiable(LightBlock(header, commit, found))
        try:
            check_commit(light)
        except VerificationError as error:  # the next block brings another commit of this one
            msg = f"the commit of block {height} is not one yet: {error}"
            raise UnavailableError(msg) from error
        evidence = encode(light)
        block = self.engine.prove(height, evidence)
        self._keep(msgspec.structs.replace(block, evidence=evidence))
        self._height = height
        self._ring(height)

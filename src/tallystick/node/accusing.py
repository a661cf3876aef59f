"""What a node does about validators that break the rules: it writes down what shows it, and sues.

Two votes at odds are proof by themselves: the node brings them before the ledger, in a transaction
that it signs with its own validator key. A proposal that no rule allows proves nothing to others,
since CometBFT shows no signature of it; it is kept as evidence here, with the proposer's name.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from tallystick.consensus.cometbft.rpc_json import parse_double_votes
from tallystick.consensus.cometbft.validators import address_of
from tallystick.crypto import keys
from tallystick.errors import DecodeError, RejectedError, UnavailableError
from tallystick.ledger.contracts import members, validators
from tallystick.ledger.messages import Equivocate
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.consensus.cometbft.replica import Replica
    from tallystick.consensus.cometbft.rpc import CometRpc
    from tallystick.consensus.cometbft.rpc_json import DoubleVote
    from tallystick.consensus.witness import Witness

__all__ = ["Accuser"]

LOG = logging.getLogger(__name__)
MOST_TOLD = 16
PAUSE_SECONDS = 1.0
ATTEMPTS = 30


class Accuser:
    """Brings what CometBFT found out about validators before the ledger, in a thread of its own.

    Parameters
    ----------
    member
        Whose node this is.
    """

    def __init__(
        self,
        engine: Replica,
        member: str,
        make_rpc: Callable[[], CometRpc],
        witness: Witness,
    ) -> None:
        """Do nothing before `start`."""
        self._engine = engine
        self._member = member
        self._make_rpc = make_rpc
        self._witness = witness
        self._heights: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._nonces: dict[int, int] = {}  # the last used, by the index of the key
        self._told: deque[dict[str, Any]] = deque(maxlen=MOST_TOLD)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="accuser", daemon=True)

    def start(self, submit: Callable[[bytes], object]) -> None:
        """Begin.

        Parameters
        ----------
        submit
            Hands in a transaction; raises as `Engine.submit`.
        """
        self._submit = submit
        self._thread.start()

    def stop(self) -> None:
        """Leave."""
        self._stopping.set()
        self._heights.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def told(self) -> list[dict[str, Any]]:
        """Return what was found out last, for the node's status."""
        return list(self._told)

    def accuse(self, height: int) -> None:
        """Look into a block in which CometBFT says that a validator voted twice; do not wait."""
        self._heights.put(height)

    def blame(self, address: bytes, height: int, wrong: str, wires: list[bytes]) -> None:
        """Write down who proposed a block that no rule allows, and what is wrong with it."""
        name = self._name_of(address)
        transactions = [wire.hex() for wire in wires]
        said = f"'{name}' proposed a block {height} that no rule allows: {wrong}"
        error = self._witness.name(
            f"validator {name}",
            "invalid-proposal",
            said,
            height=height,
            proposer=address,
            transactions=transactions,
        )
        self._tell(name, "invalid-proposal", height, str(error.evidence or ""))

    def _tell(self, name: str, kind: str, height: int, evidence: str) -> None:
        found = {"member": name, "kind": kind, "height": height, "evidence": evidence}
        if found not in self._told:
            self._told.append(found)

    def _name_of(self, address: bytes) -> str:
        state = self._engine.state.reader()
        found = (n for n, key in validators.validator_keys(state) if address_of(key) == address)
        return next(found, address.hex())

    def _work(self) -> None:
        rpc = self._make_rpc()
        while (height := self._heights.get()) is not None:
            for _ in range(ATTEMPTS):
                if self._stopping.is_set():
                    break
                try:
                    self._sue_all(height, rpc.call("block", height=str(height)))
                    break
                except (DecodeError, UnavailableError) as error:
                    LOG.warning("the proof in block %d is not brought yet: %s", height, error)
                    self._stopping.wait(PAUSE_SECONDS)
                except Exception:
                    LOG.exception("the proof in block %d is not brought", height)
                    break
            else:
                LOG.error("the proof in block %d was not brought in %d tries", height, ATTEMPTS)
        rpc.close()

    def _sue_all(self, height: int, block: dict[str, Any]) -> None:
        for found in parse_double_votes(block):
            self._sue(height, found)

    def _sue(self, height: int, found: DoubleVote) -> None:
        """Hand in the proof, unless another node's was quicker."""
        name = self._name_of(found.address)
        LOG.error("'%s' voted twice at height %d", name, found.votes[0].height)
        self._tell(name, "equivocation", height, "on the ledger")
        engine = self._engine
        state = engine.state.reader()
        public = keys.public_of(engine.secret)
        row = state.get(members.MEMBERS, self._member)
        held = [key.public for key in row.keys] if row else []
        if public not in held or name == self._member:
            return
        index = held.index(public)
        nonce = max(last_nonce(state, self._member, index), self._nonces.get(index, 0)) + 1
        body = Body(
            sender=self._member,
            key=index,
            nonce=nonce,
            valid_until=engine.now + engine.genesis.limits.validity // 2,
            message=Equivocate(name, found.votes, found.signatures),
        )
        tx = sign_transaction(body, engine.secret, engine.kernel.chain)
        try:
            self._submit(tx.wire)
        except RejectedError as error:
            LOG.info("the proof against '%s' is not taken: %s", name, error)
        else:
            self._nonces[index] = nonce  # others of the same block come with the next ones

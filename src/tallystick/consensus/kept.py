"""A ledger kept in a file: what the engines over a store have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.codec import encode
from tallystick.errors import ConfigError, UnavailableError
from tallystick.ledger.collect.installed import check_live, needing_rules
from tallystick.ledger.genesis import Genesis, load_genesis
from tallystick.ledger.kernel import Kernel
from tallystick.ledger.state import state_from_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.ledger.block import Block, Header
    from tallystick.ledger.state import State
    from tallystick.storage.sqlite import LedgerStore

__all__ = ["KeptLedger"]


class KeptLedger:
    """A store's ledger, opened at its head; founded in a store that holds none.

    Raises
    ------
    ConfigError
        The store has another genesis, or there is none.
    UnavailableError
        The store's file is damaged.
    """

    def __init__(self, store: LedgerStore, genesis: Genesis | None) -> None:
        """Open it."""
        self._store = store
        self.kernel = Kernel(_open_genesis(store, genesis))
        founded, header = self.kernel.found()
        rows, head = store.snapshot()
        self._state = founded if head is None else state_from_rows(rows)
        if head is None and not rows:
            store.found(dict(founded.rows()))
        self._head = header if head is None else head
        if self._state.root != self._head.state_root:
            msg = "the ledger file is damaged: its rows do not have the head's state root"
            raise UnavailableError(msg)

    def check_rules(self) -> None:
        """Refuse to go on where a running task uses a rule that is not installed here.

        Raises
        ------
        ConfigError
            Names the rule.
        """
        with needing_rules():
            check_live(self._state)

    @property
    def refuses_for_good(self) -> bool:
        """See `Engine.refuses_for_good`."""
        return False

    @property
    def genesis(self) -> Genesis:
        """See `Engine.genesis`."""
        return self.kernel.genesis

    @property
    def head(self) -> Header:
        """See `Engine.head`."""
        return self._head

    @property
    def state(self) -> State:
        """See `Engine.state`."""
        return self._state

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """See `Engine.blocks`."""
        return self._store.blocks(start)

    def leaves(self, task: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """See `Engine.leaves`."""
        return self._store.leaves(task, start)

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def _open_genesis(store: LedgerStore, genesis: Genesis | None) -> Genesis:
    data = store.fact("genesis")
    if data is None:
        if genesis is None:
            msg = "there is no ledger here yet, and no genesis to found one"
            raise ConfigError(msg)
        store.set_fact("genesis", encode(genesis))
        return load_genesis(encode(genesis))
    known = load_genesis(data)
    if genesis is not None and encode(genesis) != data:
        msg = "the ledger here started from another genesis"
        raise ConfigError(msg)
    return known

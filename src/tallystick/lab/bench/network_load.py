"""How many transactions a node takes over HTTP, and how long one takes to be final."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tallystick.federation.acting import Acting
from tallystick.ledger.contracts.members import active_members
from tallystick.ledger.messages import Transfer
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.lab.pilot import Pilot
    from tallystick.ledger.transaction import Transaction

__all__ = ["measure_latency", "measure_throughput", "transfer"]

SENDERS = 4
WAIT_SECONDS = 5.0


def measure_throughput(pilot: Pilot, names: Sequence[str], transactions: int) -> float:
    """Return final transactions a second, sent by up to four members at once."""
    senders = tuple(names)[:SENDERS]
    each = max(1, transactions // len(senders))
    started = time.perf_counter()
    with ThreadPoolExecutor(len(senders)) as pool:
        list(pool.map(lambda name: _send(pilot, name, each), senders))
    return len(senders) * each / (time.perf_counter() - started)


def measure_latency(pilot: Pilot, name: str, transactions: int) -> list[float]:
    """Return the seconds from sending to final of one transaction after another, sorted."""
    found: list[float] = []
    with Acting.open((pilot.url,), key_folder=pilot.home(name)) as acting:
        for _ in range(transactions):
            tx = transfer(acting, 1)
            started = time.perf_counter()
            acting.engine.submit(tx.wire)
            _await(acting, tx)
            found.append(time.perf_counter() - started)
    return sorted(found)


def _send(pilot: Pilot, name: str, transactions: int) -> None:
    with Acting.open((pilot.url,), key_folder=pilot.home(name)) as acting:
        sent = [transfer(acting, number) for number in range(1, transactions + 1)]
        for tx in sent:
            acting.engine.submit(tx.wire)
        _await(acting, sent[-1])


def transfer(acting: Acting, ahead: int) -> Transaction:
    """Return a transfer whose nonce is so far ahead of the last accepted one."""
    who, engine = acting.identity, acting.engine
    other = next(name for name in active_members(acting.state) if name != who.member)
    body = Body(
        sender=who.member,
        key=who.key,
        nonce=last_nonce(engine.state, who.member, who.key) + ahead,
        valid_until=engine.now + engine.genesis.limits.validity // 2,
        message=Transfer(other, 1),
    )
    return sign_transaction(body, who.secret, engine.kernel.chain)


def _await(acting: Acting, tx: Transaction) -> None:
    while acting.engine.outcome(tx.hash) is None:
        acting.engine.follow(WAIT_SECONDS)

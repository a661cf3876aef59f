"""How many transfers a second a ledger takes, from the wire to the disk.

Transactions are signed beforehand. Each is decoded, its envelope and signature checked, executed
when its block is proposed, and on disk, flushed, when the block is sealed.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tallystick.consensus.solo import Solo
from tallystick.errors import InvariantError
from tallystick.federation.trial import secret_of, simulated_genesis
from tallystick.lab.bench.machine import Measure, check_counts
from tallystick.ledger.genesis import Genesis, genesis_hash
from tallystick.ledger.messages import Transfer
from tallystick.ledger.transaction import Body, sign_transaction
from tallystick.storage.sqlite import LedgerStore

__all__ = ["SAYS", "measure_ledger"]

SAYS = (
    "Transfers signed beforehand by the members in turn; checking, executing, hashing and a "
    "durable commit (SQLite, synchronous=FULL) of every block are counted; 1,000 go into a block."
)
BLOCK_TRANSACTIONS = 1000
MEMBERS = 8


def measure_ledger(transactions: int, repeat: int, members: int = MEMBERS) -> list[Measure]:
    """Return transactions per second and ledger bytes per transaction, each on a fresh ledger.

    Raises
    ------
    ConfigError
        A number below 1.
    """
    check_counts(members=members, transactions=transactions, repeat=repeat)
    run_ledger(min(transactions, BLOCK_TRANSACTIONS), members, "warm-up")
    measured = [run_ledger(transactions, members, f"bench-{turn}") for turn in range(repeat)]
    facts = {"members": members, "transactions": transactions}
    speeds = tuple(transactions / seconds for seconds, _ in measured)
    sizes = tuple(size / transactions for _, size in measured)
    return [
        Measure("durable_transactions_per_second", "1/s", speeds, facts),
        Measure("ledger_bytes_per_transaction", "B", sizes, facts),
    ]


def run_ledger(transactions: int, members: int, name: str) -> tuple[float, int]:
    """Return the seconds that so many transfers took, and the bytes the ledger grew by."""
    names = tuple(f"member-{number:03d}" for number in range(members))
    genesis = simulated_genesis(name, names, 0)
    wires = _transfers(genesis, names, transactions)
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as folder:
        path = Path(folder) / "ledger.db"
        engine = Solo(LedgerStore(path), genesis, secret_of(0, genesis.sealer, "validator"))
        engine.close()
        founded = path.stat().st_size  # closing has emptied the write-ahead log
        engine = Solo(LedgerStore(path), genesis, secret_of(0, genesis.sealer, "validator"))
        started = time.perf_counter()
        for first in range(0, transactions, BLOCK_TRANSACTIONS):
            for wire in wires[first : first + BLOCK_TRANSACTIONS]:
                engine.submit(wire)
            while engine.pending:
                engine.seal(engine.head.time + 1000)
        seconds = time.perf_counter() - started
        sealed = sum(len(block.transactions) for block in engine.blocks(1))
        engine.close()
        grown = path.stat().st_size - founded
    if sealed != transactions:
        msg = f"{sealed} of {transactions} transfers were sealed"
        raise InvariantError(msg)
    return seconds, grown


def _transfers(genesis: Genesis, names: tuple[str, ...], count: int) -> list[bytes]:
    """Return signed transfers, the members taking turns; each pays the next one."""
    chain = genesis_hash(genesis)
    secrets = [secret_of(0, name, "owner") for name in names]
    wires: list[bytes] = []
    for number in range(count):
        turn = number % len(names)
        body = Body(
            sender=names[turn],
            key=0,
            nonce=number // len(names) + 1,
            valid_until=genesis.time + genesis.limits.validity // 2,
            message=Transfer(names[(turn + 1) % len(names)], 1),
        )
        wires.append(sign_transaction(body, secrets[turn], chain).wire)
    return wires

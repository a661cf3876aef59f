"""What it takes to prove one record of a long log, and to check the proof.

A model's place in its task's log: the record, its inclusion under the log's root (RFC 6962), and
the row with that root in the ledger's state (a sparse Merkle map with as many rows as the log has
records). Checking needs the state root and nothing else.
"""

from __future__ import annotations

import time

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.crypto.merkle_list import HashedList
from tallystick.crypto.merkle_map import MerkleMap, verify_member
from tallystick.crypto.merkle_proof import verify_inclusion
from tallystick.lab.bench.machine import Measure, check_counts

__all__ = ["RECORDS", "SAYS", "measure_proofs"]

SAYS = (
    "One record of a log of so many, proved into the log's root, and the log's row into the root "
    "of a state of so many rows; the bytes are those of both proofs and the row."
)
RECORDS = (100, 1_000, 10_000, 100_000)
LEAF_BYTES = 256
TRIALS = 200


def measure_proofs(repeat: int, records: tuple[int, ...] = RECORDS) -> list[Measure]:
    """Return seconds to prove and to verify, and the proof's bytes, for each number of records.

    Raises
    ------
    ConfigError
        A number below 1.
    """
    check_counts(repeat=repeat)
    measures: list[Measure] = []
    for count in records:
        facts = {"records": count}
        proved, verified, sizes = _measure(count, repeat)
        measures += [
            Measure("prove_seconds", "s", proved, facts),
            Measure("verify_seconds", "s", verified, facts),
            Measure("proof_bytes", "B", sizes, facts),
        ]
    return measures


def _measure(
    count: int, repeat: int
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Return means over `TRIALS` records, ``repeat`` times."""
    seeds = [sha256("bench", number.to_bytes(4, "big")) for number in range(count)]
    leaves = [seed * (LEAF_BYTES // len(seed)) for seed in seeds]
    log = HashedList.of(leaves)
    key = sha256("bench-task")
    log_root = log.root()
    row = encode((count, log_root))
    rows = {sha256("bench-row", leaf): leaf[:64] for leaf in leaves[1:]}
    state = MerkleMap().update({**rows, key: row})
    state_root = state.root
    proved: list[float] = []
    verified: list[float] = []
    sizes: list[float] = []
    for turn in range(repeat):
        chosen = [(turn + number * count // TRIALS) % count for number in range(TRIALS)]
        started = time.perf_counter()
        proofs = [(log.inclusion(index), state.prove(key)) for index in chosen]
        middle = time.perf_counter()
        for index, (path, member) in zip(chosen, proofs, strict=True):
            verify_member(state_root, key, row, member)
            verify_inclusion(log_root, count, index, leaves[index], path)
        ended = time.perf_counter()
        proved.append((middle - started) / TRIALS)
        verified.append((ended - middle) / TRIALS)
        sizes.append(sum(len(encode(proof)) + len(row) for proof in proofs) / TRIALS)
    return tuple(proved), tuple(verified), tuple(sizes)

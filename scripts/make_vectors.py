"""Rewrite the vectors that are ours; those of the RFCs are data and stay as they are.

A diff after this script means that bytes on the ledger changed: the commit has to say why.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tallystick.crypto import hashes
from tallystick.crypto.merkle_map import MapProof, MerkleMap
from tallystick.mechanisms.theory import rdp
from tallystick.tensors.arithmetic import norm_of
from tallystick.tensors.memory import MemoryBlobs
from tallystick.tensors.model import model_bytes
from tallystick.tensors.spec import ModelSpec, Parameter
from tallystick.tensors.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Mapping

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
PATTERN_PERIOD = 251
CHUNK = hashes.CHUNK_BYTES

Json = dict[str, object]


def pattern(size: int) -> bytes:
    """Return ``size`` bytes, byte i being i modulo 251."""
    period = bytes(range(PATTERN_PERIOD))
    return (period * (size // PATTERN_PERIOD + 1))[:size]


def describe(proof: MapProof) -> Json:
    """Return a map proof as JSON."""
    return {"siblings": [sibling.hex() for sibling in proof.siblings], "other": proof.other.hex()}


def map_case(why: str, contents: Mapping[bytes, bytes], absent: list[bytes]) -> Json:
    """Return one map with a proof for every key in it and for each of ``absent``."""
    tree = MerkleMap().update(contents)
    return {
        "why": why,
        "contents": {key.hex(): value.hex() for key, value in contents.items()},
        "root": tree.root.hex(),
        "present": [
            {"key": key.hex(), "proof": describe(tree.prove(key))} for key in sorted(contents)
        ],
        "absent": [{"key": key.hex(), "proof": describe(tree.prove(key))} for key in absent],
    }


def map_refusals() -> list[Json]:
    """Return proofs that have to be refused, each with its cause."""
    contents = {bytes([key]): b"value" for key in range(8)}
    tree = MerkleMap().update(contents)
    key, absent = b"\x03", b"\x63"
    good, gone = tree.prove(key), tree.prove(absent)
    own = MerkleMap().update({key: b"value"}).root
    foreign = next(
        proof for proof in (tree.prove(bytes([other])) for other in range(8, 64)) if proof.other
    )
    cases: list[tuple[str, str, bytes, bytes | None, MapProof]] = [
        ("another value", tree.root.hex(), key, b"other", good),
        ("another key", tree.root.hex(), b"\x04", b"value", good),
        ("another root", own.hex(), key, b"value", good),
        ("no siblings", tree.root.hex(), key, b"value", MapProof(())),
        ("a sibling too many", tree.root.hex(), key, b"value", MapProof((*good.siblings, own))),
        ("membership with a foreign leaf", tree.root.hex(), key, b"value",
         MapProof(good.siblings, foreign.other)),
        ("absence of a key that is there", tree.root.hex(), key, None, good),
        ("absence by a leaf in another place", tree.root.hex(), absent, None,
         MapProof(gone.siblings, foreign.other[::-1])),
        ("absence by the key's own leaf", tree.root.hex(), key, None,
         MapProof(good.siblings, sha256(key).digest() + bytes(32))),
        ("absence by half a leaf", tree.root.hex(), absent, None,
         MapProof(gone.siblings, foreign.other[:32])),
        ("absence from an empty map that is not empty", tree.root.hex(), absent, None,
         MapProof(())),
    ]  # fmt: skip
    return [
        {
            "why": why,
            "root": root,
            "key": name.hex(),
            "value": None if value is None else value.hex(),
            "proof": describe(proof),
        }
        for why, root, name, value, proof in cases
    ]


def merkle_map() -> Json:
    """Return the vectors of the sparse map."""
    many = {index.to_bytes(2, "big"): str(index).encode() for index in range(20)}
    return {
        "why": "compact sparse Merkle map: roots by contents, membership and absence",
        "cases": [
            map_case("an empty map", {}, [b"", b"a"]),
            map_case("one leaf is the root", {b"a": b"1"}, [b"", b"b"]),
            map_case("two leaves", {b"a": b"1", b"b": b"2"}, [b"c", b"d"]),
            map_case("an empty key and an empty value", {b"": b""}, [b"a"]),
            map_case("twenty leaves", many, [b"absent", b"\xff\xff"]),
        ],
        "refuse": map_refusals(),
    }


def blob_case(size: int) -> Json:
    """Return the root of a pattern and the paths of its first and last chunk."""
    data = pattern(size)
    leaves = hashes.chunk_hashes(data)
    return {
        "size": size,
        "root": hashes.blob_root(data).hex(),
        "chunks": [leaf.hex() for leaf in leaves],
        "paths": [
            {"index": index, "path": [node.hex() for node in hashes.chunk_proof(leaves, index)]}
            for index in sorted({0, len(leaves) - 1})
        ],
    }


def blob_root() -> Json:
    """Return the vectors of the chunk tree."""
    sizes = [0, 1, 64, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5, 5 * CHUNK]
    return {
        "why": "BLAKE3 chunk tree of a blob whose byte i is i modulo 251",
        "chunk_bytes": CHUNK,
        "cases": [blob_case(size) for size in sizes],
    }


def spending(why: str, cost: rdp.Vector, releases: int) -> Json:
    """Return what so many releases come to, by a table that needs no logarithm."""
    table = tuple(10**10 // (order - 10) - order for order in rdp.ORDERS)
    spent = (0,) * len(rdp.ORDERS)
    for _ in range(releases):
        spent = rdp.compose(spent, cost)
    return {
        "why": why,
        "cost": list(cost),
        "releases": releases,
        "spent": list(spent),
        "table": list(table),
        "epsilon_nanos": rdp.epsilon_of(spent, table),
    }


def accountant() -> Json:
    """Return the vectors of the accountant."""
    return {
        "why": "privacy in billionths at each order, an order in tenths; rounded up",
        "orders": list(rdp.ORDERS),
        "gaussian": [
            {"noise_multiplier_millis": noise, "sensitivity": at, "cost": list(made)}
            for noise, at in ((4507, 1), (4507, 2), (1, 1))
            for made in (rdp.gaussian(noise, at),)
        ],
        "pure": [
            {"epsilon_nanos": epsilon, "cost": list(rdp.pure(epsilon))}
            for epsilon in (1, 10**8, 10**9, 20 * 10**9)
        ],
        "spent": [
            spending("nothing was spent", rdp.gaussian(4507, 1), 0),
            spending("sixty releases", rdp.gaussian(4507, 1), 60),
            spending("pure epsilon adds up", rdp.pure(10**9), 100),
            spending("an order without a bound is passed over", rdp.gaussian(10, 2), 100_000),
        ],
    }


def length_case(why: str, *parameters: Parameter) -> Json:
    """Return the squared length of an update of a model of ``parameters``."""
    values = {
        each.name: [(-1) ** at * (7 * at + 3) for at in range(each.size)] for each in parameters
    }
    blobs = MemoryBlobs()
    arrays = {name: np.array(row, np.int32) for name, row in values.items()}
    root, _ = blobs.put(model_bytes(arrays))
    squared = Workbench(blobs).norms((root,), ModelSpec(bytes(32), 0, parameters))[0]
    return {
        "why": why,
        "parameters": [[each.name, each.size, each.dtype, each.exponent] for each in parameters],
        "values": values,
        "squared_length": str(squared),
        "length": str(norm_of(squared)),
    }


def squared_length() -> Json:
    """Return the vectors of an update's length: TEN-23 and TEN-24."""
    single = Parameter("a", (3,), "F32", -24)
    coarse, fine = Parameter("a", (2,), "F32", -20), Parameter("b", (3,), "F64", -24)
    empty, other = Parameter("a", (0,), "F32", -60), Parameter("b", (3,), "F32", -4)
    counts, half = Parameter("a", (2,), "I64", 0), Parameter("b", (2,), "BF16", -8)
    return {
        "why": "squared lengths in steps of the finest float tensor that has elements",
        "cases": [
            length_case("one tensor", single),
            length_case("two exponents", coarse, fine),
            length_case("an empty tensor's exponent does not count", empty, other),
            length_case("integers do not count", counts, half),
            length_case("nothing but integers", counts),
        ],
    }


def main() -> None:
    """Write every file."""
    made = {
        "merkle_map": merkle_map,
        "blob_root": blob_root,
        "squared_length": squared_length,
        "accountant": accountant,
    }
    for name, make in made.items():
        path = VECTORS / f"{name}.json"
        path.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
        print(path.name)


if __name__ == "__main__":
    main()

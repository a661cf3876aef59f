"""Replay the vectors: data that any other implementation can check itself against."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tallystick.crypto import hashes, keys, merkle_list, merkle_map
from tallystick.errors import VerificationError
from tallystick.mechanisms.theory import rdp
from tallystick.tensors.memory import MemoryBlobs
from tallystick.tensors.model import model_bytes
from tallystick.tensors.spec import ModelSpec, Parameter
from tallystick.tensors.workbench import Workbench

VECTORS = Path(__file__).resolve().parent.parent / "vectors"


def load(name):
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def unhex(texts):
    return tuple(bytes.fromhex(text) for text in texts)


def why(case):
    return case["why"]


ED25519 = load("rfc8032")
LIST = load("rfc6962")
LEAVES = unhex(LIST["leaves"])
ROOTS = unhex(LIST["roots"])
MAP = load("merkle_map")
BLOB = load("blob_root")
SPENT = load("accountant")
LENGTH = load("squared_length")


@pytest.mark.parametrize("case", ED25519["sign"], ids=why)
def test_ed25519_keys_and_signatures_are_those_of_the_rfc(case):
    secret, message = bytes.fromhex(case["secret"]), bytes.fromhex(case["message"])
    public = keys.public_of(secret)
    signature = keys.unsafe_sign_raw(secret, message)
    keys.check_public(public)
    keys.verify_raw(public, message, signature)

    assert public.hex() == case["public"]
    assert signature.hex() == case["signature"]


@pytest.mark.parametrize("case", ED25519["refuse_signature"], ids=why)
def test_ed25519_signature_is_refused(case):
    public, message, signature = unhex([case["public"], case["message"], case["signature"]])

    with pytest.raises(keys.BadSignatureError):
        keys.verify_raw(public, message, signature)


@pytest.mark.parametrize("case", ED25519["refuse_key"], ids=why)
def test_ed25519_key_is_refused(case):
    with pytest.raises(keys.BadKeyError):
        keys.check_public(bytes.fromhex(case["public"]))


@pytest.mark.parametrize("size", range(len(LEAVES) + 1))
def test_list_roots_are_those_of_certificate_transparency(size):
    leaves = LEAVES[:size]

    assert merkle_list.list_root(leaves) == ROOTS[size]
    assert merkle_list.HashedList.of(leaves).root() == ROOTS[size]
    assert merkle_list.Peaks().extend(leaves).root == ROOTS[size]


@pytest.mark.parametrize("case", LIST["inclusion"], ids=str)
def test_list_inclusion_paths_are_those_of_certificate_transparency(case):
    index, size, path = case["index"], case["size"], unhex(case["path"])
    merkle_list.verify_inclusion(ROOTS[size], size, index, LEAVES[index], path)

    assert merkle_list.HashedList.of(LEAVES).inclusion(index, size) == path


@pytest.mark.parametrize("case", LIST["consistency"], ids=str)
def test_list_consistency_paths_are_those_of_certificate_transparency(case):
    old, new, path = case["old_size"], case["new_size"], unhex(case["path"])
    merkle_list.verify_consistency(ROOTS[old], old, ROOTS[new], new, path)

    assert merkle_list.HashedList.of(LEAVES).consistency(old, new) == path


def map_proof(case):
    proof = case["proof"]
    return merkle_map.MapProof(unhex(proof["siblings"]), bytes.fromhex(proof["other"]))


@pytest.mark.parametrize("case", MAP["cases"], ids=why)
def test_map_root_and_proofs_are_as_written_down(case):
    contents = {bytes.fromhex(key): bytes.fromhex(v) for key, v in case["contents"].items()}
    root = bytes.fromhex(case["root"])
    tree = merkle_map.MerkleMap().update(contents)
    for entry in case["present"]:
        key = bytes.fromhex(entry["key"])
        merkle_map.verify_member(root, key, contents[key], map_proof(entry))
        assert tree.prove(key) == map_proof(entry)
    for entry in case["absent"]:
        key = bytes.fromhex(entry["key"])
        merkle_map.verify_absent(root, key, map_proof(entry))
        assert tree.prove(key) == map_proof(entry)

    assert tree.root == root


@pytest.mark.parametrize("case", MAP["refuse"], ids=why)
def test_map_proof_is_refused(case):
    root, key = bytes.fromhex(case["root"]), bytes.fromhex(case["key"])

    if case["value"] is None:
        with pytest.raises(VerificationError):
            merkle_map.verify_absent(root, key, map_proof(case))
    else:
        value = bytes.fromhex(case["value"])
        with pytest.raises(VerificationError):
            merkle_map.verify_member(root, key, value, map_proof(case))


@pytest.mark.parametrize("case", BLOB["cases"], ids=lambda case: str(case["size"]))
def test_blob_root_and_paths_are_as_written_down(case):
    size, root, chunks = case["size"], bytes.fromhex(case["root"]), unhex(case["chunks"])
    period = bytes(range(251))
    data = (period * (size // 251 + 1))[:size]
    for entry in case["paths"]:
        start = entry["index"] * BLOB["chunk_bytes"]
        chunk = data[start : start + BLOB["chunk_bytes"]]
        hashes.verify_chunk(root, size, entry["index"], chunk, unhex(entry["path"]))
        assert hashes.chunk_proof(chunks, entry["index"]) == unhex(entry["path"])

    assert BLOB["chunk_bytes"] == hashes.CHUNK_BYTES
    assert hashes.chunk_hashes(data) == chunks
    assert hashes.blob_root(data) == hashes.root_of_chunks(chunks, size) == root


@pytest.mark.parametrize(
    "case", SPENT["gaussian"], ids=lambda case: case["noise_multiplier_millis"]
)
def test_gaussian_noise_costs_what_the_vector_says(case):
    made = rdp.gaussian(case["noise_multiplier_millis"], case["sensitivity"])

    assert list(made) == case["cost"]
    assert list(rdp.ORDERS) == SPENT["orders"]


@pytest.mark.parametrize("case", SPENT["pure"], ids=lambda case: case["epsilon_nanos"])
def test_pure_epsilon_costs_what_the_vector_says(case):
    assert list(rdp.pure(case["epsilon_nanos"])) == case["cost"]


@pytest.mark.parametrize("case", SPENT["spent"], ids=why)
def test_what_was_spent_comes_to_the_epsilon_of_the_vector(case):
    spent = (0,) * len(rdp.ORDERS)
    for _ in range(case["releases"]):
        spent = rdp.compose(spent, tuple(case["cost"]))

    assert list(spent) == case["spent"]
    assert rdp.epsilon_of(spent, tuple(case["table"])) == case["epsilon_nanos"]


@pytest.mark.parametrize("case", LENGTH["cases"], ids=why)
def test_lengths_are_those_of_the_formula_and_of_the_program(case):
    """TEN-23 and TEN-24, from the page alone and as the program measures them."""
    shapes = {name: (dtype, exponent) for name, _, dtype, exponent in case["parameters"]}
    values = case["values"]
    floats = [name for name, (dtype, _) in shapes.items() if "F" in dtype]
    finest = min((shapes[name][1] for name in floats if values[name]), default=0)
    squared = sum(
        4 ** (shapes[name][1] - finest) * value**2 for name in floats for value in values[name]
    )
    parameters = tuple(Parameter(n, (size,), d, e) for n, size, d, e in case["parameters"])
    blobs = MemoryBlobs()
    root, _ = blobs.put(model_bytes({n: np.array(v, np.int32) for n, v in values.items()}))

    assert str(squared) == case["squared_length"]
    assert str(math.isqrt(squared << 64)) == case["length"]
    assert Workbench(blobs).norms((root,), ModelSpec(bytes(32), 0, parameters)) == (squared,)

"""The sparse map: one root per contents, proofs for what is there and for what is not."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.codec import decode, encode
from tallystick.crypto import merkle_map
from tallystick.crypto.merkle_map import (
    EMPTY_ROOT,
    MapProof,
    MerkleMap,
    verify_absent,
    verify_member,
)
from tallystick.errors import VerificationError

relaxed = settings(deadline=None, max_examples=80)
keys = st.binary(min_size=1, max_size=1)
values = st.binary(max_size=3)
contents = st.dictionaries(keys, values, max_size=40)
batches = st.lists(st.dictionaries(keys, values | st.none(), max_size=25), max_size=6)


def path_of(key):
    return int.from_bytes(hashlib.sha256(key).digest(), "big")


def root_by_definition(held, depth=0):
    if not held:
        return bytes(32)
    if len(held) == 1:
        ((key, value),) = held.items()
        body = hashlib.sha256(key).digest() + hashlib.sha256(value).digest()
        return hashlib.sha256(b"\x00" + body).digest()
    halves = [{}, {}]
    for key, value in held.items():
        halves[path_of(key) >> (255 - depth) & 1][key] = value
    left, right = (root_by_definition(half, depth + 1) for half in halves)
    return hashlib.sha256(b"\x01" + left + right).digest()


def after(batch_list):
    held = {}
    for batch in batch_list:
        for key, value in batch.items():
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
    return held


@relaxed
@given(batches)
def test_batches_single_updates_and_a_fresh_build_give_the_root_by_definition(batch_list):
    batched = single = MerkleMap()
    for batch in batch_list:
        batched = batched.update(batch)
        for key, value in reversed(batch.items()):
            single = single.update({key: value})
    held = after(batch_list)

    assert batched.root == root_by_definition(held)
    assert single.root == batched.root
    assert MerkleMap().update(held).root == batched.root


@relaxed
@given(contents)
def test_every_key_is_proved_present_or_absent_and_never_both(held):
    tree = MerkleMap().update(held)
    for key in map(bytes, zip(range(256), strict=True)):
        proof = tree.prove(key)
        if key in held:
            verify_member(tree.root, key, held[key], proof)
            with pytest.raises(VerificationError):
                verify_absent(tree.root, key, proof)
        else:
            verify_absent(tree.root, key, proof)
            with pytest.raises(VerificationError):
                verify_member(tree.root, key, b"", proof)


@relaxed
@given(st.dictionaries(keys, values, min_size=1, max_size=40), keys, st.integers(0, 10**6))
def test_an_altered_proof_is_refused(held, key, position):
    tree = MerkleMap().update(held)
    proof = tree.prove(key)
    bit = 1 << position % 8

    def check(root, asked, candidate):
        if key in held:
            verify_member(root, asked, held[key], candidate)
        else:
            verify_absent(root, asked, candidate)

    altered = [(tree.root, key, MapProof((*proof.siblings, EMPTY_ROOT), proof.other))]
    for start in range(32):
        root = bytearray(tree.root)
        root[start] ^= bit
        altered.append((bytes(root), key, proof))
    for spot in range(len(proof.siblings)):
        sibling = bytearray(proof.siblings[spot])
        sibling[position % 32] ^= bit
        wrong = (*proof.siblings[:spot], bytes(sibling), *proof.siblings[spot + 1 :])
        altered.append((tree.root, key, MapProof(wrong, proof.other)))
    for spot in range(len(proof.other)):
        other = bytearray(proof.other)
        other[spot] ^= bit
        altered.append((tree.root, key, MapProof(proof.siblings, bytes(other))))
    if proof.siblings:
        altered.append((tree.root, key, MapProof(proof.siblings[1:], proof.other)))
    for root, asked, candidate in altered:
        with pytest.raises(VerificationError):
            check(root, asked, candidate)


@relaxed
@given(contents, st.dictionaries(keys, values | st.none(), max_size=20))
def test_an_update_leaves_the_map_it_starts_from_alone(held, changes):
    tree = MerkleMap().update(held)
    before = tree.root
    tree.update(changes)

    assert tree.root == before == root_by_definition(held)


@relaxed
@given(contents)
def test_what_changes_nothing_returns_the_same_map(held):
    tree = MerkleMap().update(held)

    assert tree.update({}) is tree
    assert tree.update(held) is tree
    assert tree.update({b"not there": None, b"nor this": None}) is tree
    assert tree.update({b"not there": None}) is tree


def test_deleting_everything_gives_the_empty_root():
    held = {bytes([key]): b"x" for key in range(50)}
    tree = MerkleMap().update(held).update(dict.fromkeys(held))

    assert tree.root == EMPTY_ROOT == MerkleMap().root


def leaves_at(paths):
    """Return leaves at chosen paths, as if keys with those hashes had been found."""
    leaves = [merkle_map._make_leaf(path.to_bytes(32, "big"), b"v") for path in paths]
    return list(paths), leaves


def test_paths_that_part_late_stay_canonical_in_any_order():
    # Keys ground to share 60 bits would make the deepest trees anybody can afford.
    paths = sorted([0, 1 << 190, 1 << 195, (1 << 195) + (1 << 250), 1 << 255])
    numbers, leaves = leaves_at(paths)
    batch = merkle_map._change(merkle_map._EMPTY, 0, numbers, leaves, (0, len(leaves)))
    single = merkle_map._EMPTY
    for path, leaf in reversed(list(zip(numbers, leaves, strict=True))):
        single = merkle_map._put(single, 0, path, leaf)
    emptied = batch
    for path in numbers[1:]:
        emptied = merkle_map._drop(emptied, 0, path)

    assert single == batch
    assert emptied == leaves[0]


def test_a_batch_on_a_late_fork_deletes_back_to_one_leaf():
    numbers, leaves = leaves_at([0, 1, 2, 3])
    full = merkle_map._change(merkle_map._EMPTY, 0, numbers, leaves, (0, 4))
    gone = [leaves[0], *[merkle_map._EMPTY] * 3]

    assert merkle_map._change(full, 0, numbers, gone, (0, 4)) == leaves[0]


def test_a_foreign_leaf_outside_the_keys_place_proves_no_absence():
    held = {bytes([key]): b"x" for key in range(16)}
    tree = MerkleMap().update(held)
    key = b"\x03"
    shown = tree.prove(key)
    other = next(
        proof.other
        for proof in (tree.prove(bytes([absent])) for absent in range(16, 256))
        if proof.other
    )

    for siblings in ((), shown.siblings, (bytes(32),) * 256, (bytes(32),) * 257):
        with pytest.raises(VerificationError):
            verify_absent(tree.root, key, MapProof(siblings, other))


def test_a_proof_deeper_than_a_path_is_refused():
    proof = MapProof((bytes(32),) * 257)

    with pytest.raises(VerificationError):
        verify_member(EMPTY_ROOT, b"a", b"1", proof)
    with pytest.raises(VerificationError):
        verify_absent(EMPTY_ROOT, b"a", proof)


def test_a_proof_is_a_record_of_a_few_hundred_bytes():
    held = {key.to_bytes(4, "big"): b"x" for key in range(2000)}
    tree = MerkleMap().update(held)
    proof = tree.prove(b"\x00\x00\x00\x07")

    assert decode(MapProof, encode(proof)) == proof
    assert len(encode(proof)) < 1000

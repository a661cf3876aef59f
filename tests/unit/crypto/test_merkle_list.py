"""RFC 6962 lists: every way to a root agrees, every proof verifies, no altered one does."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.codec import decode, encode
from tallystick.crypto.merkle_list import (
    EMPTY_ROOT,
    HashedList,
    Peaks,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    list_root,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from tallystick.errors import DecodeError, VerificationError

relaxed = settings(deadline=None, max_examples=60)
lists = st.lists(st.binary(max_size=8), max_size=40)
filled = st.lists(st.binary(max_size=8), min_size=1, max_size=40, unique=True)


def root_by_definition(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = root_by_definition(leaves[:split]), root_by_definition(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def flip(data, position):
    altered = bytearray(data)
    altered[position % len(data)] ^= 1 << (position % 8)
    return bytes(altered)


@relaxed
@given(lists)
def test_every_way_to_a_root_agrees_with_the_definition(leaves):
    grown = HashedList()
    for leaf in leaves:
        grown.append(leaf)
    expected = root_by_definition(leaves)

    assert list_root(leaves) == expected
    assert grown.root() == HashedList.of(leaves).root() == expected
    assert Peaks().extend(leaves).root == expected
    assert grown.peaks() == Peaks().extend(leaves)
    assert len(grown) == len(leaves)


@relaxed
@given(lists)
def test_a_grown_list_proves_every_prefix(leaves):
    hashed = HashedList.of(leaves)
    for size in range(len(leaves) + 1):
        root = root_by_definition(leaves[:size])
        assert hashed.root(size) == root
        for index in range(size):
            verify_inclusion(root, size, index, leaves[index], hashed.inclusion(index, size))


@relaxed
@given(lists)
def test_every_prefix_is_consistent_with_the_whole(leaves):
    hashes = [leaf_hash(leaf) for leaf in leaves]
    size, root = len(leaves), list_root(leaves)
    for old_size in range(size + 1):
        path = consistency_proof(hashes, old_size)
        verify_consistency(list_root(leaves[:old_size]), old_size, root, size, path)


@relaxed
@given(filled, st.integers(0), st.integers(0, 10**6))
def test_an_altered_inclusion_proof_is_refused(leaves, pick, position):
    size, index = len(leaves), pick % len(leaves)
    root, leaf = list_root(leaves), leaves[index]
    path = inclusion_proof([leaf_hash(each) for each in leaves], index)
    altered = [
        (flip(root, position), size, index, leaf, path),
        (root, size, index, leaf + b"\0", path),
        (root, size, index, leaf, (*path, root)),
        (root, size, size, leaf, path),
        (root, size, -1, leaf, path),
        (root, 0, 0, leaf, path),
        *((root, size, other, leaf, path) for other in range(size) if other != index),
    ]
    if path:
        spot = position % len(path)
        wrong = (*path[:spot], flip(path[spot], position), *path[spot + 1 :])
        short = (*path[:spot], path[spot][:-1], *path[spot + 1 :])
        altered += [(root, size, index, leaf, each) for each in (wrong, short, path[:-1])]
    for arguments in altered:
        with pytest.raises(VerificationError):
            verify_inclusion(*arguments)


@relaxed
@given(filled, st.integers(0), st.integers(0, 10**6))
def test_an_altered_consistency_proof_is_refused(leaves, pick, position):
    size, old_size = len(leaves), pick % (len(leaves) + 1)
    old, new = list_root(leaves[:old_size]), list_root(leaves)
    path = HashedList.of(leaves).consistency(old_size)
    altered = [
        (flip(old, position), old_size, new, size, path),
        (old, old_size, new, size, (*path, new)),
        (old, size + 1, new, size, path),
        (old, -1, new, size, path),
    ]
    if old_size:
        altered.append((old, old_size, flip(new, position), size, path))
    if path:
        spot = position % len(path)
        wrong = (*path[:spot], flip(path[spot], position), *path[spot + 1 :])
        altered += [(old, old_size, new, size, each) for each in (wrong, path[:-1])]
    for arguments in altered:
        with pytest.raises(VerificationError):
            verify_consistency(*arguments)


def test_a_rewritten_history_is_not_consistent():
    old, new = [b"a", b"b", b"c"], [b"a", b"x", b"c", b"d"]
    path = HashedList.of(new).consistency(3)

    with pytest.raises(VerificationError):
        verify_consistency(list_root(old), 3, list_root(new), 4, path)


def test_the_empty_list_has_one_root_and_precedes_every_list():
    verify_consistency(EMPTY_ROOT, 0, list_root([b"a"]), 1, ())
    verify_consistency(EMPTY_ROOT, 0, EMPTY_ROOT, 0, ())

    assert list_root([]) == HashedList().root() == Peaks().root == EMPTY_ROOT
    with pytest.raises(VerificationError):
        verify_consistency(EMPTY_ROOT, 0, list_root([b"a"]), 0, ())


def test_a_leaf_cannot_pass_for_a_node():
    left, right = leaf_hash(b"a"), leaf_hash(b"b")

    assert list_root([left + right]) != node_hash(left, right)


def test_places_beyond_the_list_have_no_proof():
    hashed = HashedList.of([b"a", b"b", b"c"])

    for call in (
        lambda: hashed.inclusion(3),
        lambda: hashed.inclusion(-1),
        lambda: hashed.inclusion(2, 2),
        lambda: hashed.inclusion(0, 4),
        lambda: hashed.consistency(4),
        lambda: hashed.consistency(-1),
        lambda: hashed.root(-1),
    ):
        with pytest.raises(IndexError):
            call()


def test_proofs_of_a_long_list_take_seventeen_hashes_at_most():
    hashed = HashedList(index.to_bytes(32, "big") for index in range(100_000))
    lengths = {len(hashed.inclusion(index)) for index in range(0, 100_000, 997)}

    assert max(lengths) == 17
    assert len(hashed.consistency(77_777)) <= 18
    assert len(hashed.peaks().hashes) == (100_000).bit_count()


def test_peaks_are_a_record_and_only_possible_ones_decode():
    peaks = Peaks().extend([b"a", b"b", b"c"])
    impossible = encode((4, peaks.hashes))

    assert decode(Peaks, encode(peaks)) == peaks
    with pytest.raises(DecodeError):
        decode(Peaks, impossible)

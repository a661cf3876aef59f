"""Tagged SHA-256 and BLAKE3 chunk trees."""

import hashlib
import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.crypto import hashes
from tallystick.crypto.hashes import CHUNK_BYTES, BlobHasher
from tallystick.errors import VerificationError

relaxed = settings(deadline=None, max_examples=25)
DATA = np.random.default_rng(0).integers(0, 256, 5 * CHUNK_BYTES + 77, dtype=np.uint8).tobytes()
sizes = st.sampled_from([0, 1, 77, CHUNK_BYTES]).flatmap(
    lambda rest: st.integers(0, 4).map(lambda chunks: chunks * CHUNK_BYTES + rest)
)


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_lists_of_parts_share_no_hash(first, second):
    equal = hashes.sha256("x", *first) == hashes.sha256("x", *second)

    assert equal == (first == second)


def test_domains_share_no_hash_and_the_preimage_is_as_specified():
    preimage = b"tallystick/seal\0" + (2).to_bytes(8, "little") + b"ab" + bytes(8)

    assert hashes.sha256("seal", b"ab", b"") == hashlib.sha256(preimage).digest()
    assert hashes.sha256("seal", b"ab") != hashes.sha256("deal", b"ab")
    for domain in ("", "a\0b"):
        with pytest.raises(ValueError, match="domain"):
            hashes.sha256(domain)


@relaxed
@given(sizes, st.lists(st.integers(0, 5 * CHUNK_BYTES), max_size=6))
def test_a_blob_has_one_root_however_it_is_cut(size, cuts):
    data = DATA[:size]
    hasher = BlobHasher(keep_leaves=True)
    edges = [0, *sorted(min(cut, size) for cut in cuts), size]
    for start, end in pairwise(edges):
        hasher.update(data[start:end])

    assert hasher.root == hashes.blob_root(data)
    assert hasher.size == size
    assert hasher.leaves == hashes.chunk_hashes(data)
    assert len(hasher.leaves) == hashes.chunk_count(size)
    assert hashes.root_of_chunks(hasher.leaves, size) == hasher.root


@relaxed
@given(sizes)
def test_every_chunk_opens_and_no_altered_opening_does(size):
    data = DATA[:size]
    root, leaves = hashes.blob_root(data), hashes.chunk_hashes(data)
    for index in range(len(leaves)):
        chunk = data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
        path = hashes.chunk_proof(leaves, index)
        hashes.verify_chunk(root, size, index, chunk, path)
        altered = [
            (bytes([root[0] ^ 1]) + root[1:], size, index, chunk, path),
            (root, size + 1, index, chunk, path),
            (root, size - 1, index, chunk, path),
            (root, size + CHUNK_BYTES, index, chunk, path),
            (root, size, index + 1, chunk, path),
            (root, size, index - 1, chunk, path),
            (root, size, index, chunk + b"\0", path),
            (root, size, index, chunk[:-1] + b"?" if chunk else b"?", path),
            (root, size, index, chunk, (*path, root)),
            (root, size, index, chunk, path[1:] if path else (root,)),
        ]
        for arguments in altered:
            with pytest.raises(VerificationError):
                hashes.verify_chunk(*arguments)


def test_hashing_may_go_on_after_a_root_was_asked_for():
    hasher = BlobHasher()
    roots = []
    for start in range(0, len(DATA), 100_000):
        hasher.update(DATA[start : start + 100_000])
        roots.append(hasher.root)

    assert roots[0] == hashes.blob_root(DATA[:100_000])
    assert roots[-1] == hashes.blob_root(DATA)


def test_arrays_and_buffers_hash_as_their_bytes():
    array = np.frombuffer(DATA[: 4 * 70_000], dtype=np.int32).reshape(100, 700)
    expected = hashes.blob_root(array.tobytes())

    for same in (array, array.view(np.float32), memoryview(array), bytearray(array.tobytes())):
        assert hashes.blob_root(same) == expected
    assert hashes.blob_root(io.BytesIO(array.tobytes()).getbuffer()) == expected


def test_empty_arrays_are_the_empty_blob():
    empty = hashes.blob_root(b"")

    assert hashes.blob_root(np.zeros((0, 3), dtype=np.float32)) == empty
    assert hashes.blob_root(memoryview(b"")) == empty
    assert BlobHasher().root == empty


def test_arrays_that_do_not_lie_in_a_row_are_refused():
    with pytest.raises(ValueError, match="contiguous"):
        hashes.blob_root(np.zeros((4, 4), dtype=np.int32)[:, ::2])


def test_zero_bytes_at_the_end_change_the_root():
    roots = {hashes.blob_root(bytes(size)) for size in (0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES)}

    assert len(roots) == 4


def test_a_node_cannot_pass_for_a_chunk():
    leaves = hashes.chunk_hashes(DATA[: 2 * CHUNK_BYTES])

    assert hashes.blob_root(b"".join(leaves)) != hashes.blob_root(DATA[: 2 * CHUNK_BYTES])


def test_leaves_are_there_only_when_they_were_kept():
    with pytest.raises(ValueError, match="keep_leaves"):
        _ = BlobHasher().leaves
    with pytest.raises(ValueError, match="chunks"):
        hashes.root_of_chunks([], 1)

"""Hashes of chunks that are shown first keep others' bytes out of a blob."""

from __future__ import annotations

import numpy as np
import pytest

from tallystick.crypto.hashes import CHUNK_BYTES, blob_root, chunk_hashes
from tallystick.storage.shelf import OffsetError, Shelf, WrongBytesError

TASK = b"t" * 32
DATA = np.random.default_rng(0).bytes(3 * CHUNK_BYTES + 5)
ROOT, SIZE, PLAN = blob_root(DATA), len(DATA), b"".join(chunk_hashes(DATA))
OTHER = bytes(CHUNK_BYTES)


@pytest.fixture
def shelf(tmp_path):
    shelf = Shelf(tmp_path / "shelf", quota_bytes=10 * SIZE)
    yield shelf
    shelf.close()


def chunk(index):
    return DATA[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]


def send(shelf, offset, member="north"):
    while offset < SIZE:
        offset = shelf.append(TASK, ROOT, SIZE, member, offset, chunk(offset // CHUNK_BYTES))
    return offset


@pytest.mark.parametrize("size", [SIZE + 1, 7 * CHUNK_BYTES, SIZE])
def test_whoever_squats_a_blob_gives_way_to_its_chunks(shelf, size):
    shelf.append(TASK, ROOT, size, "squatter", 0, OTHER)

    assert shelf.plan(TASK, ROOT, SIZE, "north", PLAN) == 0
    assert shelf.used(TASK, "squatter") == 0
    assert send(shelf, 0) == SIZE
    assert b"".join(shelf.read(TASK, ROOT, 0, SIZE)) == DATA


def test_no_other_chunk_is_taken_once_they_are_known(shelf):
    shelf.plan(TASK, ROOT, SIZE, "north", PLAN)
    shelf.append(TASK, ROOT, SIZE, "north", 0, chunk(0))
    with pytest.raises(WrongBytesError):
        shelf.append(TASK, ROOT, SIZE, "squatter", CHUNK_BYTES, OTHER)
    with pytest.raises(OffsetError):
        shelf.append(TASK, ROOT, SIZE, "squatter", 0, OTHER)

    assert send(shelf, CHUNK_BYTES, "squatter") == SIZE


def test_what_is_right_of_an_earlier_upload_is_kept(shelf):
    shelf.append(TASK, ROOT, SIZE, "north", 0, chunk(0))

    assert shelf.plan(TASK, ROOT, SIZE, "south", PLAN) == CHUNK_BYTES
    assert send(shelf, CHUNK_BYTES, "south") == SIZE
    assert shelf.plan(TASK, ROOT, SIZE, "south", PLAN) == SIZE


@pytest.mark.parametrize(
    ("size", "plan"),
    [(SIZE - 1, PLAN), (SIZE, PLAN[:-32]), (SIZE, PLAN[:-1]), (SIZE, bytes(len(PLAN))), (0, b"")],
)
def test_hashes_that_do_not_give_the_root_are_refused(shelf, size, plan):
    with pytest.raises(WrongBytesError):
        shelf.plan(TASK, ROOT, size, "north", plan)

    assert shelf.progress(TASK, ROOT) is None

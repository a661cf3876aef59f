"""Downloads that go on: only checked chunks stay, and one writer at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.crypto.hashes import CHUNK_BYTES, blob_root, chunk_hashes
from tallystick.errors import ConfigError, UnavailableError, VerificationError
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.partial import PartialBlob, WrongChunkError

DATA = np.random.default_rng(0).bytes(3 * CHUNK_BYTES + 5)
ROOT, LEAVES = blob_root(DATA), chunk_hashes(DATA)
HOLDER = """
import sys
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.partial import PartialBlob
root, size = bytes.fromhex(sys.argv[2]), int(sys.argv[3])
leaves = [bytes.fromhex(leaf) for leaf in sys.argv[4:]]
partial = PartialBlob(FileBlobs(sys.argv[1]), root, size, leaves)
partial.write(sys.stdin.buffer.read())
print(partial.offset, flush=True)
sys.stdin = open(0, closefd=False)
import time; time.sleep(600)
"""


@pytest.fixture
def store(tmp_path):
    return FileBlobs(tmp_path / "blobs")


def begin(store, data=DATA):
    return PartialBlob(store, blob_root(data), len(data), chunk_hashes(data))


def part_of(store, data=DATA):
    return store.folder / "tmp" / f"{blob_root(data).hex()}.part"


def download(store, upto, data=DATA):
    """Download some bytes and stop."""
    with closing(begin(store, data)) as partial:
        partial.write(data[partial.offset : upto])
        return partial.offset


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(DATA)])
def test_what_was_written_is_a_blob_of_the_store(store, size):
    data = DATA[:size]
    partial = begin(store, data)
    partial.write(data)
    partial.commit()
    partial.close()

    assert store.open(blob_root(data)).tobytes() == data
    assert FileBlobs(store.folder).has(blob_root(data))
    assert list((store.folder / "tmp").iterdir()) == []


@given(
    cuts=st.lists(st.integers(0, len(DATA)), max_size=6), kind=st.sampled_from([bytes, bytearray])
)
def test_however_it_is_cut_and_interrupted_it_becomes_the_blob(tmp_path_factory, cuts, kind):
    store = FileBlobs(tmp_path_factory.mktemp("blobs"), durable=False)
    for cut in cuts:
        held = download(store, cut)

        assert held % CHUNK_BYTES == 0 or held == len(DATA)
    with closing(begin(store)) as partial:
        offset, *cuts = sorted(
            {partial.offset, *(c for c in cuts if c > partial.offset), len(DATA)}
        )
        for cut in cuts:
            partial.write(kind(DATA[offset:cut]))
            offset = cut
        partial.commit()

    assert store.open(ROOT).tobytes() == DATA


def test_a_new_process_goes_on_after_the_last_whole_chunk(store):
    assert download(store, 2 * CHUNK_BYTES + 77) == 2 * CHUNK_BYTES
    with closing(begin(store)) as partial:
        assert partial.offset == 2 * CHUNK_BYTES


@pytest.mark.parametrize(("at", "sound"), [(5, 0), (CHUNK_BYTES, 1), (2 * CHUNK_BYTES + 9, 2)])
def test_what_is_damaged_on_the_disk_is_cut_off(store, at, sound):
    download(store, len(DATA))
    with part_of(store).open("r+b") as file:
        file.seek(at)
        file.write(bytes([DATA[at] ^ 1]))

    with closing(begin(store)) as partial:
        assert partial.offset == sound * CHUNK_BYTES
        assert part_of(store).stat().st_size == partial.offset
        partial.write(DATA[partial.offset :])
        partial.commit()
    assert store.open(ROOT).tobytes() == DATA


def test_a_torn_chunk_and_what_is_too_much_are_cut_off(store):
    download(store, len(DATA))
    os.truncate(part_of(store), 2 * CHUNK_BYTES + 1)
    with closing(begin(store)) as torn:
        assert torn.offset == 2 * CHUNK_BYTES
        torn.write(DATA[torn.offset :])
    with part_of(store).open("ab") as file:
        file.write(b"more")

    with closing(begin(store)) as partial:
        assert partial.offset == len(DATA)
        assert part_of(store).stat().st_size == len(DATA)


def test_a_wrong_chunk_is_named_and_those_before_it_stay(store):
    wrong = bytearray(DATA)
    wrong[CHUNK_BYTES + 3] ^= 1
    with closing(begin(store)) as partial:
        with pytest.raises(WrongChunkError) as caught:
            partial.write(bytes(wrong))

        assert partial.offset == CHUNK_BYTES
        assert (caught.value.root, caught.value.index) == (ROOT, 1)
        assert caught.value.got == chunk_hashes(wrong)[1]
        partial.write(DATA[partial.offset :])
        partial.commit()
    assert store.open(ROOT).tobytes() == DATA


def test_a_wrong_chunk_in_small_pieces_is_found_once_it_is_whole(store):
    with closing(begin(store)) as partial:
        partial.write(b"?" * (CHUNK_BYTES - 1))
        with pytest.raises(WrongChunkError):
            partial.write(b"?")
        partial.write(DATA)

        assert partial.offset == len(DATA)


def test_another_holder_goes_on_at_a_whole_chunk(store):
    with closing(begin(store)) as partial:
        partial.write(DATA[: CHUNK_BYTES + 9])

        assert partial.rewind() == CHUNK_BYTES
        partial.write(DATA[CHUNK_BYTES:])
        assert partial.offset == len(DATA)


def test_more_than_the_blob_has_is_refused_and_the_blob_kept(store):
    with closing(begin(store)) as partial:
        with pytest.raises(VerificationError, match="more than"):
            partial.write(DATA + b"!")
        partial.commit()

    assert store.has(ROOT)


def test_what_is_not_whole_is_not_committed(store):
    with closing(begin(store)) as partial:
        partial.write(DATA[:-1])
        with pytest.raises(ConfigError, match=f"{3 * CHUNK_BYTES} of {len(DATA)} bytes"):
            partial.commit()
    assert not store.has(ROOT)


def test_hashes_that_are_not_the_blobs_are_refused(store):
    other = bytes(32)
    for leaves, size in ((LEAVES[:-1], len(DATA)), ((*LEAVES, other), len(DATA)), (LEAVES, -1)):
        with pytest.raises(ConfigError, match="chunks"):
            PartialBlob(store, ROOT, size, leaves)
    ragged = (LEAVES[0] + LEAVES[1][:1], LEAVES[1][1:], *LEAVES[2:])  # the same when joined
    for leaves in ((*LEAVES[:-1], other), ragged):
        with pytest.raises(VerificationError, match="not the chunks"):
            PartialBlob(store, ROOT, len(DATA), leaves)
    with pytest.raises(VerificationError, match="not the chunks"):
        PartialBlob(store, ROOT, len(DATA) - 1, LEAVES)
    with pytest.raises(VerificationError, match="not the chunks"):
        PartialBlob(store, blob_root(b""), 0, [other])
    assert not part_of(store).exists()


def test_a_blob_that_came_another_way_meanwhile_is_no_trouble(store):
    with closing(begin(store)) as partial:
        partial.write(DATA)
        store.put(DATA)
        partial.commit()

    assert store.open(ROOT).tobytes() == DATA
    assert list((store.folder / "tmp").iterdir()) == []


def test_a_part_outlives_other_leftovers_by_days(store):
    download(store, 2 * CHUNK_BYTES)
    stray = store.folder / "tmp" / "stray"
    stray.write_bytes(b"x")
    for days, parts in ((13, [part_of(store)]), (15, [])):
        long_ago = time.time() - days * 86_400
        for path in (store.folder / "tmp").iterdir():
            os.utime(path, (long_ago, long_ago))
        FileBlobs(store.folder)

        assert list((store.folder / "tmp").iterdir()) == parts


def test_to_open_a_part_is_to_want_it_still(store):
    download(store, CHUNK_BYTES)
    os.utime(part_of(store), (0, 0))
    begin(store).close()

    assert time.time() - part_of(store).stat().st_mtime < 60


def test_a_second_writer_in_this_process_is_refused(store):
    with closing(begin(store)) as partial:
        for _ in range(2):
            with pytest.raises(UnavailableError, match="in use"):
                begin(store)
        partial.write(DATA)
    with closing(begin(store)) as partial:
        assert partial.offset == len(DATA)


def test_a_second_process_is_refused_until_the_first_is_killed(store):
    command = [sys.executable, "-c", HOLDER, str(store.folder), ROOT.hex(), str(len(DATA))]
    holder = subprocess.Popen(
        [*command, *(leaf.hex() for leaf in LEAVES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with holder:
        holder.stdin.write(DATA[: CHUNK_BYTES + 1])
        holder.stdin.close()
        printed = int(holder.stdout.readline())
        with pytest.raises(UnavailableError, match="in use"):
            begin(store)
        holder.kill()

    assert printed == CHUNK_BYTES
    with closing(begin(store)) as partial:
        assert partial.offset == CHUNK_BYTES


def test_a_part_removed_under_its_writer_is_not_mistaken_for_the_next(store):
    with closing(begin(store)) as first:
        first.write(DATA)
        part_of(store).unlink()
        with pytest.raises(UnavailableError):
            first.commit()
    with closing(begin(store)) as second:
        assert second.offset == 0


def test_a_store_for_reading_takes_no_download(store):
    store.put(b"x")

    with pytest.raises(UnavailableError, match="reading only"):
        begin(FileBlobs(store.folder, read_only=True))


def test_memory_is_a_chunk_or_two(store):
    piece = np.random.default_rng(1).bytes(CHUNK_BYTES)
    leaves, size = chunk_hashes(piece * 20), 20 * CHUNK_BYTES
    root = blob_root(piece * 20)
    twice = piece * 2
    tracemalloc.start()
    with closing(PartialBlob(store, root, size, leaves)) as partial:
        for _ in range(10):
            partial.write(piece)
    with closing(PartialBlob(store, root, size, leaves)) as partial:
        for start in range(0, CHUNK_BYTES * 10, 10_000):
            cut = start % CHUNK_BYTES
            partial.write(twice[cut : cut + min(10_000, CHUNK_BYTES * 10 - start)])
        partial.commit()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert store.has(root)
    assert peak < 3 * CHUNK_BYTES

"""Whatever a crash, a disk or a member does to a blob, a shelf serves the right bytes or none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.shelves import (
    DATA,
    KEY,
    ROOT,
    STARTS,
    TASK,
    file_of,
    flip_a_bit,
    send,
    whole,
)

from tallystick.crypto.hashes import CHUNK_BYTES, blob_root
from tallystick.errors import ConfigError, UnavailableError, VerificationError
from tallystick.storage import files, shelved
from tallystick.storage.shelf import (
    DamagedError,
    OffsetError,
    Progress,
    WrongBytesError,
)


@pytest.mark.parametrize("cut", [1, CHUNK_BYTES, CHUNK_BYTES + 41])
def test_a_torn_chunk_is_cut_off(opened, tmp_path, cut):
    send(opened(), upto=2 * CHUNK_BYTES)
    part = file_of(tmp_path, ".part")
    os.truncate(part, part.stat().st_size - cut)
    shelf = opened()
    held = 0 if cut > CHUNK_BYTES + 40 else CHUNK_BYTES

    assert shelf.progress(TASK, ROOT).offset == held
    with pytest.raises(OffsetError) as caught:
        shelf.append(TASK, ROOT, len(DATA), "ada", 2 * CHUNK_BYTES, DATA[2 * CHUNK_BYTES :][:9])
    assert caught.value.offset == held
    send(shelf)
    assert whole(shelf) == DATA


def test_bytes_of_a_part_that_power_loss_spoilt_are_found(opened, tmp_path):
    send(opened(), upto=3 * CHUNK_BYTES)
    flip_a_bit(file_of(tmp_path, ".part"), CHUNK_BYTES + 99)
    shelf = opened()

    assert shelf.progress(TASK, ROOT).offset == CHUNK_BYTES
    send(shelf)
    assert whole(shelf) == DATA


def test_a_chunk_whose_hash_was_not_written_is_sent_again(opened, tmp_path):
    send(opened(), upto=2 * CHUNK_BYTES)
    os.truncate(file_of(tmp_path, ".leaves"), 63)
    shelf = opened()

    assert shelf.progress(TASK, ROOT).offset == CHUNK_BYTES
    send(shelf)
    assert whole(opened()) == DATA


@pytest.mark.parametrize("lost", [".part", ".leaves"])
def test_an_upload_whose_file_a_crash_lost_begins_again(opened, tmp_path, lost):
    send(opened(), upto=2 * CHUNK_BYTES)
    file_of(tmp_path, lost).unlink()
    shelf = opened()

    assert shelf.progress(TASK, ROOT) == Progress(len(DATA), 0, False, "ada")
    send(shelf)
    assert whole(shelf) == DATA


def test_a_crash_between_the_last_byte_and_the_name_loses_nothing(opened, tmp_path):
    send(opened())
    file_of(tmp_path, ".blob").rename(file_of(tmp_path, ".part"))
    shelf = opened()

    assert shelf.append(TASK, ROOT, len(DATA), "ada", 0, DATA[:CHUNK_BYTES]) == len(DATA)
    assert whole(shelf) == DATA


def test_everything_is_on_disk_before_the_last_chunk_is_acknowledged(opened, monkeypatch):
    done = []
    shelf = opened()
    send(shelf, upto=3 * CHUNK_BYTES)
    monkeypatch.setattr(shelved, "sync_data", lambda number: done.append("data"))
    monkeypatch.setattr(shelved, "sync_folder", lambda folder: done.append("folder"))
    send(shelf)

    assert done == ["data", "data", "folder"]


def test_the_wrong_bytes_are_thrown_away(opened, tmp_path):
    shelf = opened()
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])
    for start in STARTS[:-1]:
        shelf.append(TASK, ROOT, len(DATA), "ada", start, wrong[start : start + CHUNK_BYTES])
    with pytest.raises(WrongBytesError) as caught:
        shelf.append(TASK, ROOT, len(DATA), "ada", STARTS[-1], wrong[STARTS[-1] :])

    assert isinstance(caught.value, VerificationError)
    assert caught.value.root == ROOT
    assert shelf.progress(TASK, ROOT) is None
    assert shelf.used(TASK, "ada") == 0
    assert list(file_of(tmp_path, "").parent.iterdir()) == []
    send(shelf)
    assert whole(shelf) == DATA


def test_wrong_bytes_found_after_a_crash_are_thrown_away_too(opened, tmp_path):
    shelf, wrong = opened(), DATA[:-1] + bytes([DATA[-1] ^ 1])
    send(shelf, wrong)
    shelf.close()
    for suffix in (".meta", ".leaves"):
        file_of(tmp_path, suffix, blob_root(wrong)).rename(file_of(tmp_path, suffix))
    file_of(tmp_path, ".blob", blob_root(wrong)).rename(file_of(tmp_path, ".part"))

    assert opened().progress(TASK, ROOT) is None


@pytest.mark.parametrize("harm", ["flip", "cut", "lose", "leaves", "no leaves"])
def test_damage_is_named_and_the_blob_can_be_uploaded_again(opened, tmp_path, harm):
    send(opened())
    blob, leaves = file_of(tmp_path, ".blob"), file_of(tmp_path, ".leaves")
    {
        "flip": lambda: flip_a_bit(blob, 2 * CHUNK_BYTES + 99),
        "cut": lambda: os.truncate(blob, 2 * CHUNK_BYTES + 99),
        "lose": blob.unlink,
        "leaves": lambda: flip_a_bit(leaves),
        "no leaves": leaves.unlink,
    }[harm]()
    shelf = opened()

    if harm == "lose":
        assert shelf.progress(TASK, ROOT) == Progress(len(DATA), 0, False, "ada")
    else:
        with pytest.raises(DamagedError, match="damaged") as caught:
            whole(shelf)
        assert isinstance(caught.value, UnavailableError)
        assert shelf.progress(TASK, ROOT) is None
        assert shelf.used(TASK, "ada") == 0
        assert file_of(tmp_path, ".bad").exists()
    send(shelf)
    assert whole(shelf) == DATA


def test_the_chunks_before_the_damage_are_served(opened, tmp_path):
    shelf = opened()
    send(shelf)
    flip_a_bit(file_of(tmp_path, ".blob"), 2 * CHUNK_BYTES + 99)
    pieces = shelf.read(TASK, ROOT, 5, len(DATA) - 5)

    assert next(pieces) + next(pieces) == DATA[5 : 2 * CHUNK_BYTES]
    with pytest.raises(DamagedError):
        next(pieces)


def test_damage_to_the_hashes_alone_is_found_by_who_asks_for_them(opened, tmp_path):
    send(opened())
    flip_a_bit(file_of(tmp_path, ".leaves"))
    shelf = opened()

    with pytest.raises(DamagedError):
        shelf.leaves(TASK, ROOT)
    assert shelf.progress(TASK, ROOT) is None


def test_a_blob_lost_while_it_is_served_says_so(opened, tmp_path):
    shelf = opened()
    send(shelf)
    pieces = shelf.read(TASK, ROOT, 0, 1)
    file_of(tmp_path, ".blob").unlink()
    dropped = shelf.read(TASK, ROOT, 0, 1)

    with pytest.raises(DamagedError):
        next(pieces)
    with pytest.raises(UnavailableError, match="dropped meanwhile"):
        next(dropped)


def test_a_blob_whose_header_is_damaged_is_put_aside(opened, tmp_path):
    send(opened())
    flip_a_bit(file_of(tmp_path, ".meta"), 0)
    shelf = opened()

    assert shelf.progress(TASK, ROOT) is None
    assert file_of(tmp_path, ".bad").exists()
    assert not file_of(tmp_path, ".meta").exists()


def test_a_disk_that_is_full_leaves_the_upload_as_it_was(opened, monkeypatch):
    def full(file, data, start):
        file.seek(start)
        file.write(data[:1000])
        raise OSError(28, "No space left on device")

    shelf = opened()
    send(shelf, upto=CHUNK_BYTES)
    with monkeypatch.context() as patched:
        patched.setattr(shelved, "write_at", full)
        with pytest.raises(UnavailableError, match="No space left"):
            send(shelf)

    assert shelf.progress(TASK, ROOT).offset == CHUNK_BYTES
    assert opened().progress(TASK, ROOT).offset == CHUNK_BYTES
    send(opened())
    assert whole(opened()) == DATA


def test_a_disk_too_full_to_begin_leaves_nothing(opened, tmp_path, monkeypatch):
    def full(folder):
        raise OSError(28, "No space left on device")

    shelf = opened()
    with monkeypatch.context() as patched:
        patched.setattr(shelved, "sync_folder", full)
        with pytest.raises(UnavailableError, match="No space left"):
            send(shelf)

    assert shelf.used(TASK, "ada") == 0
    assert list(file_of(tmp_path, "").parent.iterdir()) == []
    send(shelf)


def test_bytes_that_may_not_have_reached_the_disk_are_not_vouched_for(opened, monkeypatch):
    def failing(number):
        raise OSError(5, "Input/output error")

    shelf = opened()
    with monkeypatch.context() as patched:
        patched.setattr(shelved, "sync_data", failing)
        with pytest.raises(UnavailableError, match="Input/output"):
            send(shelf)

    assert shelf.progress(TASK, ROOT) is None
    send(shelf)
    assert whole(shelf) == DATA


def test_the_disk_holds_no_plain_bytes_of_an_encrypted_shelf(opened, tmp_path, key):
    data = b"a secret every sixteen bytes, so".ljust(64, b".") * (CHUNK_BYTES // 32)
    shelf = opened()
    send(shelf, data)
    send(shelf, data + b"!", upto=CHUNK_BYTES)
    stored = [path.read_bytes() for path in (tmp_path / "shelf").rglob("*") if path.is_file()]

    assert any(b"a secret" in found for found in stored) == (not key)
    sizes = [len(found) for found in stored]
    assert len(data) + (2 * 40 if key else 0) in sizes


def test_another_key_is_refused_before_anything_looks_damaged(opened, tmp_path, key):
    send(opened())
    for wrong in {b"", KEY, b"k" * 32} - {key}:
        with pytest.raises(ConfigError, match="this key"):
            opened(key=wrong)
    with pytest.raises(ConfigError, match="32 bytes"):
        opened(key=b"short")

    assert whole(opened()) == DATA


def test_a_small_file_is_never_half_there(tmp_path):
    files.write_new(tmp_path / "a", b"first")
    files.write_new(tmp_path / "a", b"second")

    assert (tmp_path / "a").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


UPLOADER = """
import os, sys
from pathlib import Path
from tallystick.crypto.hashes import CHUNK_BYTES
from tallystick.storage.shelf import Shelf
shelf = Shelf(Path(sys.argv[1]), key=bytes.fromhex(sys.argv[3]), quota_bytes=1 << 30)
data, root, at = sys.stdin.buffer.read(), bytes.fromhex(sys.argv[2]), 0
while at < int(sys.argv[4]):
    at = shelf.append(b"t" * 32, root, len(data), "ada", at, data[at : at + CHUNK_BYTES])
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("upto", [CHUNK_BYTES, len(DATA)])
def test_what_was_acknowledged_outlives_a_killed_process(opened, tmp_path, key, upto):
    arguments = [str(tmp_path / "shelf"), ROOT.hex(), key.hex(), str(upto)]
    killed = subprocess.run(
        [sys.executable, "-c", UPLOADER, *arguments],
        input=DATA,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    shelf = opened()

    assert killed.returncode == -9
    assert shelf.progress(TASK, ROOT) == Progress(len(DATA), upto, upto == len(DATA), "ada")
    send(shelf)
    assert whole(shelf) == DATA

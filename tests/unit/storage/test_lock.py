"""Locks: one writer at a time, told apart within a process and between processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.errors import UnavailableError
from tallystick.storage import lock as locks
from tallystick.storage.lock import Lock, claim

HOLDER = """
import sys, time, pathlib
from tallystick.storage.lock import Lock
lock = Lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_opener_is_refused_with_the_folder_and_what_to_do(tmp_path):
    first = Lock(tmp_path)
    with pytest.raises(UnavailableError, match=str(tmp_path)) as refused:
        Lock(tmp_path)
    first.close()

    assert "end it" in refused.value.hint
    Lock(tmp_path).close()


def test_another_process_is_refused_until_the_holder_is_killed(tmp_path, holder):
    with pytest.raises(UnavailableError, match="in use"):
        Lock(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    Lock(tmp_path).close()


def test_a_refused_opener_does_not_release_the_holders_lock(tmp_path, holder):
    for _ in range(2):
        with pytest.raises(UnavailableError, match="in use"):
            Lock(tmp_path)


def test_a_lock_that_nobody_refers_to_any_more_is_released(tmp_path):
    lock = Lock(tmp_path)
    del lock

    Lock(tmp_path).close()


def test_a_file_is_locked_beside_it(tmp_path):
    lock = Lock(tmp_path / "ledger.db")
    lock.close()

    assert [path.name for path in Path(tmp_path).iterdir()] == ["ledger.db-lock"]


def test_a_claimed_file_is_free_once_it_is_closed_or_forgotten(tmp_path):
    with claim(tmp_path / "file") as file:
        file.write(b"mine")
        with pytest.raises(UnavailableError, match="in use"):
            claim(tmp_path / "file")
    with claim(tmp_path / "file") as file:
        assert file.read() == b"mine"

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_moved_away_before_it_was_locked_is_not_the_one_claimed(tmp_path, monkeypatch):
    path, moved = tmp_path / "file", tmp_path / "moved"
    take = locks._take

    def late(number):
        if not moved.exists():
            path.rename(moved)
        take(number)

    monkeypatch.setattr(locks, "_take", late)
    with claim(path) as file:
        file.write(b"mine")

    assert path.read_bytes() == b"mine"
    assert moved.read_bytes() == b""


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(UnavailableError, match="nowhere"):
        claim(tmp_path / "nowhere" / "file")


def test_a_disk_that_has_no_locks_is_named(tmp_path, monkeypatch):
    def unable(number):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks, "_take", unable)
    for take in (Lock, lambda path: claim(path / "file")):
        with pytest.raises(UnavailableError, match="No locks available"):
            take(tmp_path)

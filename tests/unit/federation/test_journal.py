"""Journals: a torn tail is dropped, damage is refused, nothing whole is ever lost."""

import signal

import pytest

from tallystick.errors import UnavailableError
from tallystick.federation.journal import Journal
from tallystick.mechanisms.records import Artefact, Key

LINES = 3


def key_of(number):
    return Key(bytes(32), 1, number, "update", "")


@pytest.fixture
def path(tmp_path):
    """A journal of three lines."""
    journal = Journal(tmp_path / "a" / "journal")
    for number in range(LINES):
        journal.put(key_of(number), Artefact(bytes([number]) * 32, 9))
    journal.flush()
    journal.close()
    return tmp_path / "a" / "journal"


def known(path):
    journal = Journal(path)
    found = [number for number in range(LINES + 1) if journal.get(key_of(number)) is not None]
    journal.close()
    return found


def test_what_was_recorded_is_there_again(path):
    assert known(path) == [0, 1, 2]


def test_a_last_line_cut_off_anywhere_is_dropped_alone(path):
    data = path.read_bytes()
    size = len(data) // LINES
    for length in range(2 * size, len(data)):
        path.write_bytes(data[:length])

        assert known(path) == [0, 1]
        assert path.read_bytes() == data[: 2 * size]


def test_a_tail_that_was_never_filled_in_is_dropped(path):
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(50))

    assert known(path) == [0, 1, 2]
    assert path.read_bytes() == whole


def test_a_line_can_follow_a_dropped_one(path):
    path.write_bytes(path.read_bytes()[:-5])
    journal = Journal(path)
    journal.put(key_of(3), Artefact(bytes(32), 1))
    journal.close()

    assert known(path) == [0, 1, 3]


def test_any_flipped_bit_refuses_to_open_and_keeps_every_byte(path):
    data = path.read_bytes()
    size = len(data) // LINES
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(UnavailableError, match=f"journal: line {place // size + 1}, "):
            Journal(path)

        assert path.read_bytes() == damaged


def test_a_line_that_does_not_fit_the_disk_leaves_no_half(path):
    resource = pytest.importorskip("resource")  # there is none on Windows
    whole = path.read_bytes()
    journal = Journal(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))
        with pytest.raises(OSError, match="too large"):
            journal.put(key_of(3), Artefact(bytes(32), 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)

    assert journal.get(key_of(3)) is None
    assert path.read_bytes() == whole
    journal.put(key_of(3), Artefact(bytes(32), 1))
    journal.close()
    assert known(path) == [0, 1, 2, 3]

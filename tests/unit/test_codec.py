"""One value, one byte string: whatever else decodes to a value is refused."""

import random
import struct
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import environment

from tallystick.codec import MAX_U63, check_range, decode, encode
from tallystick.crypto.merkle_list import Peaks
from tallystick.crypto.merkle_map import MapProof
from tallystick.errors import DecodeError, InvariantError
from tallystick.mechanisms.records import (
    Artefact,
    Attestation,
    Complaint,
    Fault,
    Key,
    Opinion,
    Output,
    Pay,
    Seal,
    Subject,
)

HASH = bytes(range(32))
KEY = Key(HASH, 1, 300, "update", "")
SUBJECT = Subject(HASH, "north", "g1", 314, (-1, 0, 70_000), HASH, b"")
SAMPLES = [
    KEY,
    Seal(HASH),
    Artefact(HASH, 123_456, (HASH, HASH), 3, b"statement"),
    Opinion(HASH, (None, -5, 2**40, None), HASH),
    Attestation(bytes(64)),
    Complaint(b"record", b""),
    SUBJECT,
    Output((SUBJECT, SUBJECT), (Pay("north", 5), Fault("south", 2**40, 320)), ""),
    Peaks().extend([b"a", b"b", b"c"]),
    MapProof((HASH, HASH), HASH + HASH),
]
RECORD = Seal | Artefact | Opinion | Attestation | Complaint
labels = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,10}\Z")
hashes = st.binary(min_size=32, max_size=32)


def refuse(kind, data):
    with pytest.raises(DecodeError):
        decode(kind, data)


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back_from_its_bytes(value):
    data = encode(value)

    assert decode(type(value), data) == value
    assert decode(type(value), bytearray(data)) == value
    assert decode(type(value), memoryview(data)) == value


def test_a_union_is_told_apart_by_its_tag():
    for value in SAMPLES:
        if isinstance(value, RECORD):
            assert decode(RECORD, encode(value)) == value


@settings(deadline=None)
@given(
    st.builds(
        Subject,
        id=hashes,
        author=labels,
        group=labels | st.just(""),
        verdict=st.integers(0, 2**16 - 1),
        columns=st.lists(st.integers(-MAX_U63, MAX_U63), max_size=8).map(tuple),
    )
)
def test_any_subject_comes_back_from_its_bytes(subject):
    assert decode(Subject, encode(subject)) == subject


def test_integers_are_written_in_the_fewest_bytes():
    data = encode(Pay("north", 5))
    head = data[:-1]
    wider = [b"\xcc\x05", b"\xcd\0\x05", b"\xce\0\0\0\x05", b"\xcf" + bytes(7) + b"\x05"]

    assert data[-1:] == b"\x05"
    for five in [*wider, b"\xd0\x05", b"\xd3" + bytes(7) + b"\x05"]:
        refuse(Pay, head + five)
    for not_an_integer in (b"\xcb" + struct.pack(">d", 5.0), b"\xc3", b"\xc0", b"\xa15"):
        refuse(Pay, head + not_an_integer)


def test_strings_bytes_and_arrays_are_written_in_the_fewest_bytes():
    data = encode(Pay("north", 5))

    refuse(Pay, data.replace(b"\xa5north", b"\xd9\x05north"))
    refuse(Pay, b"\xdc\0\x03" + data[1:])
    refuse(Seal, encode(Seal(HASH)).replace(b"\xc4\x20", b"\xc5\0\x20"))
    refuse(Seal, encode(Seal(HASH)).replace(b"\xc4\x20", b"\xd9\x20"))


def test_map_keys_are_sorted_and_single():
    kind = dict[str, int]
    one, two = b"\xa1a\x01", b"\xa1b\x02"

    assert decode(kind, b"\x82" + one + two) == {"a": 1, "b": 2}
    refuse(kind, b"\x82" + two + one)
    refuse(kind, b"\x82" + one + one)
    refuse(kind, b"\x82" + one + b"\xa1a\x02")


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_bytes_that_follow_or_are_missing_are_refused(value):
    data = encode(value)

    refuse(type(value), data + b"\0")
    refuse(type(value), data + data)
    for size in range(len(data)):
        refuse(type(value), data[:size])


def test_defaults_are_written_and_no_field_is_added():
    whole = encode(Artefact(HASH, 5))
    fields = msgspec.msgpack.decode(whole)

    assert len(fields) == 6
    for count in range(1, 6):
        refuse(Artefact, encode(tuple(fields[:count])))
    refuse(Artefact, encode((*fields, 0)))
    refuse(Artefact, encode((*fields, None)))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Key, (HASH, 3, 0, "update", "")),
        (Key, (HASH, -1, 0, "update", "")),
        (Key, (HASH, 0, 2**32, "update", "")),
        (Key, (HASH[:31], 0, 0, "update", "")),
        (Key, (HASH, 0, 0, "", "")),
        (Key, (HASH, 0, 0, "Update", "")),
        (Key, (HASH, 0, 0, "up/date", "")),
        (Key, (HASH, 0, 0, "x" * 65, "")),
        (Pay, ("p", "north", -1)),
        (Pay, ("p", "north", 2**63)),
        (Pay, ("q", "north", 1)),
        (Opinion, ("o", HASH, (2**63,), b"")),
        (Opinion, ("o", HASH, (-(2**63),), b"")),
        (Subject, (HASH, "a", "", 2**16, (), b"", b"")),
        (Subject, (HASH, "a", "", 0, (0,) * 1025, b"", b"")),
        (Artefact, ("a", HASH, 0, (HASH,) * 9, 1, b"")),
        (Attestation, ("t", bytes(63))),
    ],
)
def test_values_out_of_range_are_refused(kind, fields):
    refuse(kind, encode(fields))


def test_text_is_utf8():
    head = encode(Pay("north", 5))[:3]

    refuse(Pay, head + b"\xa3\xed\xa0\x80\x05")
    refuse(Pay, head + b"\xa2\xff\xfe\x05")


def test_labels_hold_no_newline_not_even_at_their_end():
    refuse(Pay, encode(("p", "north\n", 5)))
    refuse(Subject, encode((HASH, "north", "g1\n", 0, (), b"", b"")))


def test_deep_nesting_is_refused():
    for kind in (Output, Key, dict[str, int]):
        refuse(kind, b"\x91" * 100_000)
        refuse(kind, b"\x81" * 100_000)


def attempt(kind, data):
    """Return whether ``data`` decodes; anything but a DecodeError leaves the test."""
    try:
        value = decode(kind, data)
    except DecodeError:
        return False
    assert encode(value) == data
    return True


def test_random_bytes_raise_only_decode_errors():
    dice = random.Random(1)
    kinds = [*{type(value) for value in SAMPLES}, RECORD, dict[str, int]]
    accepted = sum(
        attempt(dice.choice(kinds), dice.randbytes(dice.randrange(80))) for _ in range(10_000)
    )

    assert accepted < 100


def test_mutated_bytes_raise_only_decode_errors_or_are_canonical():
    dice = random.Random(2)
    encoded = [(type(value), encode(value)) for value in SAMPLES]
    refused = 0
    for _ in range(10_000):
        kind, data = dice.choice(encoded)
        altered = bytearray(data)
        for _ in range(dice.randrange(1, 4)):
            spot = dice.randrange(len(altered) + 1)
            action = dice.randrange(3)
            if action == 0:
                altered.insert(spot, dice.randrange(256))
            elif action == 1 and spot < len(altered):
                del altered[spot]
            elif spot < len(altered):
                altered[spot] = dice.randrange(256)
        refused += not attempt(kind, bytes(altered))

    assert refused > 1000


def test_what_has_no_canonical_form_is_our_own_bug():
    for value in (2**70, object(), {"a": 2**64}):
        with pytest.raises(InvariantError):
            encode(value)


def test_a_computed_value_out_of_range_is_our_own_bug():
    assert check_range(0) == 0
    assert check_range(MAX_U63) == MAX_U63
    assert check_range(-5, -5, 5) == -5
    for value, low, high in ((-1, 0, 5), (6, 0, 5), (MAX_U63 + 1, 0, MAX_U63)):
        with pytest.raises(InvariantError):
            check_range(value, low, high)


THREADS = '''
import sys, threading, types
from tallystick.codec import convert, decode, encode

CLASSES = """
from __future__ import annotations
from tallystick.codec import U63, Label, Record
class Inner(Record):
    number: U63
    names: tuple[Label, ...]
class Outer(Record):
    inner: Inner
    others: tuple[Inner, ...]
"""
sys.setswitchinterval(1e-6)
for number in range(100):
    module = sys.modules[f"fresh{number}"] = types.ModuleType(f"fresh{number}")
    exec(CLASSES, module.__dict__)
    inner = module.Inner(1, ("east",))
    outer = module.Outer(inner, (inner,))
    work = [
        lambda: decode(module.Inner, encode(inner)),
        lambda: decode(module.Outer, encode(outer)),
        lambda: convert((1, ("east",)), module.Inner),
    ]
    together = threading.Barrier(2 * len(work))
    threads = [
        threading.Thread(target=lambda each=each: (together.wait(), each())) for each in 2 * work
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("whole")
'''


def test_types_that_several_threads_meet_first_at_once_are_learnt_whole():
    done = subprocess.run(
        [sys.executable, "-c", THREADS],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")

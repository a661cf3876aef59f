"""ABCI's frames, byte for byte, and streams that hold something else."""

import io

import pytest

from tallystick.consensus.cometbft import abci_pb2 as abci
from tallystick.consensus.cometbft.frames import MOST_FRAME_BYTES, read_frame, write_frame
from tallystick.errors import DecodeError

# As CometBFT v0.38 to v0.40 send and expect them.
GOLDEN = {
    "02 12 00": ("Request", "flush", {}),
    "02 1a 00": ("Response", "flush", {}),
    "02 62 00": ("Response", "commit", {}),
    "05 92 01 02 08 01": ("Response", "process_proposal", {"status": 1}),
}


def written(message):
    stream = io.BytesIO()
    write_frame(stream, message)
    return stream.getvalue()


@pytest.mark.parametrize("golden", GOLDEN)
def test_frames_are_those_that_cometbft_sends_and_expects(golden):
    kind, name, fields = GOLDEN[golden]
    value = getattr(abci, kind)()
    member = getattr(value, name)
    member.SetInParent()
    for field, content in fields.items():
        setattr(member, field, content)

    assert written(value.SerializeToString()) == bytes.fromhex(golden)
    data = read_frame(io.BytesIO(bytes.fromhex(golden)))
    assert getattr(abci, kind).FromString(data) == value
    assert getattr(abci, kind).FromString(data).WhichOneof("value") == name


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 16_383, 16_384, 2_097_152])
def test_frames_of_any_length_are_read_as_they_were_written(size):
    stream = io.BytesIO(written(b"x" * size) + written(b"next"))

    assert read_frame(stream) == b"x" * size
    assert read_frame(stream) == b"next"
    assert read_frame(stream) is None


def test_a_stream_that_ends_within_a_frame_is_refused():
    whole = written(bytes(128))

    for cut in range(1, len(whole)):
        with pytest.raises(DecodeError, match="ends within a frame"):
            read_frame(io.BytesIO(whole[:cut]))
    assert read_frame(io.BytesIO(whole)) == bytes(128)


def test_a_length_that_does_not_end_is_refused():
    with pytest.raises(DecodeError, match="does not end"):
        read_frame(io.BytesIO(bytes([0xFF] * 9)))


def test_a_frame_that_would_fill_the_memory_is_refused_before_it_is_read():
    class Unread(io.BytesIO):
        def read(self, size=-1, /):
            assert size == 1
            return super().read(size)

    head = bytes([0x81, 0x80, 0x80, 0x80, 0x01])  # 2^28 + 1

    with pytest.raises(DecodeError, match=f"{MOST_FRAME_BYTES} are taken"):
        read_frame(Unread(head))

"""`verify`: what holds, and every way in which it must not."""

from __future__ import annotations

import os
import random
import shutil
import struct
import tracemalloc

import msgspec
import numpy as np
import pytest

from tallystick.codec import decode, encode
from tallystick.consensus.solo import SOLO_DOMAIN, Solo, SoloSeal
from tallystick.crypto import keys
from tallystick.errors import ConfigError, DecodeError, TallyError, VerificationError
from tallystick.federation.trial import secret_of
from tallystick.ledger.block import Block, header_hash
from tallystick.ledger.collect.notes import Opened, Shut
from tallystick.provenance import BlobsMissingError, Bundle, verify, write_bundle
from tallystick.provenance.frames import MAGIC, MAX_PAYLOAD, BlobHead, Head, Kind
from tallystick.provenance.leaf import parse_leaf
from tallystick.storage.sqlite import LedgerStore
from tallystick.tensors.memory import MemoryBlobs

CHECKS = ["bundle-format", "genesis", "finality", "history", "state", "closing-signatures"]


def pieces(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Cut a bundle into (kind, payload, bytes after it)."""
    found, at = [], len(MAGIC)
    while at < len(data):
        kind, length = struct.unpack_from("<BI", data, at)
        payload = data[at + 5 : at + 5 + length]
        at += 5 + length
        extra = decode(BlobHead, payload).size if kind == Kind.BLOB else 0
        found.append((kind, payload, data[at : at + extra]))
        at += extra
    return found


def joined(parts: list[tuple[int, bytes, bytes]], **changes: int) -> bytes:
    """Put a bundle together again, with fields of its head changed."""
    head = decode(Head, parts[0][1])
    fields = {name: getattr(head, name) for name in Head.__struct_fields__} | changes
    parts = [(Kind.HEAD, encode(Head(**fields)), b""), *parts[1:]]
    return MAGIC + b"".join(
        struct.pack("<BI", kind, len(payload)) + payload + extra for kind, payload, extra in parts
    )


def without(parts, kind, number):
    at = [index for index, part in enumerate(parts) if part[0] == kind][number]
    return parts[:at] + parts[at + 1 :]


def refuses(path, genesis, **asked) -> bool:
    try:
        return not verify(path, genesis, **asked)
    except TallyError:
        return True


def failed(report) -> list[str]:
    return [check.id for check in report.checks if not check.ok]


def test_an_honest_run_passes_every_check(eventful):
    refused = {refusal.update for refusal in eventful.history.refusals}
    sent = eventful.history.updates(eventful.history.rounds[1])
    inside = next(root for root, _ in sent if root not in refused)
    headers = [block.header for block in eventful.federation.engine.blocks(1)]
    report = verify(
        eventful.bundle,
        f"simulation+{eventful.genesis}",
        model=eventful.model,
        replay=True,
        includes=[inside.hex()],
        excludes=[min(refused).hex()],
        min_signers=5,
        checkpoint=f"{headers[4].height}:{headers[5].parent.hex()}",
    )

    assert [check.id for check in report.checks] == [
        *CHECKS,
        "model-file",
        "replay",
        "includes",
        "excludes",
    ]
    assert report.ok
    assert report.require() is report
    assert "alone: no protection against omission" in report.finality["says"]
    assert report.to_json()["format"] == "tally.verify/1"
    assert report.trial
    assert report.model_root == eventful.model_root.hex()
    assert report.rounds == 3


def test_the_genesis_may_come_as_a_hash_a_line_a_file_or_itself(small, tmp_path):
    genesis = small.federation.engine.genesis
    binary, text = tmp_path / "genesis.bin", tmp_path / "card"
    binary.write_bytes(encode(genesis))
    text.write_text(f"simulation+{small.genesis}\n")
    given = [small.genesis, f"simulation+{small.genesis}", genesis, encode(genesis)]

    for form in [*given, bytes.fromhex(small.genesis), binary, str(binary), text]:
        assert verify(small.bundle, form), form


@pytest.mark.parametrize("given", ["", "abc", "f" * 63, "Simulation+" + "f" * 64, b"short"])
def test_what_is_no_genesis_is_refused_with_a_hint(small, given):
    with pytest.raises(ConfigError) as caught:
        verify(small.bundle, given)

    assert caught.value.hint


def test_another_genesis_ends_the_list(small):
    wrong_hash = verify(small.bundle, "0" * 64)
    wrong_name = verify(small.bundle, f"other+{small.genesis}")

    for report in (wrong_hash, wrong_name):
        assert [check.id for check in report.checks] == ["bundle-format", "genesis"]
        assert failed(report) == ["genesis"]
        with pytest.raises(VerificationError):
            report.require()


def test_no_flipped_bit_goes_unnoticed(small, tmp_path):
    data = small.bundle.read_bytes()
    chosen = random.Random(5)
    forged = tmp_path / "forged.tally"
    places = chosen.sample(range(len(data)), 700)
    unnoticed = []
    for place in places:
        bad = bytearray(data)
        bad[place] ^= 1 << chosen.randrange(8)
        forged.write_bytes(bad)
        if not refuses(forged, small.genesis):
            unnoticed.append(place)

    assert unnoticed == []


PARTS = 4  # of which several processes take one each


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_flipped_byte_goes_unnoticed_anywhere(small, tmp_path, part):
    data = small.bundle.read_bytes()
    chosen = random.Random(6)
    forged = tmp_path / "forged.tally"
    unnoticed = []
    for place in range(part, len(data), PARTS):
        bad = bytearray(data)
        bad[place] ^= chosen.randrange(1, 256)
        forged.write_bytes(bad)
        if not refuses(forged, small.genesis):
            unnoticed.append(place)

    assert unnoticed == []


def test_a_bundle_cut_off_or_continued_is_malformed(small, tmp_path):
    data = small.bundle.read_bytes()
    forged = tmp_path / "forged.tally"
    chosen = random.Random(7)
    ends = [0, 1, len(MAGIC), len(data) - 1, len(data) - 5, *chosen.sample(range(len(data)), 60)]
    for bad in [*(data[:end] for end in ends), data + b"\0", data + data, data[:-5] + data]:
        forged.write_bytes(bad)

        with pytest.raises(DecodeError):
            verify(forged, small.genesis)


def test_frames_missing_doubled_or_out_of_order_are_malformed(small, tmp_path):
    parts = pieces(small.bundle.read_bytes())
    forged = tmp_path / "forged.tally"
    bad = [without(parts, kind, 0) for kind in Kind if kind != Kind.HEAD]
    bad += [[parts[0], *parts], [*parts[:1], *parts[2:], parts[1]], [parts[0], *parts[:0:-1]]]
    blobs = [part for part in parts if part[0] == Kind.BLOB]
    bad += [[*parts[:-1], blobs[-1], parts[-1]]]
    for each in bad:
        forged.write_bytes(joined(each))

        with pytest.raises(DecodeError):
            verify(forged, small.genesis)


@pytest.mark.parametrize("role", ["owner", "worker"])
def test_only_the_sealers_validator_key_seals(small, sealer_secret, tmp_path, role):
    """A second chain under another of the sealer's keys, signed as well as that key can."""
    genesis = small.federation.engine.genesis
    secret = secret_of(3, genesis.sealer, role)
    forger = Solo(LedgerStore(tmp_path / "forged.db"), genesis, secret)
    with pytest.raises(ConfigError, match="seals blocks with"):
        forger.seal(genesis.time + 1)
    (sealer,) = (founder for founder in genesis.founders if founder.id == genesis.sealer)
    index = [key.role for key in sealer.keys].index(role)
    parts = pieces(small.bundle.read_bytes())
    at = next(place for place, part in enumerate(parts) if part[0] == Kind.BLOCK)
    block = decode(Block, parts[at][1])
    seal = SoloSeal(index, keys.sign(secret, SOLO_DOMAIN, header_hash(block.header)))
    other = msgspec.structs.replace(block, evidence=encode(seal))
    parts[at] = (Kind.BLOCK, encode(other), b"")
    forged = tmp_path / "forged.tally"
    forged.write_bytes(joined(parts))

    assert failed(verify(forged, small.genesis)) == ["finality"]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind != Kind.END])
def test_a_frame_longer_than_its_kind_can_be_is_refused_before_it_is_read(small, tmp_path, kind):
    parts = pieces(small.bundle.read_bytes())
    at = next(index for index, part in enumerate(parts) if part[0] == kind)
    before = joined(parts)[: len(joined(parts[:at])) if at else len(MAGIC)]
    forged = tmp_path / "forged.tally"
    with forged.open("wb") as file:
        file.write(before + struct.pack("<BI", kind, MAX_PAYLOAD[kind] + 1))
        file.truncate(len(before) + 5 + MAX_PAYLOAD[kind] + 1)  # sparse: it takes no room
    tracemalloc.start()
    with pytest.raises(DecodeError, match="longer than its limit"):
        verify(forged, small.genesis)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1 << 22


@pytest.mark.parametrize(("kind", "empty"), [(Opened, {"seats": ()}), (Shut, {"absent": ()})])
def test_a_record_of_endless_names_is_refused_before_they_are_made(small, kind, empty):
    note = next(
        note
        for note in map(parse_leaf, (leaf for _, leaf in leaves_of(small)))
        if isinstance(note, kind)
    )
    data = encode(msgspec.structs.replace(note, **empty))
    place = data.rindex(b"\x90") if kind is Opened else data.rindex(b"\x90", 0, len(data) - 1)
    names = b"\xdd" + struct.pack(">I", 1 << 20) + b"\xa1a" * (1 << 20)
    bad = data[:place] + names + data[place + 1 :]
    tracemalloc.start()
    with pytest.raises(DecodeError):
        parse_leaf(bad)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1 << 20


def leaves_of(made):
    return made.federation.engine.leaves(made.task)


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_block_left_out_breaks_the_chain_or_the_history(small, tmp_path, number):
    parts = pieces(small.bundle.read_bytes())
    forged = tmp_path / "forged.tally"
    height = decode(Head, parts[0][1]).height
    forged.write_bytes(joined(without(parts, Kind.BLOCK, number), height=height - 1))

    assert failed(verify(forged, small.genesis))[0] in {"finality", "history"}


def test_every_record_left_out_of_the_log_is_missed(small, tmp_path):
    parts = pieces(small.bundle.read_bytes())
    forged = tmp_path / "forged.tally"
    leaves = decode(Head, parts[0][1]).leaves
    for number in range(leaves):
        forged.write_bytes(joined(without(parts, Kind.LEAF, number), leaves=leaves - 1))

        assert failed(verify(forged, small.genesis)) == ["history"]


def test_a_stranger_among_the_blobs_is_refused(small, tmp_path):
    parts = pieces(small.bundle.read_bytes())
    root, size = MemoryBlobs().put(b"not of this task")
    stranger = (Kind.BLOB, encode(BlobHead(root, size)), b"not of this task")
    blobs = [part for part in parts if part[0] == Kind.BLOB]
    ordered = sorted([*blobs, stranger], key=lambda part: decode(BlobHead, part[1]).root)
    rest = [part for part in parts if part[0] != Kind.BLOB]
    forged = tmp_path / "forged.tally"
    forged.write_bytes(joined([*rest[:-1], *ordered, rest[-1]], blobs=len(ordered)))

    assert failed(verify(forged, small.genesis)) == ["history"]


def test_a_checkpoint_is_compared_wherever_it_is(small):
    heights = list(small.federation.engine.blocks(1))
    middle = heights[4].header
    parent = middle.parent.hex()

    assert verify(small.bundle, small.genesis, checkpoint=f"{middle.height - 1}:{parent}")
    for bad in (f"{middle.height}:{parent}", f"{len(heights) + 1}:{parent}", f"0:{parent}"):
        assert failed(verify(small.bundle, small.genesis, checkpoint=bad)) == ["finality"]
    for malformed in ("", "7", f"x:{parent}", "3:abc"):
        with pytest.raises(ConfigError):
            verify(small.bundle, small.genesis, checkpoint=malformed)


def test_a_model_that_differs_is_told_where(eventful, tmp_path):
    data = bytearray(eventful.model.read_bytes())
    forged = tmp_path / "model.safetensors"
    told = []
    for place in (3, 300, len(data) - 1):
        data[place] ^= 4
        forged.write_bytes(data)
        report = verify(eventful.bundle, eventful.genesis, model=forged)
        told.append(report.checks[-1].says)
        data[place] ^= 4
    forged.write_bytes(data[:-1])
    told.append(verify(eventful.bundle, eventful.genesis, model=forged).checks[-1].says)
    forged.write_bytes(b"")
    told.append(verify(eventful.bundle, eventful.genesis, model=forged).checks[-1].says)

    assert "chunk 0 of tensor 'bias' differs" in told[0]
    assert told[2] == "chunk 1 of tensor 'weights' differs"
    assert "bytes" in told[3]
    assert "the file has 0 bytes" in told[4]


def test_no_flipped_bit_of_a_model_goes_unnoticed(small, tmp_path):
    data = small.model.read_bytes()
    forged = tmp_path / "model.safetensors"
    for place in range(0, len(data), 5):
        bad = bytearray(data)
        bad[place] ^= 0x10
        forged.write_bytes(bad)

        assert failed(verify(small.bundle, small.genesis, model=forged)) == ["model-file"]


def test_a_replay_without_its_blobs_is_an_error_and_never_true(small, tmp_path):
    bare = tmp_path / "bare.tally"
    federation = small.federation
    write_bundle(bare, federation.engine, small.task, federation.blobs, with_updates=False)

    with pytest.raises(BlobsMissingError) as caught:
        verify(bare, small.genesis, replay=True)

    assert caught.value.slug == "blobs-missing"
    assert isinstance(caught.value, ConfigError)
    assert verify(bare, small.genesis, replay=True, blobs=small.folder / "blobs")
    assert verify(bare, small.genesis, model=small.model)


def test_a_bundle_without_any_blob_still_proves_its_history(small, tmp_path):
    bare = tmp_path / "bare.tally"
    write_bundle(bare, small.federation.engine, small.task)
    flipped = tmp_path / "model.safetensors"
    data = bytearray(small.model.read_bytes())
    data[-1] ^= 1
    flipped.write_bytes(data)

    assert verify(bare, small.genesis, model=small.model)
    assert "has root" in verify(bare, small.genesis, model=flipped).checks[-1].says
    with Bundle(bare) as opened:
        assert opened.blobs == {}
        assert opened.open_blob(small.model_root) is None


def test_includes_and_excludes_contradict_each_other(eventful):
    history = eventful.history
    refused = history.refusals[0].update.hex()
    accepted = next(
        root.hex()
        for root, _ in history.updates(history.rounds[1])
        if root.hex() not in {refusal.update.hex() for refusal in history.refusals}
    )
    unknown = "ab" * 32

    report = verify(
        eventful.bundle,
        eventful.genesis,
        includes=[accepted, refused, unknown],
        excludes=[accepted, refused, unknown],
    )

    held = {(check.id, number): check.ok for number, check in enumerate(report.checks[6:])}
    assert list(held.values()) == [True, False, False, False, True, True]
    assert "counted towards the bound 'clip_over'" in report.checks[10].says
    assert "near-copies" in report.checks[11].says
    with pytest.raises(ConfigError):
        verify(eventful.bundle, eventful.genesis, includes=["xyz"])


def test_what_cannot_be_read_is_a_named_error(small, tmp_path):
    for path in (tmp_path / "nothing.tally", tmp_path):
        with pytest.raises(ConfigError):
            verify(path, small.genesis)
    with pytest.raises(ConfigError):
        verify(small.bundle, small.genesis, model=tmp_path / "nothing")
    with pytest.raises(ConfigError):
        verify(small.bundle, small.genesis, blobs=tmp_path / "nothing")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_comes_through_a_pipe_is_refused_before_it_is_opened(small, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # nobody writes to it: opening would wait for ever
    for asked in ({"bundle": pipe}, {"bundle": small.bundle, "model": pipe}):
        with pytest.raises(ConfigError, match="no regular file") as caught:
            verify(genesis=small.genesis, **asked)
        assert "saved first" in caught.value.hint


def snapshot(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_an_auditors_folder_of_blobs_stays_as_it_is(small, tmp_path):
    bare, folder = tmp_path / "bare.tally", tmp_path / "evidence"
    federation = small.federation
    write_bundle(bare, federation.engine, small.task, federation.blobs, with_updates=False)
    shutil.copytree(small.folder / "blobs", folder)
    old = folder / "tmp" / "old"
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(b"a writer's leftover")
    os.utime(old, (0, 0))
    (root, _), *_ = small.history.updates(small.history.rounds[1])
    bad = folder / root.hex()[:2] / root.hex()[2:]
    bad.write_bytes(b"other bytes")
    before = snapshot(folder)

    with pytest.raises(BlobsMissingError):
        verify(bare, small.genesis, replay=True, blobs=folder)
    assert snapshot(folder) == before


def test_blobs_in_a_bundle_are_what_their_names_say(eventful):
    with Bundle(eventful.bundle) as opened:
        blob = opened.open_blob(eventful.model_root)
        sizes = dict(opened.blobs)

    assert blob.tobytes() == eventful.model.read_bytes()
    assert not blob.flags.writeable
    assert sizes == eventful.history.artefacts()
    assert list(sizes) == sorted(sizes)
    assert np.all([size > 0 for size in sizes.values()])


def test_writing_a_bundle_twice_gives_the_same_bytes(small, tmp_path):
    again = tmp_path / "again.tally"
    write_bundle(again, small.federation.engine, small.task, small.federation.blobs)

    assert again.read_bytes() == small.bundle.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.tally"]


def test_what_cannot_be_written_leaves_nothing_behind(small, tmp_path):
    engine = small.federation.engine
    with pytest.raises(ConfigError):
        write_bundle(tmp_path / "a.tally", engine, bytes(32))
    with pytest.raises(BlobsMissingError):
        write_bundle(tmp_path / "b.tally", engine, small.task, MemoryBlobs())
    with pytest.raises(TallyError):
        write_bundle(tmp_path / "no" / "c.tally", engine, small.task)

    assert list(tmp_path.iterdir()) == []

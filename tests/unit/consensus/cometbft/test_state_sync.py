"""Beginning with a snapshot: only with a whole one, from whoever has it, again after a crash."""

from functools import partial

import pytest
from msgspec.structs import replace
from support.fake_comet import (
    ABORT,
    ACCEPT,
    REJECT_FORMAT,
    REJECT_OFFER,
    REJECT_SNAPSHOT,
    RETRY,
    CrashError,
)
from support.play import Play
from support.snapshots import begin, chunks_of, follow
from support.terms import simple

from tallystick.codec import decode, encode
from tallystick.consensus.cometbft import snapshots as module
from tallystick.consensus.cometbft.snapshots import FORMAT, RETRY_SNAPSHOT, SnapshotInfo
from tallystick.crypto.hashes import sha256
from tallystick.errors import UnavailableError, VerificationError

pytestmark = pytest.mark.usefixtures("quiet")


# --- offered --------------------------------------------------------------------------------------


def test_an_offer_that_does_not_hold_together_is_rejected(make_comet, newcomer, grow, small):
    comet = make_comet(every=1)
    grow(1, comet)
    (good,) = comet.snapshots()
    info = decode(SnapshotInfo, good.metadata)

    def offer(**fields):
        snapshot = type(good)()
        snapshot.CopyFrom(good)
        for name, value in fields.items():
            setattr(snapshot, name, value)
        return begin(newcomer, comet, snapshot=snapshot, root=comet.hashes[1])

    assert offer(metadata=b"?") == REJECT_OFFER
    assert offer(hash=bytes(32)) == REJECT_OFFER
    assert offer(height=2) == REJECT_OFFER
    assert offer(chunks=good.chunks + 1) == REJECT_OFFER
    assert offer(chunks=good.chunks - 1) == REJECT_OFFER
    assert offer(format=2) == REJECT_OFFER
    assert offer(metadata=encode(replace(info, parts=info.parts[1:]))) == REJECT_OFFER
    assert offer(format=2, metadata=encode(replace(info, format=2))) == REJECT_FORMAT
    assert newcomer.app.snapshots.apply(0, b"") == ABORT
    assert offer() == ACCEPT


# --- taken in -------------------------------------------------------------------------------------


def test_a_newcomer_goes_on_from_a_snapshot_and_never_needs_the_blocks_before(
    world, make_comet, newcomer, grow, small
):
    comet = make_comet(every=2)
    grow(2, comet)

    assert begin(newcomer, comet) == ACCEPT
    assert newcomer.app.replica.head == world.head
    grow(3, comet, newcomer)
    newcomer.kill()
    newcomer.start()
    assert newcomer.app.replica.head == world.head
    assert dict(newcomer.app.replica.state.rows()) == dict(world.state.rows())
    assert [block.header.height for block in newcomer.app.replica.blocks()] == [3, 4, 5]


def test_logs_go_on_with_the_right_numbers(world, make_comet, newcomer):
    play, comet = Play(world, simple(rounds=3)), make_comet(every=1)
    play.until_round(2)
    for outcome in world.outcomes:
        follow(outcome, comet)
    begun, known = len(world.outcomes), len(world.leaves[play.task])
    assert begin(newcomer, comet) == ACCEPT
    play.finish()
    for outcome in world.outcomes[begun:]:
        follow(outcome, comet, newcomer)
    expected = list(comet.app.replica.leaves(play.task, known))

    assert expected
    assert list(newcomer.app.replica.leaves(play.task, known)) == expected


def test_a_damaged_chunk_is_fetched_again_and_from_somebody_else(make_comet, newcomer, grow, small):
    comet = make_comet(every=2)
    grow(2, comet)
    (snapshot,) = comet.snapshots()
    good, asked = comet.chunk_of(snapshot), []

    def bad(index):
        asked.append(index)
        return good(index) if index < 2 else good(index)[:-1] + b"!"

    assert begin(newcomer, comet, sources={"bad": bad, "good": good}) == ACCEPT
    assert asked == [0, 1, 2]
    assert newcomer.app.replica.head == comet.app.replica.head


@pytest.mark.parametrize(
    "twist",
    [lambda _: b"", lambda chunk: chunk[:-1], lambda chunk: chunk + b"\x00", lambda _: b"\x90"],
)
def test_with_nobody_left_who_has_the_chunks_nothing_is_taken_in(
    make_comet, newcomer, grow, small, twist
):
    comet = make_comet(every=2)
    grow(2, comet)
    good = comet.chunk_of(comet.snapshots()[0])

    verdict = begin(newcomer, comet, sources={"bad": lambda index: twist(good(index))})
    assert verdict == RETRY
    assert newcomer.app.replica.head.height == 0


def test_chunks_that_are_not_of_the_snapshot_are_asked_for_again(make_comet, newcomer, grow):
    comet = make_comet(every=1)
    grow(1, comet)
    (snapshot,) = comet.snapshots()
    info = decode(SnapshotInfo, snapshot.metadata)
    taking = newcomer.app.snapshots
    assert taking.offer(info, snapshot.hash, comet.hashes[1]) == 1

    assert taking.apply(-1, b"") == taking.apply(1, b"") == RETRY
    assert taking.apply(0, comet.chunk_of(snapshot)(0)) == ACCEPT
    assert taking.apply(0, comet.chunk_of(snapshot)(0)) == ABORT


def test_a_state_the_validators_did_not_sign_is_rejected(make_comet, newcomer, grow, small):
    comet = make_comet(every=2)
    grow(2, comet)

    assert begin(newcomer, comet, root=comet.hashes[1]) == REJECT_SNAPSHOT
    assert newcomer.app.replica.head.height == 0
    assert begin(newcomer, comet) == ACCEPT


def forged(comet, change):
    """Return a snapshot and its chunks, after a change to its rows."""
    (snapshot,) = comet.snapshots()
    items = [
        row
        for chunk in chunks_of(comet, snapshot)
        for row in decode(tuple[tuple[bytes, bytes], ...], chunk)
    ]
    chunk = encode(change(items))
    info = SnapshotInfo(snapshot.height, FORMAT, (sha256("snapshot-chunk", chunk),))
    made = type(snapshot)(
        height=info.height, format=FORMAT, chunks=1, hash=info.hash, metadata=encode(info)
    )
    return made, chunk


def other_header(items, **fields):
    header = items[0][1]
    return [(b"", encode(replace(decode(module.Header, header), **fields))), *items[1:]]


FORGERIES = {
    "a row left out": lambda items: items[:-1],
    "a row changed": lambda items: [*items[:-1], (items[-1][0], items[-1][1] + b"\x00")],
    "a row added": lambda items: [*items, (b"\xff", b"\x01")],
    "a row twice": lambda items: [*items, items[-1]],
    "rows in another order": lambda items: [items[0], *items[:0:-1]],
    "no header": lambda items: items[1:],
    "a header that is none": lambda items: [(b"", b"\x01"), *items[1:]],
    "nothing": lambda _: [],
    "another height": partial(other_header, height=3),
    "another state": partial(other_header, state_root=bytes(32)),
    "another ledger": partial(other_header, chain=bytes(32)),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test_whatever_was_changed_in_a_snapshot_is_found(make_comet, newcomer, grow, change):
    comet = make_comet(every=2)
    grow(2, comet)
    snapshot, chunk = forged(comet, change)

    verdict = begin(newcomer, comet, snapshot=snapshot, sources={"bad": lambda _: chunk})
    assert verdict == REJECT_SNAPSHOT
    assert newcomer.app.replica.head.height == 0


def test_chunks_are_checked_as_they_come(make_comet, newcomer, grow, small):
    comet = make_comet(every=2)
    grow(2, comet)
    (snapshot,) = comet.snapshots()
    good = chunks_of(comet, snapshot)
    taking = newcomer.app.snapshots

    def taken(*chunks):
        parts = tuple(sha256("snapshot-chunk", chunk) for chunk in chunks)
        info = SnapshotInfo(snapshot.height, FORMAT, (*parts, *[bytes(32)] * 1000))
        taking.offer(info, info.hash, comet.hashes[snapshot.height])
        return [taking.apply(index, chunk) for index, chunk in enumerate(chunks)]

    assert taken(b"junk", good[1]) == [REJECT_SNAPSHOT, ABORT]
    assert taken(encode([])) == [REJECT_SNAPSHOT]
    assert taken(good[1]) == [REJECT_SNAPSHOT]
    assert taken(good[0], good[2], good[1], good[3]) == [ACCEPT, ACCEPT, REJECT_SNAPSHOT, ABORT]
    assert taken(good[0], good[1], b"junk") == [ACCEPT, ACCEPT, REJECT_SNAPSHOT]


def test_a_state_that_does_not_fit_memory_is_refused(
    make_comet, newcomer, grow, small, monkeypatch
):
    comet = make_comet(every=2)
    grow(2, comet)
    chunks = chunks_of(comet, comet.snapshots()[0])
    monkeypatch.setattr(module, "MOST_BYTES", sum(map(len, chunks)) - 1)
    assert begin(newcomer, comet) == REJECT_SNAPSHOT
    monkeypatch.setattr(module, "MOST_BYTES", sum(map(len, chunks)))

    assert begin(newcomer, comet) == ACCEPT


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(VerificationError("no"), REJECT_SNAPSHOT), (UnavailableError("later"), RETRY_SNAPSHOT)],
)
def test_a_header_that_is_not_confirmed_is_not_begun_with(
    world, make_comet, newcomer, grow, small, error, verdict
):
    comet, asked = make_comet(every=2), []
    grow(2, comet)

    def refuse(header):
        asked.append(header)
        raise error

    newcomer.app.confirm = refuse
    assert begin(newcomer, comet) == verdict
    assert newcomer.app.snapshots.apply(1, b"") == ABORT
    newcomer.app.confirm = asked.append

    assert begin(newcomer, comet) == ACCEPT
    assert asked == [world.head] * 2
    assert newcomer.app.replica.head == world.head


def test_a_node_with_blocks_takes_in_no_snapshot(make_comet, grow):
    comet, other = make_comet(every=2), make_comet(every=2)
    grow(2, comet, other)
    head = other.app.replica.head
    grow(2, comet)

    assert begin(other, comet) == REJECT_SNAPSHOT
    assert other.app.replica.head == head


def test_a_new_offer_takes_the_place_of_the_one_before(make_comet, newcomer, grow, small):
    comet = make_comet(every=2)
    grow(4, comet)
    newest, older = comet.snapshots()
    first = newcomer.app.snapshots
    first.offer(decode(SnapshotInfo, newest.metadata), newest.hash, comet.hashes[4])
    first.apply(0, comet.chunk_of(newest)(0))

    assert begin(newcomer, comet, snapshot=older) == ACCEPT
    assert newcomer.app.replica.head.height == 2


# --- crashes --------------------------------------------------------------------------------------


def test_a_node_that_died_while_it_took_a_snapshot_in_begins_anew(
    make_comet, newcomer, grow, small
):
    comet = make_comet(every=2)
    grow(2, comet)
    good = comet.chunk_of(comet.snapshots()[0])

    def die(index):
        if index < 2:
            return good(index)
        newcomer.kill()
        raise CrashError

    with pytest.raises(CrashError):
        begin(newcomer, comet, sources={"good": die})
    newcomer.start(handshake=False)
    assert newcomer.info().last_block_height == 0
    assert begin(newcomer, comet) == ACCEPT


def test_a_node_that_died_before_cometbft_heard_that_it_has_begun_begins_anew(
    make_comet, newcomer, grow
):
    comet = make_comet(every=2)
    grow(2, comet)
    assert begin(newcomer, comet) == ACCEPT
    newcomer.kill()
    newcomer.base = newcomer.state_height = 0  # CometBFT kept nothing of it
    newcomer.start(handshake=False)
    assert newcomer.info().last_block_height == 2
    grow(2, comet)

    assert begin(newcomer, comet) == ACCEPT
    assert newcomer.app.replica.head == comet.app.replica.head
    grow(1, comet, newcomer)

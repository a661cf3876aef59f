"""Snapshots: the same bytes on every node, made while blocks go on, taken in only when whole."""

import logging
import threading
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
    Decision,
)
from support.play import Play
from support.terms import simple
from support.world import digest

from tallystick.codec import decode, encode
from tallystick.consensus.cometbft import snapshots as module
from tallystick.consensus.cometbft.snapshots import FORMAT, SnapshotInfo, join_chunks
from tallystick.crypto.hashes import sha256
from tallystick.errors import DecodeError, UnavailableError
from tallystick.ledger.messages import RegisterDataset
from tallystick.storage.sqlite import LedgerStore


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def small(monkeypatch):
    """Cut snapshots into many chunks."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 300)


@pytest.fixture
def grow(world, pay):
    """Return what lets CometBFTs decide so many blocks with something in them."""

    def act(count, *comets):
        for _ in range(count):
            pay()
            world.send("charlie", RegisterDataset(digest(world.head.height), 5))
            follow(world.seal(), *comets)

    return act


def follow(outcome, *comets):
    header = outcome.header
    for each in comets:
        each.apply(Decision(header.height, header.time, outcome.block.transactions))
        each.app.snapshots.wait()


def files_of(comet):
    folder = comet.app.path.with_name("snapshots")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def chunks_of(comet, snapshot):
    load = comet.chunk_of(snapshot)
    return [load(index) for index in range(snapshot.chunks)]


def begin(newcomer, comet, *, sources=None, snapshot=None, root=None):
    """Let a newcomer take in the newest snapshot of another one."""
    snapshot = snapshot or comet.snapshots()[0]
    root = comet.hashes[snapshot.height] if root is None else root
    sources = sources or {"good": comet.chunk_of(snapshot)}
    return newcomer.begin_with(snapshot, sources, root, comet.power)


@pytest.fixture
def newcomer(make_comet):
    """Return a CometBFT that begins with a snapshot, so that it founds nothing first."""
    comet = make_comet(every=2)
    comet.stop()
    return comet.start(handshake=False)


# --- made -----------------------------------------------------------------------------------------


def test_all_nodes_make_the_same_bytes(make_comet, grow, small):
    one, other = make_comet(every=2), make_comet(every=2)
    grow(4, one, other)

    assert files_of(one) == files_of(other)
    assert [each.height for each in one.snapshots()] == [4, 2]
    assert one.snapshots() == other.snapshots()


def test_whoever_began_with_a_snapshot_makes_the_same_ones(make_comet, newcomer, grow, small):
    first = make_comet(every=2)
    grow(2, first)
    assert begin(newcomer, first) == ACCEPT
    grow(2, first, newcomer)

    assert newcomer.snapshots() == first.snapshots()[:1]


def test_a_large_state_is_cut_into_chunks_and_a_small_one_is_not(make_comet, grow, monkeypatch):
    comet = make_comet(every=1)
    grow(1, comet)
    monkeypatch.setattr(module, "CHUNK_BYTES", 300)
    grow(1, comet)
    large, whole = comet.snapshots()

    assert whole.chunks == 1
    assert large.chunks > 3
    assert all(len(chunk) < 400 for chunk in chunks_of(comet, large))
    rows, header = join_chunks(chunks_of(comet, large), 2, comet.hashes[2])
    assert rows == dict(comet.app.replica.state.rows())
    assert header == comet.app.replica.head


def test_a_row_larger_than_a_chunk_has_a_chunk_of_its_own(make_comet, grow, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    comet = make_comet(every=1)
    grow(1, comet)
    (snapshot,) = comet.snapshots()

    assert snapshot.chunks == 1 + len(list(comet.app.replica.state.rows()))
    assert join_chunks(chunks_of(comet, snapshot), 1, comet.hashes[1])[1].height == 1


def test_the_newest_three_are_kept(make_comet, grow):
    comet = make_comet(every=1)
    grow(5, comet)

    assert [each.height for each in comet.snapshots()] == [5, 4, 3]
    assert {name.partition("/")[0] for name in files_of(comet)} == {"3", "4", "5"}


def test_none_are_made_where_none_are_wanted_or_due(make_comet, grow):
    never, rarely = make_comet(every=0), make_comet(every=3)
    grow(2, never, rarely)

    assert never.snapshots() == rarely.snapshots() == []


@pytest.fixture
def slow(monkeypatch):
    """Hold up whoever reads rows for a snapshot until the event returned is set."""
    may, rows = threading.Event(), LedgerStore.sorted_rows

    def wait(store):
        may.wait(30)
        yield from rows(store)

    monkeypatch.setattr(LedgerStore, "sorted_rows", wait)
    yield may
    may.set()


def test_a_snapshot_made_while_blocks_go_on_shows_one_moment(world, make_comet, pay, slow):
    comet = make_comet(every=2)
    for _ in range(4):
        pay()
        header = world.seal().header
        comet.apply(Decision(header.height, header.time, world.outcomes[-1].block.transactions))
    assert comet.snapshots() == []
    slow.set()
    comet.app.snapshots.wait()
    (snapshot,) = comet.snapshots()  # none of height 4: the one before was not done

    assert snapshot.height == 2
    rows, header = join_chunks(chunks_of(comet, snapshot), 2, comet.hashes[2])
    assert header == world.outcomes[1].header
    assert rows != dict(world.state.rows())


def test_blocks_go_on_where_no_snapshot_can_be_made(world, make_comet, grow, monkeypatch):
    def full(*_):
        raise OSError(28, "no space left")

    comet = make_comet(every=1)
    with monkeypatch.context() as broken:
        broken.setattr(module, "write_new", full)
        grow(1, comet)
        broken.setattr(module, "LedgerStore", _unavailable)
        grow(1, comet)
    assert comet.snapshots() == []
    grow(1, comet)

    assert [each.height for each in comet.snapshots()] == [3]


def _unavailable(_):
    raise UnavailableError


# --- kept -----------------------------------------------------------------------------------------


def test_a_restarted_node_offers_what_it_made_before(make_comet, grow):
    comet = make_comet(every=2)
    grow(2, comet)
    before, chunks = comet.snapshots(), chunks_of(comet, comet.snapshots()[0])
    comet.kill()
    comet.start()

    assert comet.snapshots() == before
    assert chunks_of(comet, before[0]) == chunks


def test_what_was_being_made_when_the_node_died_is_not_offered_and_is_removed(
    make_comet, grow, small
):
    comet = make_comet(every=2)
    grow(2, comet)
    folder = comet.app.path.with_name("snapshots")
    for name in (".4", ".6"):
        (folder / name).mkdir()
        (folder / name / "0").write_bytes(b"half")
    (folder / ".6" / "info").write_bytes((folder / "2" / "info").read_bytes())
    assert [each.height for each in comet.snapshots()] == [2]
    comet.kill()
    comet.start()

    assert [each.height for each in comet.snapshots()] == [2]
    left = comet.app.path.with_name("snapshots")
    assert sorted(path.name for path in left.iterdir()) == ["2"]


def test_a_damaged_list_of_chunks_is_not_offered(make_comet, grow):
    comet = make_comet(every=1)
    grow(2, comet)
    (comet.app.path.with_name("snapshots") / "2" / "info").write_bytes(b"damaged")

    assert [each.height for each in comet.snapshots()] == [1]


def test_of_what_is_not_there_nothing_is_given(make_comet, grow):
    comet = make_comet(every=1)
    grow(1, comet)
    load = comet.app.snapshots.load

    assert load(1, FORMAT, 0)
    assert load(1, FORMAT + 1, 0) == load(1, FORMAT, 1) == load(2, FORMAT, 0) == b""


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


def test_a_node_that_died_while_it_made_a_snapshot_goes_on_without(
    world, make_comet, pay, grow, slow
):
    comet = make_comet(every=2)
    for _ in range(2):
        pay()
        outcome = world.seal()
        header = outcome.header
        comet.apply(Decision(header.height, header.time, outcome.block.transactions))
    comet.app.copy_disk()
    slow.set()
    comet.app.stop()
    comet.app.lives += 1
    for each in comet.connections.values():
        each.close()
    comet.start()

    assert comet.snapshots() == []
    assert comet.app.replica.head == world.head
    grow(2, comet)
    assert [each.height for each in comet.snapshots()] == [4]


def test_chunks_joined_in_another_order_are_no_snapshot(make_comet, grow, small):
    comet = make_comet(every=1)
    grow(1, comet)
    chunks = chunks_of(comet, comet.snapshots()[0])

    with pytest.raises(DecodeError, match="order of their keys"):
        join_chunks([chunks[0], *chunks[:0:-1]], 1, comet.hashes[1])
    with pytest.raises(DecodeError, match="order of their keys"):
        join_chunks([chunks[0], *chunks], 1, comet.hashes[1])
    with pytest.raises(DecodeError, match="order of their keys"):
        join_chunks([], 1, comet.hashes[1])

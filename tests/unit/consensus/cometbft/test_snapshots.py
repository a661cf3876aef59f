"""Snapshots: the same bytes on every node, made while blocks go on, kept and given to others."""

import sqlite3

import pytest
from support.fake_comet import ACCEPT, Decision
from support.snapshots import begin, chunks_of, files_of, join_chunks

from tallystick.consensus.cometbft import snapshots as module
from tallystick.consensus.cometbft.snapshots import FORMAT
from tallystick.errors import DecodeError, UnavailableError
from tallystick.storage.sqlite import LedgerStore

pytestmark = pytest.mark.usefixtures("quiet")


# --- made -----------------------------------------------------------------------------------------


def test_all_nodes_make_the_same_bytes(make_comet, grow, small):
    one, other = make_comet(every=2), make_comet(every=2)
    grow(4, one, other)

    assert files_of(one) == files_of(other)
    assert [each.height for each in one.snapshots()] == [4, 2]
    assert one.snapshots() == other.snapshots()


def test_whoever_began_with_a_snapshot_makes_the_same_ones_once_it_has_every_block(
    make_comet, newcomer, grow, small
):
    first = make_comet(every=2)
    grow(2, first)
    assert begin(newcomer, first) == ACCEPT
    grow(2, first, newcomer)
    assert newcomer.snapshots() == []
    newcomer.app.replica.fill_in(first.app.path)
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


def test_what_is_kept_is_read_once_however_often_it_is_listed(make_comet, grow, monkeypatch):
    comet, read = make_comet(every=1), []
    grow(2, comet)
    before = comet.snapshots()
    monkeypatch.setattr(module, "_info_in", read.append)

    assert comet.snapshots() == before
    assert read == []


def test_a_ledger_that_cannot_be_read_for_a_snapshot_is_closed(make_comet, grow, monkeypatch):
    opened = []

    class Odd(LedgerStore):
        def __init__(self, path):
            super().__init__(path)
            opened.append(self)

        def pin(self):
            raise sqlite3.OperationalError

    comet = make_comet(every=1)
    monkeypatch.setattr(module, "LedgerStore", Odd)
    grow(1, comet)

    assert comet.snapshots() == []
    with pytest.raises(UnavailableError, match="closed database"):
        opened[0].head()


def test_every_file_of_a_snapshot_is_on_the_disk_before_it_is_offered(
    make_comet, grow, small, monkeypatch
):
    written, synced = [], []
    write, sync = module.write_new, module.sync_folder
    monkeypatch.setattr(
        module, "write_new", lambda path, data: written.append(path.name) or write(path, data)
    )
    monkeypatch.setattr(
        module, "sync_folder", lambda folder: synced.append(folder.name) or sync(folder)
    )
    comet = make_comet(every=1)
    grow(1, comet)
    (snapshot,) = comet.snapshots()

    assert written == [*map(str, range(snapshot.chunks)), "info"]
    assert synced == [".1", "snapshots"]


def test_of_what_is_not_there_nothing_is_given(make_comet, grow):
    comet = make_comet(every=1)
    grow(1, comet)
    load = comet.app.snapshots.load

    assert load(1, FORMAT, 0)
    assert load(1, FORMAT + 1, 0) == load(1, FORMAT, 1) == load(2, FORMAT, 0) == b""


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

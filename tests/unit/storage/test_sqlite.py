"""The ledger's file: all of a block or nothing, begun anywhere, proven later."""

import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace
from support.play import Play
from support.terms import simple
from support.world import World

from tallystick.errors import UnavailableError
from tallystick.ledger.block import Header
from tallystick.ledger.messages import Transfer
from tallystick.storage.sqlite import MEMORY, LedgerStore


@pytest.fixture(scope="module")
def play():
    """Return a finished task: a ledger with records on a log."""
    made = Play(World(audited=False), simple(rounds=3))
    made.finish()
    return made


@pytest.fixture
def make_store(tmp_path):
    made = []

    def make(name="ledger.sqlite", **options):
        made.append(LedgerStore(tmp_path / name, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def store(make_store):
    return make_store()


def founded(store, world):
    state, _ = world.kernel.found()
    store.found(dict(state.rows()))
    return store


def state_at(world, height):
    """Return the rows after a block."""
    state, _ = world.kernel.found()
    for outcome in world.outcomes[:height]:
        state.commit(outcome.changes)
    return dict(state.rows())


def logged_until(world, height):
    """Return how many leaves each task's log had after a block."""
    found = {}
    for outcome in world.outcomes[:height]:
        for task, _ in outcome.logged:
            found[task] = found.get(task, 0) + 1
    return found


def everything(store):
    """Return what is in the file, by table."""
    tables = "facts", "state", "blocks", "receipts", "leaves", "earlier", "pool"
    return {
        name: store._db.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608 - names of ours
        for name in tables
    }


def middle_of(world):
    """Return a height after which the log goes on."""
    return max(
        height
        for height in range(1, len(world.outcomes))
        if sum(logged_until(world, height).values()) < sum(map(len, world.leaves.values())) // 2
    )


# --- blocks ---------------------------------------------------------------------------------------


def test_blocks_rows_receipts_and_leaves_come_back_as_they_were_written(store, make_store, play):
    world = play.world
    founded(store, world)
    for outcome in world.outcomes:
        store.commit(outcome, b"seal")
    store.close()
    again = make_store()

    assert again.head() == world.head
    assert again.rows() == dict(world.state.rows())
    assert [block.header for block in again.blocks(2)] == [o.header for o in world.outcomes[1:]]
    assert {block.evidence for block in again.blocks()} == {b"seal"}
    assert [leaf for _, leaf in again.leaves(play.task)] == world.leaves[play.task]
    for outcome in world.outcomes:
        for tx, receipt in zip(outcome.transactions, outcome.receipts, strict=True):
            assert again.receipt(tx.hash) == (outcome.header.height, receipt)
    assert again.receipt(bytes(32)) is None


def test_a_block_that_cannot_be_written_whole_leaves_no_trace(store, play):
    world = play.world
    founded(store, world)
    logging = next(o for o in world.outcomes if o.logged)
    for outcome in world.outcomes[: logging.header.height - 1]:
        store.commit(outcome, b"")
    before = everything(store)
    store._db.execute("DROP TABLE pool")  # the last that a commit touches
    with pytest.raises(UnavailableError, match="the block was not written"):
        store.commit(logging, b"")
    store._db.execute("CREATE TABLE pool (hash BLOB PRIMARY KEY, wire BLOB) WITHOUT ROWID")

    assert everything(store) == before
    for outcome in world.outcomes[logging.header.height - 1 :]:
        store.commit(outcome, b"")
    assert [leaf for _, leaf in store.leaves(play.task)] == world.leaves[play.task]


def test_a_block_is_written_once(store, play):
    founded(store, play.world)
    store.commit(play.world.outcomes[0], b"")
    before = everything(store)

    with pytest.raises(UnavailableError):
        store.commit(play.world.outcomes[0], b"")
    assert everything(store) == before


def test_a_damaged_block_is_said_to_be(store, play):
    founded(store, play.world)
    store.commit(play.world.outcomes[0], b"")
    store._db.execute("UPDATE blocks SET block = x'00'")

    with pytest.raises(UnavailableError, match="damaged"):
        store.head()


READS = {
    "fact": lambda store: store.fact("genesis"),
    "set_fact": lambda store: store.set_fact("genesis", b""),
    "rows": LedgerStore.rows,
    "snapshot": LedgerStore.snapshot,
    "sorted_rows": lambda store: list(store.sorted_rows()),
    "found": lambda store: store.found({b"a": b"b"}),
    "head": LedgerStore.head,
    "blocks": lambda store: list(store.blocks()),
    "receipt": lambda store: store.receipt(bytes(32)),
    "leaves": lambda store: list(store.leaves(bytes(32))),
    "held": LedgerStore.held,
    "pin": LedgerStore.pin,
    "fill_in": lambda store: store.fill_in(store._path),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_what_cannot_be_read_is_said_with_its_file(read, play, make_store, tmp_path):
    with closing(make_store()) as store:
        founded(store, play.world)
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = db.execute("PRAGMA page_size").fetchone()
        roots = [root for (root,) in db.execute("SELECT rootpage FROM sqlite_master") if root]
    data = bytearray(path.read_bytes())
    for root in roots:
        data[(root - 1) * size : root * size] = b"\xff" * size
    path.write_bytes(data)

    with pytest.raises(UnavailableError, match=r"ledger\.sqlite|not written"):
        read(make_store())


def test_a_file_that_is_no_ledger_is_said_to_be(tmp_path):
    (tmp_path / "ledger.sqlite").write_text("nothing like it " * 100)

    with pytest.raises(UnavailableError, match=r"ledger\.sqlite"):
        LedgerStore(tmp_path / "ledger.sqlite")


def test_facts_are_kept_by_name(store, make_store):
    store.set_fact("genesis", b"one")
    store.set_fact("genesis", b"two")

    assert make_store().fact("genesis") == b"two"
    assert store.fact("other") is None


def test_one_opener_adds_blocks_and_others_read(store, make_store, play):
    founded(store, play.world)
    store.claim()
    store.claim()
    other = make_store()
    with pytest.raises(UnavailableError, match="in use"):
        other.claim()
    store.commit(play.world.outcomes[0], b"")

    assert other.head() == play.world.outcomes[0].header
    with closing(LedgerStore(MEMORY)) as unshared:
        unshared.claim()
        assert unshared.head() is None


# --- what waits -----------------------------------------------------------------------------------


def test_what_waits_is_kept_until_a_block_has_it_or_it_is_let_go(store, make_store, play):
    outcome = next(o for o in play.world.outcomes if o.transactions)
    founded(store, play.world)
    tx = outcome.transactions[0]
    store.hold([(tx.hash, tx.wire), (b"b", b"wire b"), (b"c", b"wire c")])
    store.hold([(b"b", b"wire b")])
    store.hold([])
    assert sorted(make_store().held()) == sorted([tx.wire, b"wire b", b"wire c"])
    store.release([b"c"])
    store.release([])
    for each in play.world.outcomes[: outcome.header.height]:
        store.commit(each, b"")

    assert make_store().held() == [b"wire b"]


def test_what_cannot_be_kept_is_not_kept_in_part(store):
    with pytest.raises(UnavailableError, match="were not written"):
        store.hold([(b"a", b"wire"), (b"b", None)])

    assert store.held() == []


# --- one moment -----------------------------------------------------------------------------------


def test_a_pinned_reader_sees_one_moment_while_blocks_go_on(store, make_store, play):
    world = play.world
    founded(store, world)
    for outcome in world.outcomes[:3]:
        store.commit(outcome, b"")
    pinned, free = make_store(), make_store()
    pinned.pin()
    rows = pinned.sorted_rows()
    first = next(rows)
    for outcome in world.outcomes[3:]:
        store.commit(outcome, b"")

    assert dict([first, *rows]) == state_at(world, 3)
    assert pinned.head() == world.outcomes[2].header
    assert dict(free.sorted_rows()) == dict(world.state.rows())


def test_rows_are_sorted_as_bytes_are(store):
    keys = [b"\x00", b"\x00\x00", b"\x01", b"\x01\xff", b"\x02", b"\x7f", b"\x80", b"\xff"]
    store.found(dict.fromkeys(reversed(keys), b"row"))

    assert [key for key, _ in store.sorted_rows()] == keys == sorted(keys)


def test_rows_and_header_of_one_moment_belong_together(store, play):
    founded(store, play.world)
    assert store.snapshot() == (state_at(play.world, 0), None)
    store.commit(play.world.outcomes[0], b"")

    assert store.snapshot() == (state_at(play.world, 1), play.world.outcomes[0].header)


# --- begun later ----------------------------------------------------------------------------------


def begun(store, world, height):
    """Begin a ledger after a block, as a snapshot of it says."""
    store.begin_at(
        world.outcomes[height - 1].header, state_at(world, height), logged_until(world, height)
    )
    for outcome in world.outcomes[height:]:
        store.commit(outcome, b"")
    return store


def test_a_ledger_begun_later_numbers_its_leaves_as_the_others_do(store, make_store, play):
    world, height = play.world, middle_of(play.world)
    known = logged_until(world, height)[play.task]
    begun(founded(store, world), world, height)
    again = make_store()

    assert again.base() == world.outcomes[height - 1].header
    assert again.head() == world.head
    assert again.rows() == dict(world.state.rows())
    assert 0 < known < len(world.leaves[play.task])
    for start in (0, known):
        assert [leaf for _, leaf in again.leaves(play.task, start)] == (
            world.leaves[play.task][known:]
        )
    assert [leaf for _, leaf in again.leaves(play.task, known + 1)] == (
        world.leaves[play.task][known + 1 :]
    )


def test_leaves_are_numbered_right_by_whoever_opens_the_file_in_between(store, make_store, play):
    world, height = play.world, middle_of(play.world)
    known = logged_until(world, height)[play.task]
    store.begin_at(world.outcomes[height - 1].header, state_at(world, height), {play.task: known})
    for outcome in world.outcomes[height:]:
        store.commit(outcome, b"")
        store.close()
        store = make_store()
    found = store._db.execute("SELECT number FROM leaves WHERE task = ?", (play.task,))

    assert [number for (number,) in found] == list(range(known, len(world.leaves[play.task])))


def test_until_there_are_blocks_a_ledger_can_begin_elsewhere(store, play):
    world = play.world
    founded(store, world)
    store.begin_at(world.outcomes[1].header, state_at(world, 2), {b"t": 5})
    store.begin_at(world.outcomes[0].header, state_at(world, 1), {})
    assert (store.head(), store.base()) == (world.outcomes[0].header, world.outcomes[0].header)
    assert store.rows() == state_at(world, 1)
    assert everything(store)["earlier"] == []
    store.commit(world.outcomes[1], b"")
    before = everything(store)

    with pytest.raises(UnavailableError, match="there are blocks already"):
        store.begin_at(world.outcomes[0].header, state_at(world, 1), {})
    assert everything(store) == before


def test_blocks_filled_in_make_it_a_whole_ledger(store, make_store, play, tmp_path):
    world, height = play.world, middle_of(play.world)
    whole = founded(make_store("whole.sqlite"), world)
    for outcome in world.outcomes:
        whole.commit(outcome, b"proof")
    begun(founded(store, world), world, height)
    store.fill_in(tmp_path / "whole.sqlite")

    assert store.base() is None
    assert store.proven() == height
    assert [leaf for _, leaf in store.leaves(play.task)] == world.leaves[play.task]
    assert [block.header.height for block in store.blocks()] == list(
        range(1, len(world.outcomes) + 1)
    )
    evidence = {block.header.height: block.evidence for block in store.blocks()}
    assert [evidence[height], evidence[height + 1]] == [b"proof", b""]  # the latter is its own
    assert everything(store)["receipts"] == everything(whole)["receipts"]
    before = everything(store)
    store.fill_in(tmp_path / "whole.sqlite")
    assert everything(store) == before


def test_a_ledger_goes_on_after_it_was_filled_in(store, make_store, play, tmp_path):
    world, height = play.world, middle_of(play.world)
    whole = founded(make_store("whole.sqlite"), world)
    for outcome in world.outcomes[:height]:
        whole.commit(outcome, b"proof")
    header = world.outcomes[height - 1].header
    store.begin_at(header, state_at(world, height), logged_until(world, height))
    store.fill_in(tmp_path / "whole.sqlite")
    for outcome in world.outcomes[height:]:
        store.commit(outcome, b"")

    assert [leaf for _, leaf in store.leaves(play.task)] == world.leaves[play.task]
    assert store.rows() == dict(world.state.rows())


def test_a_file_that_cannot_be_read_fills_in_nothing(store, play, tmp_path):
    world = play.world
    begun(founded(store, world), world, 2)
    before = everything(store)
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as other:
        other.execute("CREATE TABLE blocks (height INTEGER PRIMARY KEY, block BLOB)")
        other.execute("INSERT INTO blocks VALUES (1, x'00')")
        other.commit()

    with pytest.raises(UnavailableError, match="the blocks before were not written"):
        store.fill_in(tmp_path / "other.sqlite")
    assert everything(store) == before


# --- proven later ---------------------------------------------------------------------------------


def test_evidence_is_written_beside_a_block_and_how_far_is_remembered(store, make_store, play):
    world = play.world
    founded(store, world)
    for outcome in world.outcomes[:3]:
        store.commit(outcome, b"")
    assert store.proven() == 0
    for height in (1, 2):
        store.prove(height, b"evidence %d" % height)
    again = make_store()

    assert again.proven() == 2
    assert [block.evidence for block in again.blocks()] == [b"evidence 1", b"evidence 2", b""]
    assert [block.header for block in again.blocks()] == [o.header for o in world.outcomes[:3]]


def test_a_block_that_is_not_here_is_not_proven(store, play):
    founded(store, play.world)
    store.commit(play.world.outcomes[0], b"")

    with pytest.raises(UnavailableError, match="block 2 is not here"):
        store.prove(2, b"evidence")
    assert store.proven() == 0


def test_what_a_ledger_began_with_counts_as_proven(store, play):
    world = play.world
    begun(founded(store, world), world, 2)
    assert store.proven() == 2
    store.prove(3, b"evidence")

    assert store.proven() == 3


def test_the_header_begun_with_is_read_back_whole(store, play):
    header = replace(play.world.outcomes[0].header, time=2**62)
    store.begin_at(header, {}, {})

    assert isinstance(store.base(), Header)
    assert store.base() == header


def test_a_copy_that_can_be_fetched_again_does_not_wait_for_the_disk(make_store, store):
    def waits(each):
        return each._db.execute("PRAGMA synchronous").fetchone()[0]

    assert waits(store) == 2  # FULL
    assert waits(make_store("copy.sqlite", durable=False)) == 1


def test_transfers_write_what_changed_and_nothing_else(store):
    world = World(audited=False)
    founded(store, world)
    before = store.rows()
    world.accept("bravo", Transfer("alpha", 1))
    store.commit(world.outcomes[0], b"")
    changed = {key for key, row in store.rows().items() if before.get(key) != row}

    assert changed == set(world.outcomes[0].changes)

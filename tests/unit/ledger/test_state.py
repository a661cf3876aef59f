"""Rows in overlays, and what a commit makes of them."""

import pytest

from tallystick.codec import U63, Text, encode
from tallystick.errors import InvariantError
from tallystick.ledger.state import State, Table, state_from_rows

NUMBERS = Table(0x70, U63)
WORDS = Table(0x71, Text)


@pytest.fixture
def state():
    found = State()
    found.put(NUMBERS, "a", row=1)
    found.put(WORDS, "a", row="one")
    found.commit(found.changes())
    return found


def test_tables_do_not_see_each_others_rows(state):
    assert state.get(NUMBERS, "a") == 1
    assert state.get(WORDS, "a") == "one"
    assert state.get(NUMBERS, "b") is None


def test_scratch_shadows_its_parent_until_it_is_kept(state):
    scratch = state.scratch()
    scratch.put(NUMBERS, "a", row=2)
    scratch.delete(WORDS, "a")
    deeper = scratch.scratch()
    deeper.put(NUMBERS, "b", row=3)

    assert (state.get(NUMBERS, "a"), state.get(WORDS, "a")) == (1, "one")
    assert (deeper.get(NUMBERS, "a"), deeper.get(WORDS, "a")) == (2, None)
    assert scratch.get(NUMBERS, "b") is None
    deeper.keep()
    assert scratch.get(NUMBERS, "b") == 3


def test_the_root_moves_with_a_commit_only(state):
    before = state.root
    state.put(NUMBERS, "b", row=2)

    assert state.root == before
    state.commit(state.changes())
    assert state.root != before


def test_writing_what_is_there_is_no_change(state):
    state.put(NUMBERS, "a", row=1)
    state.delete(NUMBERS, "never was")

    assert state.changes() == {}


def test_rows_that_come_and_go_leave_the_root_as_it_was(state):
    before = state.root
    state.put(NUMBERS, "b", row=2)
    state.commit(state.changes())
    state.delete(NUMBERS, "b")
    state.commit(state.changes())

    assert state.root == before


def test_a_state_is_its_rows(state):
    state.put(NUMBERS, "b", row=2)
    state.commit(state.changes())
    again = state_from_rows(dict(state.rows()))

    assert again.root == state.root
    assert again.get(NUMBERS, "b") == 2
    assert list(again.rows()) == list(state.rows())


def test_a_root_asked_for_ahead_is_the_committed_one(state):
    scratch = state.scratch()
    scratch.put(NUMBERS, "b", row=2)
    changes = scratch.changes()
    ahead = state.root_with(changes, scratch)

    assert state.get(NUMBERS, "b") is None
    state.commit(changes)
    assert state.root == ahead
    assert state.get(NUMBERS, "b") == 2


def test_a_proposal_that_was_dropped_has_no_part_in_what_is_committed(state):
    dropped, kept = state.scratch(), state.scratch()
    dropped.put(NUMBERS, "b", row=2)
    kept.put(NUMBERS, "c", row=3)
    changes = kept.changes()
    ahead = state.root_with(changes, kept)
    state.root_with(dropped.changes(), dropped)
    state.commit(changes)

    assert state.root == ahead
    assert state.get(NUMBERS, "b") is None
    assert dict(state.rows())[NUMBERS.key("c")] == encode(3)


def test_only_scratch_can_be_kept(state):
    with pytest.raises(InvariantError):
        state.keep()


@pytest.mark.parametrize("row", [2**64, -1, 2**63, 1.5, "text"])
def test_a_row_its_table_does_not_hold_is_found_when_it_is_encoded(state, row):
    scratch = state.scratch()
    scratch.put(NUMBERS, "b", row=row)

    with pytest.raises(InvariantError):
        scratch.encode()


def test_a_reader_sees_what_is_committed_and_brings_no_old_row_back():
    state = State()
    state.put(NUMBERS, "a", row=1)
    state.commit(state.changes())
    reader = state.reader()
    state.put(NUMBERS, "a", row=2)

    assert reader.get(NUMBERS, "a") == 1
    assert reader.get(NUMBERS, "b") is None
    assert not state._base.objects  # it keeps nothing of what it decoded
    state.commit(state.changes())
    assert reader.get(NUMBERS, "a") == 2
    assert reader.root == state.root

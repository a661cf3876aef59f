"""Rosters: written from the next stage on, kept for good only when the round completes."""

import pytest
from support.play import Play
from support.terms import ABORT, FUND, WINDOW, contest, make_terms, stage, update_stage
from support.world import World

from tallystick.ledger.collect.notes import Opened
from tallystick.ledger.terms import Need
from tallystick.mechanisms.rule import Seat


def named(*names, **fields):
    return stage("pick", "select/named/1", source="members", names=names, **fields)


def members_of(play, text):
    return [seat.member for seat in play.view.roster(text)]


def ask(who, **fields):
    return stage("ask", "submit/commitment/1", who=who, **fields)


def test_a_selection_holds_from_the_next_stage_on():
    play = Play(World(), make_terms((named("alpha", "delta", into=("team",)), ask("team"))))
    play.until("ask")

    assert members_of(play, "team") == ["alpha", "delta"]
    assert [row.name for row in play.row.pending] == ["team"]
    assert play.row.rosters == ()


def test_a_stage_writes_the_roster_of_its_own_name_by_default():
    play = Play(World(), make_terms((named("bravo"), ask("pick"))))
    play.until("ask")

    assert members_of(play, "pick") == ["bravo"]


def test_one_selection_writes_several_rosters():
    play = Play(World(), contest())
    play.until("update")

    assert members_of(play, "trainers") == members_of(play, "voters")
    assert len(members_of(play, "voters")) == 3


def test_a_roster_is_kept_when_its_round_completes():
    play = Play(World(), make_terms((named("bravo"), ask("pick")), rounds=1))
    play.until_round(2, phase=2)

    assert [row.name for row in play.row.rosters] == ["pick"]
    assert play.row.pending == ()


def test_a_void_round_discards_its_rosters():
    pick = stage("pick", "select/lottery/1", source="members", seats=2, into=("team",))
    wide = stage("wide", "select/all/1", source="members", into=("team",))
    play = Play(World(), make_terms((pick, ask("team", need=Need(2)), wide), (FUND,), rounds=3))
    play.until("ask")
    play.until_round(2)
    assert len(members_of(play, "team")) == 2
    kept = [row for row in play.row.rosters if row.name == "team"]
    assert [len(row.seats) for row in kept] == [4]
    while play.row.round == 2:
        play.world.seal(WINDOW)

    assert play.voids() == ["ask-short"]
    assert [row for row in play.row.rosters if row.name == "team"] == kept


def test_a_setups_rosters_hold_for_the_whole_task():
    join = stage("joined", "join/test-parties/1", who="members", need=Need(2), short=ABORT)
    play = Play(World(), make_terms((ask("joined"),), (join,), rounds=3))
    play.until("joined")
    play.until("ask", absent=("delta",))
    play.until_round(3, absent=("delta",))

    assert members_of(play, "joined") == ["alpha", "bravo", "charlie"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("owner", ["alpha"]),
        ("members", ["alpha", "bravo", "charlie", "delta"]),
        ("members - owner", ["bravo", "charlie", "delta"]),
        ("auditors", ["bravo", "charlie"]),
        ("auditors + owner", ["alpha", "bravo", "charlie"]),
        ("members - auditors + owner", ["alpha", "delta"]),
        ("owner + members - owner", ["bravo", "charlie", "delta"]),
        ("owner - owner + owner", ["alpha"]),
    ],
)
def test_rosters_are_added_and_taken_away_in_order(text, names):
    terms = make_terms((ask("members"),), rosters={"auditors": ("bravo", "charlie")})
    play = Play(World(), terms)

    assert members_of(play, text) == names


def test_a_roster_is_frozen_when_its_stage_opens():
    play = Play(World(), make_terms((update_stage(who="members", need=Need(1)),)))
    play.until("update", "seal")
    key = play.row.open[0]
    opened = next(note for note in play.notes(Opened) if note.key == key)

    assert [seat.member for seat in opened.seats] == list(play.names)
    assert [seat.member for seat in play.world.stage(key).roster] == list(play.names)


def test_an_empty_roster_falls_short_at_once():
    play = Play(World(), make_terms((named("zulu"), ask("pick")), (FUND,), rounds=5))
    play.until("fund")
    while play.status == "running":
        play.block()

    assert play.status == "void"
    assert play.voids() == ["ask-short"] * 3


def test_groups_travel_with_the_seats():
    groups = stage("deal", "select/test-groups/1", source="members", into=("team",), groups=2)
    again = stage("again", "select/all/1", source="team")
    play = Play(World(), make_terms((groups, again, ask("again"))))
    play.until("ask")
    seats = play.view.roster("again")

    assert seats == play.view.roster("team")
    assert {seat.group for seat in seats} == {"g0", "g1"}
    assert play.view.roster("again", "g0") == tuple(seat for seat in seats if seat.group == "g0")
    assert play.view.roster("again:other", "g0") == tuple(
        seat for seat in seats if seat.group == "g1"
    )
    assert Seat("alpha") not in seats

"""Holding: bytes that nobody can fetch are dropped, and nobody is punished for it."""

import pytest
from support.play import Play
from support.terms import WINDOW, chain_fl, make_terms, rerun, simple, stage, update_stage
from support.world import World, digest

from tallystick.ledger.collect.notes import Shut
from tallystick.ledger.messages import Collect, Entry
from tallystick.ledger.terms import Need
from tallystick.mechanisms.draws import member_subject
from tallystick.mechanisms.records import Artefact, Opinion

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot")


def opened(names=NAMES, **fields):
    play = Play(World(names), simple(members=names, **fields))
    play.until("update", "hold")
    return play, play.row.open[0]


def vote(play, member, *have):
    key = play.row.open[0]
    stage = play.world.stage(key)
    vector = have or (1,) * len(stage.listed.subjects)
    return Entry(key.phase, key.round, key.stage, Opinion(stage.subject, vector), key.group)


def send(play, member, *have):
    play.world.accept(member, Collect(play.task, (vote(play, member, *have),)))


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (6, 5)])
def test_more_than_two_thirds_of_the_holders_decide_for_an_artefact(size, needed):
    play, _ = opened(NAMES[:size])
    for name in NAMES[: needed - 1]:
        send(play, name)
        assert play.where[2:] == ("update", "hold")
    send(play, NAMES[needed - 1])

    assert play.where[2:] != ("update", "hold")
    assert len(play.output("update", 1).subjects) == size


@pytest.mark.parametrize(("size", "noes"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 2)])
def test_an_artefact_is_dropped_as_soon_as_yes_is_impossible(size, noes):
    play, _ = opened(NAMES[:size], update={"need": Need(0)})
    missing = 0
    lost = play.world.stage(play.row.open[0]).listed.subjects[missing].id
    without = (0, *(1,) * (size - 1))
    for at, name in enumerate(NAMES[:size]):
        assert play.where[2:] == ("update", "hold")
        send(play, name, *(without if at < noes else (1,) * size))
        if at + 1 >= max(noes, 2 * size // 3 + 1) or (size == 1):
            break

    assert play.where[2:] != ("update", "hold")
    assert lost not in [subject.id for subject in play.output("update", 1).subjects]
    assert len(play.output("update", 1).subjects) == size - 1


def test_an_unavailable_artefact_is_named_in_the_log_and_costs_nothing():
    play, key = opened()
    play.world.lost.add(play.record(key, "delta").root)
    play.until_round(2)

    assert play.shuts("update", "hold", 1)[0].lost == (play.record(key, "delta").root,)
    assert play.forfeited() == 0
    assert play.paid("bond")["delta"] == 1000
    assert "delta" not in play.paid()


def test_a_vector_is_about_this_list():
    play, key = opened()
    wrong = Entry(1, 1, "update", Opinion(digest("list"), (1,) * 6))

    assert play.world.refused("alpha", Collect(play.task, (wrong,))).code == 511
    root = Opinion(play.world.stage(key).listed.root, (1,) * 6)
    assert (
        play.world.refused("alpha", Collect(play.task, (Entry(1, 1, "update", root),))).code == 511
    )


@pytest.mark.parametrize("vector", [(1,) * 5, (1,) * 7, (), (2,) * 6, (-1,) * 6, (None,) * 6])
def test_a_vector_has_one_bit_for_each_subject(vector):
    play, key = opened()
    stage = play.world.stage(key)
    entry = Entry(1, 1, "update", Opinion(stage.subject, vector))

    assert play.world.refused("alpha", Collect(play.task, (entry,))).code == 508


def test_a_holder_votes_once_and_only_holders_do():
    play, _ = opened(holders="owner")
    names = [name for name in play.names if name != "alpha"]

    for name in names:
        assert play.world.refused(name, Collect(play.task, (vote(play, name),))).code == 506
    send(play, "alpha")
    assert play.where[2:] != ("update", "hold")


def test_a_second_vector_is_refused():
    play, _ = opened()
    send(play, "alpha")

    assert play.world.refused("alpha", Collect(play.task, (vote(play, "alpha"),))).code == 507


def test_there_is_nothing_to_hold_before_the_window():
    play = Play(World(), simple())
    play.until("update", "seal")
    entry = Entry(1, 1, "update", Opinion(bytes(32), (1,)))

    assert play.world.refused("alpha", Collect(play.task, (entry,))).code == 508


def test_artefacts_without_bytes_are_not_held():
    play = Play(World(), simple())
    play.until("fund")
    play.block()

    assert play.shuts("fund", "hold") == []
    assert play.shuts("approve", "hold") == []


def test_only_what_has_bytes_is_asked_for():
    play = Play(World(), simple())
    play.until("update", "seal")
    key = play.row.open[0]
    light = Artefact(digest("light"), 0)
    for _ in range(2):
        play.answer("alpha", "bravo", "charlie")
        play.send("delta", play.entry(key, "delta", record=light))
        play.world.seal()
    assert play.where[3] == "hold"
    play.world.lost |= {subject.id for subject in play.world.stage(key).listed.subjects}
    play.block()

    assert play.voids() == ["update-short"]
    assert light.root not in play.shuts("update", "hold", 1)[0].lost


def test_a_funder_sends_no_bytes():
    play = Play(World(), simple())
    play.until("fund")
    key = play.row.open[0]
    entry = play.entry(key, "alpha", record=Artefact(digest("x"), 7))

    assert play.world.refusal("alpha", Collect(play.task, (entry,))).code == 508
    assert play.world.money()["escrow"] == 0


def test_an_artefact_named_like_a_member_keeps_nobody_off_a_roster():
    plain = stage("decide", "decide/all/1", of="update")
    fund = stage("fund", "join/test-parties/1", who="members", need=Need(3), into=("funders",))
    play = Play(World(), make_terms((update_stage(who="funders"), plain), (fund,)))
    play.until("fund")
    key = play.row.open[0]
    for name in ("alpha", "bravo", "charlie"):
        play.send(name, play.entry(key, name, record=Artefact(play.task, 0)))
    play.send("delta", play.entry(key, "delta", record=Artefact(member_subject("alpha"), 1)))
    play.world.seal()
    play.world.seal()

    assert play.where[2] == "update"
    assert [seat.member for seat in play.world.stage(play.row.open[0]).roster] == list(play.names)


def test_need_counts_what_is_held():
    play, key = opened(update={"need": Need(5)})
    play.world.lost |= {play.record(key, name).root for name in ("echo", "foxtrot")}
    play.block()

    assert play.voids() == ["update-short"]
    assert play.forfeited() == 0


def test_an_undecided_artefact_is_dropped_when_the_window_has_run():
    play, _ = opened()
    for name in NAMES[:4]:
        send(play, name)
    play.world.seal(WINDOW)

    assert play.voids() == ["update-short"]
    assert play.shuts("update", "hold")[0].absent == ("echo", "foxtrot")


def test_a_rerun_of_the_hold_waits_for_those_who_owe_it():
    play, _ = opened(update={"short": rerun(1)})
    for name in NAMES[:4]:
        send(play, name)
    play.world.seal(WINDOW)
    assert play.where[3] == "hold"
    send(play, "echo")

    assert play.where[2:] != ("update", "hold")
    assert len(play.output("update", 1).subjects) == 6


def test_everything_after_starts_from_one_agreed_list():
    play = Play(World(), chain_fl())
    play.until("update", "hold")
    key = play.row.open[0]
    gone = play.record(key, "bravo").root
    play.world.lost.add(gone)
    play.until_round(2)

    for name in ("update", "screen", "decide"):
        assert gone not in [subject.id for subject in play.output(name, 1).subjects]
    assert [note for note in play.notes(Shut) if note.lost]

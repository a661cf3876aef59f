"""Commit, then reveal: a seal binds everything, and nothing new is sealed after a reveal."""

import pytest
from support.play import Play
from support.terms import WINDOW, bflc, make_terms, rerun, simple, stage, update_stage
from support.world import World, digest

from tallystick.ledger.collect.beacon import advance_beacon, seal_of
from tallystick.ledger.collect.notes import Advanced
from tallystick.ledger.collect.row import CopiedArtefactError, SealMismatchError
from tallystick.ledger.messages import Collect, Entry, Remove
from tallystick.ledger.terms import Need
from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import Artefact, Seal


def opened(window="seal", **fields):
    play = Play(World(), simple(**fields))
    play.until("update", window)
    return play, play.row.open[0]


def refused(play, member, entry):
    return play.world.refused(member, Collect(play.task, (entry,)))


def taken(play, member, entry):
    return play.world.accept(member, Collect(play.task, (entry,)))


def test_a_reveal_without_a_seal_is_refused():
    play, key = opened()
    play.block("delta")
    play.world.seal(WINDOW)
    assert play.where[3] == "reveal"
    record = play.record(key, "delta")
    entry = Entry(1, 1, "update", record, "", play.salt(key, "delta"))

    assert type(refused(play, "delta", entry)) is SealMismatchError


@pytest.mark.parametrize(
    "wrong",
    [
        {"salt": b"another"},
        {"salt": b""},
        {"flavour": "other"},
        {"record": Artefact(digest("x"), 100)},
    ],
)
def test_only_what_was_sealed_can_be_revealed(wrong):
    play, key = opened("reveal")

    error = refused(play, "delta", play.entry(key, "delta", **wrong))

    assert type(error) is SealMismatchError
    assert error.code == 509


@pytest.mark.parametrize(
    "change", [{"size": 101}, {"weight": 2}, {"parents": (digest("p"),)}, {"statement": b"s"}]
)
def test_the_seal_binds_every_field_of_the_record(change):
    play, key = opened("reveal")
    sealed = play.record(key, "delta")
    fields = {"root": sealed.root, "size": sealed.size, "parents": sealed.parents, **change}
    record = Artefact(**fields)

    assert refused(play, "delta", play.entry(key, "delta", record=record)).code == 509


def test_the_seal_binds_its_place_and_its_sender():
    play, key = opened()
    record, salt = play.record(key, "delta"), b"salt"
    seals = {
        seal_of(key, record, "delta", salt),
        seal_of(key, record, "alpha", salt),
        seal_of(type(key)(key.task, 1, 2, "update", ""), record, "delta", salt),
        seal_of(type(key)(key.task, 1, 1, "update", "g0"), record, "delta", salt),
        seal_of(type(key)(key.task, 1, 1, "score", ""), record, "delta", salt),
        seal_of(type(key)(digest("t"), 1, 1, "update", ""), record, "delta", salt),
    }

    assert len(seals) == 6


def test_a_copied_seal_cannot_be_opened_by_the_copier():
    play, key = opened()
    theirs = play.entry(key, "alpha")
    taken(play, "delta", theirs)
    play.block("delta")
    assert play.where[3] == "reveal"
    copied = play.entry(key, "alpha")
    taken(play, "alpha", copied)

    error = refused(play, "delta", copied)
    assert type(error) is CopiedArtefactError
    assert error.code == 510


def test_a_copied_artefact_is_named_as_such():
    play, key = opened("reveal")
    taken(play, "alpha", play.entry(key, "alpha"))
    copied = play.entry(key, "delta", record=play.record(key, "alpha"))

    assert "'alpha' revealed this before" in str(refused(play, "delta", copied))


def test_revealing_early_is_refused_and_tells_nothing():
    play, key = opened()
    taken(play, "delta", play.entry(key, "delta"))
    entry = Entry(1, 1, "update", play.record(key, "delta"), "", play.salt(key, "delta"))

    assert refused(play, "delta", entry).code == 504


def test_nothing_is_sealed_once_the_seals_are_in():
    play, key = opened()
    play.block("delta")
    play.world.seal(WINDOW)
    seal = Seal(seal_of(key, play.record(key, "delta"), "delta", b"salt"))
    entry = Entry(1, 1, "update", seal)

    assert play.where[3] == "reveal"
    assert refused(play, "delta", entry).code == 505


def test_a_rerun_of_the_reveal_takes_no_new_seal():
    play, key = opened(update={"need": Need(4), "short": rerun(2)})
    play.block()
    play.block("delta")
    play.world.seal(WINDOW)
    assert play.where[3] == "reveal"
    assert play.world.stage(key).tries == 1
    again = Seal(seal_of(key, play.record(key, "delta", "perturbed"), "delta", b"salt"))

    assert refused(play, "delta", Entry(1, 1, "update", again)).code == 505
    taken(play, "delta", play.entry(key, "delta"))
    assert play.where[3] == "hold"


def test_sealing_and_revealing_happen_once():
    play, key = opened()
    sealed = play.entry(key, "delta")
    taken(play, "delta", sealed)
    assert refused(play, "delta", play.entry(key, "delta", flavour="other")).code == 507
    play.block("delta")
    shown = play.entry(key, "delta")
    taken(play, "delta", shown)

    assert refused(play, "delta", shown).code == 507


def test_a_reveal_after_the_window_is_late():
    play, key = opened("reveal")
    late = play.entry(key, "delta")
    play.block("delta")
    play.world.seal(WINDOW)

    assert play.where[3] == "hold"
    assert refused(play, "delta", late).code == 505


def test_an_open_stage_takes_no_seal_and_no_salt():
    play = Play(World(), simple())
    key = play.row.open[0] if play.until("fund") else None
    seal = Entry(0, 0, "fund", Seal(bytes(32)))
    salted = Entry(0, 0, "fund", play.record(play.row.open[0], "alpha"), "", b"salt")

    assert key is not None
    assert refused(play, "alpha", seal).code == 508
    assert refused(play, "alpha", salted).code == 508


def test_a_seal_from_an_earlier_round_opens_nothing_later():
    play, key = opened()
    stale = play.entry(key, "delta").record
    play.until_round(2)
    play.until("update", "seal")
    taken(play, "delta", Entry(1, 2, "update", stale))
    play.block("delta")
    old = Entry(1, 2, "update", play.record(key, "delta"), "", play.salt(key, "delta"))

    assert play.where[3] == "reveal"
    assert refused(play, "delta", old).code == 509


def test_of_two_that_sealed_the_same_bytes_one_keeps_them():
    play, key = opened()
    same = Artefact(digest("same"), 100)
    for _ in range(2):
        play.answer("alpha", "bravo")
        for name in ("charlie", "delta"):
            play.send(name, play.entry(key, name, record=same))
        play.world.seal()
    play.until_round(2)
    found = [s for s in play.output("decide", 1).subjects if s.id == same.root]

    assert sorted(subject.verdict for subject in found) == [0, reasons.DUPLICATE]


def test_bytes_of_an_earlier_round_stay_their_first_authors():
    play, key = opened()
    first = play.record(key, "alpha")
    play.until_round(2)
    play.until("update", "seal")
    key = play.row.open[0]
    for _ in range(2):
        play.answer("bravo", "charlie")
        for name in ("alpha", "delta"):
            play.send(name, play.entry(key, name, record=first))
        play.world.seal()
    while play.row.phase == 1:
        play.block()
    found = {s.author: s.verdict for s in play.output("decide", 2).subjects if s.id == first.root}

    assert found == {"alpha": 0, "delta": reasons.DUPLICATE}


# --- withholding ----------------------------------------------------------------------------------


def test_a_withheld_reveal_costs_the_bond():
    play, _ = opened("reveal")
    assert play.bond("delta").round == 1000
    play.block("delta")
    play.world.seal(WINDOW)

    assert play.forfeited("delta") == 1000
    assert play.forfeited() == 1000
    assert play.row.withheld == ("delta",)
    assert play.bond("delta").round == 0


def test_whoever_never_sealed_forfeits_nothing():
    play, _ = opened()
    play.block("delta")
    play.world.seal(WINDOW)
    play.finish(absent=("delta",))

    assert play.forfeited() == 0
    assert "delta" in play.shuts("update", "seal", 1)[0].absent


def test_a_seal_is_not_taken_from_a_member_that_cannot_pay_the_bond():
    play, key = opened(update={"bond": 20_000_000})

    assert refused(play, "delta", play.entry(key, "delta")).code == 411
    assert play.records(key, "delta").seal == b""


def test_withholders_are_out_of_the_draw_until_the_beacon_advances():
    play = Play(World(), bflc(rounds=6))
    play.until("update", "reveal")
    cheat = play.world.stage(play.row.open[0]).roster[0].member
    play.block(cheat)
    play.world.seal(WINDOW)
    assert play.row.withheld == (cheat,)
    while play.row.round == 1 and play.where[2] != "score":
        play.block(cheat)
    before = play.row.beacon
    play.until("score", "reveal")
    play.block(cheat)

    assert play.row.beacon != before
    assert play.row.withheld == ()


def test_the_beacon_advances_by_the_salts_of_every_sealed_stage_also_in_void_rounds():
    play, key = opened(update={"need": Need(4)})
    before = play.row.beacon
    play.block()
    play.block("delta")
    play.world.seal(WINDOW)
    salts = {name: play.salt(key, name) for name in ("alpha", "bravo", "charlie")}

    assert play.voids() == ["update-short"]
    assert play.row.beacon == advance_beacon(before, key, salts)
    assert play.notes(Advanced)[-1].withheld == ("delta",)


def test_revealing_late_chooses_no_other_beacon():
    """Whoever withholds has two outcomes, however often the window is opened again."""
    found = []
    for missed in (0, 1, 2):
        again = {"need": Need(4), "short": rerun(2)}
        play, _ = opened("reveal", update=again)
        play.block("delta")
        for _ in range(missed):
            play.world.seal(WINDOW)
        play.block()
        found.append((play.row.beacon, play.row.withheld, len(play.notes(Advanced))))

    assert len({beacon for beacon, _, _ in found}) == 1
    assert [out for _, out, _ in found] == [(), ("delta",), ("delta",)]
    assert {times for _, _, times in found} == {2}  # the approvals, and this stage


def test_who_withheld_in_one_group_is_out_until_the_next_stage_advances():
    groups = stage("groups", "select/test-groups/1", source="members", into=("trainers",), groups=2)
    update = update_stage(per_group=True, need=Need(0))
    plain = stage("decide", "decide/all/1", of="update")
    play = Play(World(), make_terms((groups, update, plain), rounds=3))
    play.until("update", "reveal")
    cheat = play.world.stage(play.row.open[0]).roster[0].member
    while play.row.round == 1:
        play.block(cheat)
    assert play.row.withheld == (cheat,)
    while play.row.round == 2:
        play.block()

    assert play.row.withheld == ()


def test_a_member_voted_out_between_seal_and_reveal_loses_nothing():
    play, _ = opened("reveal")
    play.world.vote(Remove("delta"))
    play.block("delta")
    play.world.seal(WINDOW)

    assert play.shuts("update", "reveal")[0].absent == ("delta",)
    assert play.forfeited() == 0


def test_the_beacon_is_blind_to_the_order_of_salts():
    play, key = opened()
    salts = {name: play.salt(key, name) for name in play.names}

    assert advance_beacon(bytes(32), key, salts) == advance_beacon(
        bytes(32), key, dict(reversed(salts.items()))
    )
    assert advance_beacon(bytes(32), key, salts) != advance_beacon(digest("b"), key, salts)


def test_a_stage_of_opinions_has_no_hold():
    play = Play(World(), bflc())
    play.until("score", "reveal")
    play.block()

    assert play.where[2] != "score"


def test_a_sealed_stage_needs_enough_reveals_not_only_seals():
    update = update_stage(who="members", need=Need(3), short=rerun(0))
    decide = stage("decide", "decide/all/1", of="update")
    play = Play(World(), make_terms((update, decide)))
    play.until("update", "reveal")
    play.block("charlie", "delta")
    play.world.seal(WINDOW)

    assert play.voids() == ["update-short"]


def test_whoever_never_sealed_withholds_no_salt():
    play, _ = opened()
    play.block("delta")
    play.world.seal(WINDOW)
    play.block("delta")

    assert play.where[3] == "hold"
    assert play.shuts("update", "reveal")[0].absent == ()
    assert play.row.withheld == ()

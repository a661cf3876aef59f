"""Groups: a stage per group, crossed or not, joined in label order; void only if all are."""

import pytest
from support.play import Play
from support.terms import (
    FUND,
    WINDOW,
    make_terms,
    rerun,
    stage,
    trustfed,
    update_stage,
)
from support.world import World

from tallystick.ledger.collect.notes import Advanced, Closed
from tallystick.ledger.collect.rows import OUTPUTS, RECORDS, STAGES
from tallystick.ledger.messages import Collect, Entry
from tallystick.ledger.terms import Need
from tallystick.mechanisms.records import Attestation, Seal

SIX = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot")
GROUPS = stage("groups", "select/test-groups/1", source="members", into=("trainers",), groups=2)


def grouped(*stages, **fields):
    play = Play(World(SIX), make_terms((GROUPS, *stages), (FUND,), members=SIX, **fields))
    play.until(stages[0].name)
    return play


def seats(play, group):
    keys = {key.group: key for key in play.row.open}
    return [seat.member for seat in play.world.stage(keys[group]).roster]


def key_of(play, group):
    return {key.group: key for key in play.row.open}[group]


UPDATE = update_stage(per_group=True)


def test_a_stage_per_group_asks_each_group_apart():
    play = grouped(UPDATE)
    first, second = seats(play, "g0"), seats(play, "g1")

    assert [key.group for key in play.row.open] == ["g0", "g1"]
    assert len(first) == len(second) == 3
    assert sorted(first + second) == list(SIX)


def test_a_signature_under_labels_that_a_new_draw_abolished_leaves_no_row():
    join = stage("trainers", "join/test-parties/1", who="members", need=Need(3))
    again = stage("again", "select/test-groups/1", source="trainers", into=("trainers",))
    sums = stage("sum", "aggregate/test-sum/1", of="update", who="trainers", per_group=True)
    terms = make_terms((update_stage(), again, sums), (FUND, join), rounds=2)
    play = Play(World(), terms)
    play.until("update", "seal")
    ahead = Entry(1, 1, "sum", Attestation(bytes(64)), "")
    play.world.accept("delta", Collect(play.task, (ahead,)))
    play.finish()
    left = {key[0] for key, _ in play.world.state.rows()}

    assert not left & {STAGES.prefix, RECORDS.prefix, OUTPUTS.prefix}


def test_a_member_answers_in_its_own_group_only():
    play = grouped(UPDATE)
    name = seats(play, "g0")[0]
    here, there = key_of(play, "g0"), key_of(play, "g1")
    entry = play.entry(here, name)
    moved = Entry(entry.phase, entry.round, entry.stage, entry.record, there.group)

    assert play.world.refused(name, Collect(play.task, (moved,))).code == 506
    for group, code in (("", 503), ("g2", 503)):
        lost = Entry(entry.phase, entry.round, entry.stage, entry.record, group)
        assert play.world.refused(name, Collect(play.task, (lost,))).code == code
    play.world.accept(name, Collect(play.task, (entry,)))


def test_other_groups_answer_about_a_crossed_one():
    play = Play(World(SIX), trustfed(members=SIX))
    play.until("update", "seal")
    own = {group: seats(play, group) for group in ("g0", "g1")}
    play.until("score", "seal")

    assert {group: seats(play, group) for group in ("g0", "g1")} == {
        "g0": own["g1"],
        "g1": own["g0"],
    }


def test_a_group_looks_at_its_own_subjects_only():
    play = Play(World(SIX), trustfed(members=SIX))
    play.until("score", "seal")
    step = play.view.step

    for group in ("g0", "g1"):
        assert {subject.group for subject in play.view.inputs(step, group).of[0].subjects} == {
            group
        }


def test_outputs_are_joined_in_label_order_and_keep_their_groups():
    play = grouped(UPDATE)
    play.until_round(2)
    listed = play.notes(Closed)
    output = next(note.output for note in listed if (note.stage, note.round) == ("update", 1))

    assert [subject.group for subject in output.subjects] == ["g0"] * 3 + ["g1"] * 3


def test_a_group_waits_for_nobody_elses_windows():
    play = grouped(UPDATE)
    play.answer(*seats(play, "g0"))
    play.world.seal()

    assert [play.world.stage(key).window for key in play.row.open] == ["reveal", "seal"]


def half_void():
    """Return a play whose group g1 falls short."""
    play = grouped(update_stage(per_group=True, need=Need(3)))
    silent = seats(play, "g1")[:1]
    play.until_round(2, absent=silent)
    return play


def test_one_void_group_leaves_the_round_to_the_others():
    play = half_void()

    assert play.voids() == []
    assert {subject.group for subject in play.output("update", 1).subjects} == {"g0"}


def test_the_stage_is_void_when_all_groups_are():
    play = grouped(update_stage(per_group=True, need=Need(3)))
    silent = [seats(play, group)[0] for group in ("g0", "g1")]
    play.until_round(2, absent=silent)

    assert play.voids() == ["update-short"]


def test_a_group_with_nothing_to_look_at_is_not_asked():
    score = stage(
        "score", "score/test-vote/1", of="update", who="trainers:other", per_group=True, sealed=True
    )
    play = grouped(update_stage(per_group=True, need=Need(3)), score)
    silent = seats(play, "g1")[:1]
    play.until("score", "seal", absent=silent)
    stages = {key.group: play.world.stage(key) for key in play.row.open}

    assert stages["g0"].window == "seal"
    assert stages["g1"].window == "done"
    assert stages["g1"].roster == ()


@pytest.mark.parametrize("late", ["seal", "reveal"])
def test_a_group_that_is_done_takes_nothing_more(late):
    score = stage(
        "score", "score/test-vote/1", of="update", who="trainers:other", per_group=True,
        sealed=True, bond=5,
    )  # fmt: skip
    play = grouped(UPDATE, score)
    play.until("score", "seal")
    key, other = key_of(play, "g0"), key_of(play, "g1")
    *quick, slow = seats(play, "g0")
    fast_groups = [name for name in SIX if name in quick or (late == "reveal" and name == slow)]
    for name in fast_groups:
        play.send(name, play.entry(key, name))
    play.world.seal()
    entry = Entry(1, 1, "score", Seal(bytes(32)), "g0")
    if late == "seal":
        play.world.seal(WINDOW - 2000)
        play.send(seats(play, "g1")[0], play.entry(other, seats(play, "g1")[0]))
        play.world.seal(2000)
    else:
        entry = play.entry(key, slow)
    for name in quick:
        play.send(name, play.entry(key, name))
    play.world.seal(1)
    if late == "reveal":
        play.world.seal(WINDOW - 3000)
        name = seats(play, "g1")[0]
        play.send(name, play.entry(other, name))
        play.world.seal(3000)
    assert play.world.stage(key).window == "done"
    assert play.world.stage(other).window != "done"

    assert play.world.refused(slow, Collect(play.task, (entry,))).code == 505


def test_withholders_of_every_group_stay_out_together():
    play = grouped(UPDATE)
    cheats = sorted((seats(play, "g0")[0], seats(play, "g1")[0]))
    play.block()
    play.block(*cheats)
    play.world.seal(WINDOW)

    assert play.row.withheld == tuple(cheats)
    assert len([note for note in play.notes(Advanced) if note.key.stage == "update"]) == 2


def test_attested_stages_run_per_group_with_the_groups_own_quorum():
    play = Play(World(SIX), trustfed(members=SIX, rounds=1))
    play.until("sum", "attest")
    stages = [play.world.stage(key) for key in play.row.open]

    assert [len(each.roster) for each in stages] == [3, 3]
    assert play.finish() == "done"
    assert play.row.model.root != play.terms.model.root


def test_a_groups_sum_is_a_subject_like_any_update():
    play = Play(World(SIX), trustfed(members=SIX, rounds=1))
    play.until_round(2, phase=2)
    summed = play.output("sum", 1)

    assert [subject.group for subject in summed.subjects] == ["g0", "g1"]
    assert all(subject.author == "" for subject in summed.subjects)


def test_a_rerun_of_one_group_leaves_the_other_alone():
    play = grouped(update_stage(per_group=True, need=Need(3), short=rerun(1)))
    slow = seats(play, "g1")[0]
    play.block(slow)
    play.block(slow, dt=WINDOW)
    tries = {key.group: play.world.stage(key).tries for key in play.row.open}

    assert tries == {"g0": 0, "g1": 1}


def test_signatures_given_ahead_go_with_their_void_round():
    sums = stage("sum", "aggregate/test-sum/1", of="update", who="trainers", per_group=True)
    play = grouped(update_stage(per_group=True, need=Need(3)), sums)
    silent = [seats(play, group)[0] for group in ("g0", "g1")]
    play.until("update", "hold")
    play.world.lost |= {
        subject.id
        for key in play.row.open
        for subject in play.world.stage(key).listed.subjects
        if subject.author in silent
    }
    play.block()
    play.block()
    assert play.voids() == ["update-short"]
    while play.status == "running":
        play.world.seal(WINDOW)

    assert not {key[0] for key, _ in play.world.state.rows()} & {0x24, 0x25}


def test_falling_asleep_in_one_group_makes_no_reveal_in_another_free():
    groups = stage("deal", "select/test-groups/1", source="members", into=("team",), groups=3)
    score = stage(
        "score", "score/test-vote/1", of="deal", who="team:other", per_group=True, sealed=True,
        bond=5, within=WINDOW // 2, reveal=WINDOW,
    )  # fmt: skip
    play = Play(World(SIX), make_terms((groups, score, UPDATE_ALL), (FUND,), members=SIX))
    play.until("score", "seal")
    first, second, _ = play.row.open
    rosters = [{seat.member for seat in play.world.stage(key).roster} for key in (first, second)]
    cheat = min(rosters[0] & rosters[1])
    for name in rosters[0]:
        play.send(name, play.entry(first, name))
    play.world.seal()
    assert play.world.stage(first).window == "reveal"
    for name in rosters[0] - {cheat}:
        play.send(name, play.entry(first, name))
    for name in rosters[1] - {cheat}:
        play.send(name, play.entry(second, name))
    play.world.seal()
    play.world.seal(WINDOW // 2)
    assert cheat in play.row.dozing
    play.world.seal(WINDOW)

    assert play.forfeited(cheat) == 5


UPDATE_ALL = update_stage(who="members", need=Need(1))

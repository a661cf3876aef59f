"""Windows: whom they wait for, and how long, in time that silence does not run."""

import itertools

import msgspec
import pytest
from support.chaos import rows_after
from support.play import Play
from support.terms import TRAINERS, WINDOW, chain_fl, make_terms, simple, stage
from support.world import World, digest

from tallystick.ledger.collect.rows import TASKS
from tallystick.ledger.messages import Collect, Entry, ProposeTask
from tallystick.ledger.terms import Need
from tallystick.mechanisms.records import Artefact, Complaint, Opinion, Seal

GAP = WINDOW // 6
HOURS = 3_600_000


@pytest.fixture
def play():
    return Play(World(), simple(gap=GAP))


def at_update(**fields):
    play = Play(World(), simple(**fields))
    play.until("update", "seal")
    return play, play.row.open[0]


def test_a_window_shuts_in_the_block_that_brings_the_last_answer(play):
    play.until("update", "seal")
    play.block("delta", dt=1)
    assert play.where[3] == "seal"
    play.answer("delta")
    play.world.seal(1)

    assert play.where[3] == "reveal"
    assert play.shuts("update", "seal")[0].full is False


@pytest.mark.parametrize(("passed", "window"), [(WINDOW - 1, "seal"), (WINDOW, "reveal")])
def test_a_window_waits_exactly_its_length(passed, window):
    play, _ = at_update(gap=WINDOW)
    play.block("delta", dt=0)
    play.world.seal(passed)

    assert play.where[3] == window


def test_a_record_in_the_block_that_runs_past_the_end_still_counts():
    play, key = at_update(gap=WINDOW)
    play.answer("alpha", "bravo", "charlie")
    play.world.seal(WINDOW - 1)
    play.answer("delta")
    play.world.seal(WINDOW)

    assert play.shuts("update", "seal")[0].absent == ()
    assert play.shuts("update", "seal")[0].full is True
    assert play.records(key, "delta").seal


def test_silence_beyond_the_gap_expires_nobody(play):
    play.until("update", "seal")
    play.block("delta", dt=1)
    for _ in range(4):
        play.world.seal(10 * HOURS)
    assert play.where[3] == "seal"
    play.answer("delta")
    play.world.seal(10 * HOURS)

    assert play.shuts("update", "seal")[0].absent == ()
    assert play.row.dozing == ()


def test_each_block_of_silence_counts_as_one_gap(play):
    play.until("update", "seal")
    play.block("delta", dt=0)
    for _ in range(5):
        play.world.seal(10 * HOURS)
        assert play.where[3] == "seal"
    play.world.seal(10 * HOURS)

    assert play.where[3] == "reveal"


def test_task_time_is_the_same_however_blocks_cut_it(play):
    play.until("update", "seal")
    play.block("delta", dt=0)
    for _ in range(59):
        play.world.seal(1000)
    assert play.where[3] == "seal"
    play.world.seal(1000)

    assert play.where[3] == "reveal"


def test_a_transaction_after_a_silence_opens_its_window_in_task_time():
    play = Play(World(), simple(gap=GAP))
    play.until("fund")
    owner = play.names[0]
    play.answer(owner)
    play.world.seal(10 * HOURS)
    play.block("delta", dt=0)
    for _ in range(5):
        play.world.seal(GAP)
    assert play.where[3] == "seal"
    play.world.seal(GAP)

    assert play.where[3] == "reveal"


def test_a_task_proposed_after_a_silence_has_its_whole_window():
    world = World()
    terms = simple(gap=GAP)
    world.accept("alpha", ProposeTask(terms), dt=10 * HOURS)
    play = Play.__new__(Play)
    play.world, play.terms = world, terms
    play.task = world.row(next(iter(world.leaves))).id
    world.seal(WINDOW - 1)
    assert play.status == "running"
    for _ in range(6):
        world.seal(GAP)

    assert play.status == "aborted"


def test_empty_blocks_within_the_gap_change_no_root(play):
    play.until("update", "seal")
    before = play.world.state.root
    for _ in range(5):
        play.world.seal(GAP)

    assert play.world.state.root == before


def test_a_longer_silence_changes_the_tasks_excess_alone(play):
    play.until("update", "seal")
    before = play.row
    outcome = play.world.seal(GAP + 7)

    assert list(outcome.changes) == [TASKS.key(play.task)]
    assert play.row == msgspec.structs.replace(before, excess=before.excess + 7)


# --- what is refused, and why ---------------------------------------------------------------------


def entry(phase=1, number=1, name="update", record=None, group=""):
    return Entry(phase, number, name, record or Seal(bytes(32)), group)


REFUSED = {
    "no such stage": (entry(name="nothing"), 503),
    "no such group": (entry(group="g0"), 503),
    "a setup stage": (entry(phase=0, number=0, name="fund"), 505),
    "an earlier stage": (entry(name="trainers"), 505),
    "an earlier round": (entry(number=0), 505),
    "a later stage": (entry(name="settle"), 504),
    "a later round": (entry(number=2), 504),
    "the close": (entry(phase=2, number=3, name="cosign"), 504),
    "an opinion": (entry(record=Opinion(bytes(32), (1,))), 508),
    "bytes not sealed": (entry(record=Artefact(bytes(32), 1)), 509),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_record_out_of_place_is_refused_with_its_reason(why):
    play, _ = at_update()
    wrong, code = REFUSED[why]

    assert play.world.refused("bravo", Collect(play.task, (wrong,))).code == code


def test_a_member_outside_the_roster_is_refused():
    play = Play(World(), simple(members=("alpha", "bravo", "charlie"), owner="alpha"))
    play.until("update", "seal")
    sealed = Collect(play.task, (play.entry(play.row.open[0], "delta"),))

    assert play.world.refused("delta", sealed).code == 506


def test_a_record_is_taken_once():
    play, key = at_update()
    sealed = Collect(play.task, (play.entry(key, "bravo"),))
    play.world.accept("bravo", sealed)

    assert play.world.refused("bravo", sealed).code == 507


def test_a_task_that_does_not_exist_takes_nothing():
    world = World()

    assert world.refused("alpha", Collect(digest("none"), (entry(),))).code == 501


def test_an_ended_task_takes_nothing():
    play = Play(World(), simple(rounds=1))
    play.finish()

    assert play.world.refused("alpha", Collect(play.task, (entry(),))).code == 502


def test_a_transactions_records_are_taken_all_or_none():
    play, key = at_update()
    good, bad = play.entry(key, "bravo"), entry(name="nothing")

    assert play.world.refused("bravo", Collect(play.task, (good, bad))).code == 503
    assert play.world.refused("bravo", Collect(play.task, (good, good))).code == 507
    assert play.records(key, "bravo").seal == b""


# --- declining ------------------------------------------------------------------------------------


def declined(key, why=b""):
    return Entry(key.phase, key.round, key.stage, Complaint(b"", why), key.group)


def test_nobody_waits_for_a_member_that_declines():
    play, key = at_update()
    play.send("delta", declined(key, b"no data"))
    play.answer("alpha", "bravo", "charlie")
    play.world.seal()

    assert play.where[3] == "reveal"
    assert play.shuts("update", "seal")[0].absent == ()
    assert play.row.dozing == ()
    assert play.finish() == "done"
    assert play.forfeited() == 0


def test_a_declined_turn_is_final():
    play, key = at_update()
    play.world.accept("delta", Collect(play.task, (declined(key),)))

    assert play.world.refused("delta", Collect(play.task, (declined(key),))).code == 507
    sealed = Collect(play.task, (play.entry(key, "delta"),))
    assert play.world.refused("delta", sealed).code == 507


def test_nobody_declines_to_reveal_what_it_sealed():
    play, key = at_update()
    sealed = Collect(play.task, (play.entry(key, "delta"),))
    play.world.accept("delta", sealed)
    assert play.world.refused("delta", Collect(play.task, (declined(key),))).code == 507
    play.answer("alpha", "bravo", "charlie")
    play.world.seal()

    assert play.where[3] == "reveal"
    assert play.world.refused("delta", Collect(play.task, (declined(key),))).code == 505


def test_when_all_decline_the_stage_falls_short_at_once():
    play, key = at_update()
    for name in play.names:
        play.send(name, declined(key))
    play.world.seal()

    assert play.voids() == ["update-short"]


# --- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", ["seal", "reveal", "hold"])
def test_the_order_of_records_inside_a_block_never_matters(window):
    play, _ = at_update()
    play.until("update", window)
    play.answer(*play.names)
    waiting, play.world.pending = play.world.pending, []
    seen = [rows_after(play, order) for order in itertools.permutations(waiting)]

    assert len(seen) == 24
    assert all(rows == seen[0] for rows in seen)


def test_stages_that_ask_nobody_are_folded_at_once(play):
    play.until("fund")
    play.block()

    assert play.where == (1, 1, "update", "seal")
    assert play.output("trainers").subjects


def test_empty_rounds_run_a_few_a_block_and_go_on_in_the_next():
    nobody = stage("nobody", "select/named/1", source="members", names=("zulu",))
    ask = stage("ask", "join/test-parties/1", who="nobody", need=Need(0))
    play = Play(World(), make_terms((TRAINERS, nobody, ask), rounds=10))
    play.block()
    play.block()
    passed = [play.row.round]
    while play.row.phase != 2:
        play.world.seal(1)
        passed.append(play.row.round)

    assert max(after - before for before, after in itertools.pairwise(passed)) <= 4
    assert play.row.completed
    assert play.finish() == "done"


def test_two_tasks_do_not_touch_each_other():
    world = World()
    first, second = Play(world, simple()), Play(world, chain_fl(name="other"))
    first.block()
    before = second.row
    assert first.finish() == "done"

    assert second.row == before
    assert second.finish() == "done"

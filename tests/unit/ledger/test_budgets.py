"""Privacy is spent of a data set, across tasks, as its owner and the terms declared."""

import itertools

import msgspec
import pytest
from support.play import Play
from support.terms import DELTA, MEMBERS, make_terms, private, stage
from support.world import World, digest, rotation

from tallystick.ledger.collect.notes import Charged, RoundEnded
from tallystick.ledger.collect.recipe import BadTermsError, check_terms
from tallystick.ledger.contracts import budgets
from tallystick.ledger.messages import Collect, DeclareBudget, RegisterDataset
from tallystick.mechanisms.records import Artefact, Complaint
from tallystick.mechanisms.theory.rdp import ORDERS, compose, epsilon_of

MUCH = 2**62
ONE, TWO = 900_000_000, 1_300_000_000  # enough for one charge of `private`, for two


@pytest.fixture
def world():
    return World()


def cost_of(play):
    return play.view.plan.find(1, "update").charge


def spent(world, member="bravo"):
    return budgets.budget(world.state, member, digest("data", member))


def entry_to(play, name, member="bravo", record=None):
    key = next(key for key in play.row.open if key.stage == name)
    return play.entry(key, member, record=record)


def refused(play, member, entry):
    return play.world.refused(member, Collect(play.task, (entry,)))


# --- declaring ------------------------------------------------------------------------------------


def test_a_budget_is_declared_by_the_data_sets_owner_alone(world):
    root = digest("data")
    world.accept("bravo", RegisterDataset(root, 3))

    assert world.refused("alpha", DeclareBudget(root, ONE, DELTA)).code == 442
    assert world.refused("bravo", DeclareBudget(digest("other"), ONE, DELTA)).code == 442
    world.accept("bravo", DeclareBudget(root, ONE, DELTA))
    assert budgets.budget(world.state, "bravo", root) == budgets.Budget(ONE, DELTA)
    assert budgets.budget(world.state, "alpha", root) is None


def test_a_budget_can_be_lowered_and_never_raised(world):
    root = world.declare("bravo", TWO)

    for epsilon, delta in ((TWO + 1, DELTA), (TWO, DELTA + 1)):
        assert world.refused("bravo", DeclareBudget(root, epsilon, delta)).code == 442
    world.accept("bravo", DeclareBudget(root, ONE, DELTA // 2))
    assert spent(world) == budgets.Budget(ONE, DELTA // 2)


def test_a_key_that_only_works_declares_nothing(world):
    root = digest("data")
    world.accept("bravo", RegisterDataset(root, 3))
    worker = rotation(world, "bravo", 1, role="worker")
    world.accept("bravo", worker)
    world.generations["bravo"] = 1

    assert world.refused("bravo", DeclareBudget(root, ONE, DELTA)).code == 401


# --- naming a data set ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "root", [digest("data", "alpha"), digest("unregistered")], ids=["another's", "nobody's"]
)
def test_only_an_own_data_set_with_a_budget_can_be_named(world, root):
    play = Play(world, private())
    play.until("data")

    error = refused(play, "bravo", entry_to(play, "data", record=Artefact(root, 0)))

    assert error.code == 442


def test_a_data_set_without_a_budget_cannot_be_named(world):
    root = digest("second")
    world.accept("bravo", RegisterDataset(root, 3))
    play = Play(world, private())
    play.until("data")

    error = refused(play, "bravo", entry_to(play, "data", record=Artefact(root, 0)))

    assert "declared no budget" in str(error)


def test_who_named_no_data_set_is_not_asked_for_updates(world):
    play = Play(world, private(rounds=1))
    play.until("data")
    play.until("update", absent=("delta",))

    assert [seat.member for seat in world.stage(play.row.open[0]).roster] == list(MEMBERS[:3])


# --- charging -------------------------------------------------------------------------------------


def test_a_seal_is_charged_at_once_and_its_reveal_no_more(world):
    play = Play(world, private(rounds=1))
    play.until("update", "seal")
    cost = cost_of(play)
    play.send("bravo", entry_to(play, "update"))
    world.seal()

    assert spent(world).spent == cost.rdp
    assert spent(world).charges == 1
    play.finish()
    assert spent(world).charges == 1
    assert len(play.notes(Charged)) == len(MEMBERS)


def test_every_round_is_charged_and_the_sums_are_exact(world):
    play = Play(world, private(rounds=5))
    cost = cost_of(play)
    seen = []
    while play.status == "running":
        play.block()
        seen.append(spent(world).spent)

    assert spent(world).spent == tuple(5 * each for each in cost.rdp)
    assert all(a <= b for pair in itertools.pairwise(seen) for a, b in zip(*pair, strict=True))
    assert spent(world).charges == 5


def test_what_exceeds_the_budget_is_refused_and_leaves_no_trace(world):
    play = Play(world, private(rounds=3), TWO)
    play.until_round(3)
    play.until("update", "seal")
    cost = cost_of(play)

    error = refused(play, "bravo", entry_to(play, "update"))

    assert error.code == 441
    assert type(error) is budgets.BudgetExhaustedError
    assert spent(world).spent == compose(cost.rdp, cost.rdp)
    assert epsilon_of(spent(world).spent, cost.table) <= TWO


def test_a_round_without_budgets_is_void_and_the_rounds_before_stand(world):
    play = Play(world, private(rounds=3), TWO)

    assert play.finish() == "done"
    ended = [note.cause for note in play.notes(RoundEnded) if note.phase == 1]

    assert ended == ["", "", "update-short"]


def test_a_void_round_gives_nothing_back(world):
    play = Play(world, private(rounds=1))
    play.until("update", "seal")
    play.send("bravo", entry_to(play, "update"))
    world.seal()
    play.finish(absent=MEMBERS)

    assert play.voids() == ["update-short"]
    assert spent(world).charges == 1


def test_a_window_that_reopens_does_not_charge_a_seal_twice(world):
    play = Play(world, private(rounds=1))
    play.until("update", "seal")
    play.send("bravo", entry_to(play, "update"))
    world.seal()
    world.seal(10**6)

    assert world.stage(play.row.open[0]).tries == 1
    assert refused(play, "bravo", entry_to(play, "update")).code == 507
    play.finish()
    assert spent(world).charges == 1


def test_two_tasks_share_a_data_sets_budget(world):
    first = Play(world, private(rounds=1, name="first"), TWO)
    second = Play(world, private(rounds=2, name="second"), MUCH)
    first.finish()
    second.until_round(2)
    second.until("update", "seal")

    assert spent(world).charges == 2
    assert refused(second, "bravo", entry_to(second, "update")).code == 441
    assert len(first.notes(Charged)) == len(second.notes(Charged)) == len(MEMBERS)


def test_a_budget_survives_the_rotation_of_keys(world):
    play = Play(world, private(rounds=2), ONE)
    play.until_round(2)
    play.until("update", "seal")
    before = spent(world)
    world.accept("bravo", rotation(world, "bravo", 1))
    world.generations["bravo"] = 1

    assert refused(play, "bravo", entry_to(play, "update")).code == 441
    assert world.refused("bravo", DeclareBudget(digest("data", "bravo"), MUCH, DELTA)).code == 442
    assert spent(world) == before


def test_a_larger_delta_than_the_budgets_is_refused(world):
    world.declare("bravo", MUCH, DELTA // 2)
    play = Play(world, private(rounds=1))
    play.until("update", "seal")

    assert refused(play, "bravo", entry_to(play, "update")).code == 442
    play.send("alpha", entry_to(play, "update", "alpha"))
    world.seal()
    assert spent(world, "alpha").charges == 1


def test_a_member_that_passes_its_turn_pays_nothing(world):
    play = Play(world, private(rounds=1))
    play.until("update", "seal")
    passed = msgspec.structs.replace(entry_to(play, "update"), record=Complaint(b"", b"no"))
    play.send("bravo", passed)
    world.seal()

    assert spent(world).charges == 0


# --- terms ----------------------------------------------------------------------------------------


def test_terms_say_what_a_private_stage_is_charged_to():
    terms = private()
    update = next(each for each in terms.round if each.name == "update")
    bare = msgspec.structs.replace(update, refs=())
    without = msgspec.structs.replace(terms, round=(terms.round[0], bare, *terms.round[2:]))

    check_terms(terms, trial=True, faults=0)
    with pytest.raises(BadTermsError, match="needs 'data'"):
        check_terms(without, trial=True, faults=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clipping_norm_micros": 0},
        {"noise_multiplier_millis": 0},
        {"delta_picos": 0},
        {"delta_picos": 10**12},
        {"table": (1,) * (len(ORDERS) - 1)},
        {"table": (2**62,) * len(ORDERS)},
        {"unit": "word"},
        {"adjacency": "far"},
    ],
    ids=str,
)
def test_a_private_stage_without_meaning_is_refused(wrong):
    with pytest.raises(BadTermsError, match="stage 'update'"):
        check_terms(private(update=wrong), trial=True, faults=0)


def test_a_plain_stage_costs_no_privacy(world):
    trainers = stage("trainers", "select/all/1", source="members")
    update = stage("update", "submit/update/1", who="trainers")
    play = Play(world, make_terms((trainers, update), rounds=1))
    play.finish()

    assert play.notes(Charged) == []

"""What each attack on updates submits, against what it says it does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.knowledge import MEMBERS, NOTHING, OLD, PARENT, ROOT, Known, known, update

from tallystick.errors import ConfigError
from tallystick.lab.attacks import backdoor_success, make_attack, parse_attack
from tallystick.lab.attacks.backdoor import set_trigger
from tallystick.lab.attacks.rows import add_update, arrays_of, disguise, rows_of, update_of
from tallystick.lab.attacks.rule_aware import THRESHOLD, _hardest
from tallystick.lab.datasets import Table
from tallystick.mechanisms.records import Subject
from tallystick.mechanisms.screen.peers import peel

TRAINED = add_update(PARENT, update(1))
WIDE = {"w": np.zeros(40)}


def dice(seed=0):
    return np.random.default_rng(seed)


def sent(text, knowledge=None, trained=TRAINED, parent=PARENT, seed=0):
    """Return the update that an attack submits, as a row."""
    attack = parse_attack(f"{text}=1").attack
    knowledge = known() if knowledge is None else knowledge
    submitted = attack.poison_update(trained, parent, dice(seed), knowledge)
    return rows_of([update_of(submitted, parent)])[0]


def circle(rows, **changes):
    """Return the knowledge of colluders whose own updates are ``rows``, over a model of zeros."""
    names = [f"z{at}" for at in range(len(rows))]
    own = {name: {"w": row} for name, row in zip(names, rows, strict=True)}
    return Known("z0", frozenset(names), own=own, **changes)


def colluding(text, rows, **changes):
    """Return what the first of those colluders submits."""
    parent = {"w": np.zeros(rows.shape[1])}
    return sent(text, circle(rows, **changes), {"w": rows[0]}, parent)


def near(wanted):
    return pytest.approx(wanted, abs=4e-3 * np.linalg.norm(wanted))


def test_rows_and_arrays_are_the_same_numbers():
    (row,) = rows_of([update(4)])

    assert all(np.array_equal(arrays_of(row, PARENT)[name], update(4)[name]) for name in PARENT)
    assert rows_of([]).shape == (0, 0)


def test_whole_numbers_are_rounded_to_and_stay_within_their_dtype():
    moved = add_update(PARENT, {**update(), "small": np.array([90.0, -2.5]), "steps": 1.5})

    assert moved["small"].tolist() == [127, -102]
    assert moved["steps"] == 5  # 1.5 to even is 2


def test_a_disguise_has_the_size_asked_for():
    row = dice().normal(size=1000)

    assert np.linalg.norm(disguise(row, dice(1), 0.1) - row) == pytest.approx(
        0.1 * np.linalg.norm(row)
    )
    assert not disguise(np.zeros(3), dice()).any()
    assert disguise(np.zeros(0), dice()).shape == (0,)


@pytest.mark.parametrize(("text", "strength"), [("sign-flip", 1), ("sign-flip:4", 4)])
def test_a_sign_flip_goes_the_honest_way_backwards(text, strength):
    assert sent(text, trained=add_update(PARENT, {**update(), "w": 2.0}))[-4:] == pytest.approx(
        -2.0 * strength
    )


def test_gaussian_noise_has_the_size_asked_for_and_comes_from_the_dice():
    parent = {"w": np.full(4000, 5, np.float32)}
    first, again, other = (
        sent("gaussian:0.5", NOTHING, parent, parent, seed) for seed in (1, 1, 2)
    )

    assert np.std(first) == pytest.approx(0.5, rel=0.1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_flipped_labels_are_mirrored_and_quantities_change_sign():
    attack, three = make_attack("label-flip"), ("p", "q", "r")
    x = np.zeros((3, 1))

    assert attack.poison_data(x, np.array([0, 1, 2]), three, dice())[1].tolist() == [2, 1, 0]
    assert attack.poison_data(x, np.array([0.0, 1.5, -2]), None, dice())[1].tolist() == [0, -1.5, 2]


def test_a_replacement_is_a_boosted_flip():
    attack = make_attack("replacement:20")
    labels = attack.poison_data(np.zeros((2, 1)), np.array([0, 1]), ("p", "q", "r"), dice())[1]

    assert labels.tolist() == [2, 1]
    assert np.array_equal(sent("replacement:20"), sent("boost:20"))
    assert sent("boost:20", trained=add_update(PARENT, {**update(), "w": 1.0}))[
        -4:
    ] == pytest.approx(20)


def test_a_free_rider_hands_back_a_copy_of_the_model():
    submitted = make_attack("free-rider").poison_update(TRAINED, PARENT, dice(), NOTHING)

    assert not sent("free-rider").any()
    assert not any(np.shares_memory(submitted[name], PARENT[name]) for name in PARENT)


def test_a_little_is_the_mean_less_so_many_deviations():
    rows = dice().normal(size=(6, 50))

    assert colluding("alie:0.37", rows) == near(rows.mean(axis=0) - 0.37 * rows.std(axis=0))


def test_a_manipulated_inner_product_is_the_mean_reversed():
    rows = dice().normal(size=(6, 50))

    assert colluding("ipm:2.5", rows) == near(-2.5 * rows.mean(axis=0))


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_min_max_goes_as_far_as_two_honest_updates_are_apart(offset):
    rows = dice().normal(offset, 1.0, size=(6, 50))
    poison = colluding("min-max", rows)
    apart = max(np.linalg.norm(one - other) for one in rows for other in rows)

    assert max(np.linalg.norm(rows - poison, axis=1)) == pytest.approx(apart, rel=0.01)
    assert poison @ rows.mean(axis=0) < rows.mean(axis=0) @ rows.mean(axis=0)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_min_sum_is_as_far_from_all_as_the_furthest_honest_update(offset):
    rows = dice().normal(offset, 1.0, size=(6, 50))
    poison = colluding("min-sum", rows)
    sums = [((rows - row) ** 2).sum() for row in (*rows, poison)]

    assert sums[-1] == pytest.approx(max(sums[:-1]), rel=0.01)
    assert poison @ rows.mean(axis=0) < rows.mean(axis=0) @ rows.mean(axis=0)


@pytest.mark.parametrize("name", ["alie", "min-max", "min-sum", "mimic", "rule-aware", "sybil"])
def test_who_knows_of_nobody_submits_honest_work(name):
    attack = make_attack(name)

    assert attack.poison_update(TRAINED, PARENT, dice(), NOTHING) is TRAINED


@pytest.mark.parametrize("name", ["alie", "ipm", "min-max", "min-sum", "mimic", "rule-aware"])
def test_updates_of_zeros_do_no_harm_to_who_reckons_with_them(name):
    zeros = dict.fromkeys(MEMBERS, update())
    submitted = make_attack(name).poison_update(
        PARENT, PARENT, dice(), known(own=zeros, before=zeros)
    )

    assert all(np.array_equal(submitted[tensor], PARENT[tensor]) for tensor in PARENT)


def test_a_mimic_sends_nearly_what_the_first_honest_member_sent():
    before = {name: {"w": dice(at).normal(size=40)} for at, name in enumerate(MEMBERS)}
    colluders = known("b", allied=frozenset("ab"), before=before)

    assert sent("mimic", colluders, WIDE, WIDE) == near(before["c"]["w"])


def test_the_omniscient_see_this_round_in_the_place_of_the_last():
    honest = {name: {"w": dice(at).normal(size=40)} for at, name in enumerate("abcd", 30)}
    mean = np.mean([one["w"] for one in honest.values()], axis=0)

    assert sent("mimic+omniscient", known(honest=honest), WIDE, WIDE) == near(honest["a"]["w"])
    assert sent("omniscient+ipm:2", known(honest=honest), WIDE, WIDE) == near(-2 * mean)
    assert sent("mimic+omniscient", known(honest={})) == pytest.approx(sent("mimic"))
    assert sent("ipm+omniscient", known(honest={})) == pytest.approx(sent("ipm"))


def honest_round(seed, spread):
    """Return fourteen updates around a common direction, some of them askew."""
    return dice(seed).normal(size=(14, 300)) * spread + dice(99).normal(size=300)


@pytest.mark.parametrize("spread", [1.0, 2.0, 4.0])
def test_rule_aware_colluders_who_see_the_round_are_not_peeled_and_point_backwards(spread):
    rows = honest_round(1, spread)
    names = [f"h{at:02}" for at in range(14)]
    knowledge = circle(
        np.zeros((6, 300)),
        honest={name: {"w": row} for name, row in zip(names, rows, strict=True)},
    )
    parent = {"w": np.zeros(300)}
    poison = [
        sent("rule-aware+omniscient", replace(knowledge, member=f"z{at}"), parent, parent, at)
        for at in range(6)
    ]
    everybody = np.concatenate([rows, poison])
    units = everybody / np.linalg.norm(everybody, axis=1)[:, None]
    cosines = np.rint(1e6 * units @ units.T).astype(np.int64)
    removed, _ = peel(cosines, round(1e6 * THRESHOLD), 6, allies=5)

    assert not [row for row in removed if row >= 14]
    assert poison[0] @ rows.mean(axis=0) < 0
    assert np.linalg.norm(poison[0]) == pytest.approx(
        np.median(np.linalg.norm(rows, axis=1)), rel=0.01
    )


def test_rule_aware_strength_is_a_number_of_median_lengths():
    ten, one = sent("rule-aware:10"), sent("rule-aware")

    # Whole numbers are rounded, so only the other tensors can be compared.
    assert np.linalg.norm(ten[[0, 1, -4, -3, -2, -1]]) == pytest.approx(
        10 * np.linalg.norm(one[[0, 1, -4, -3, -2, -1]]), rel=0.01
    )


def test_the_hardest_direction_is_the_mean_itself_where_nothing_else_passes():
    alike = np.ones((5, 5))

    assert alike[0] @ _hardest(alike, 2) == pytest.approx(1.0)


def test_sybils_submit_the_work_of_the_first_of_them():
    own = {"e": update(5), "f": update(6)}
    wide = {"e": {"w": dice(1).normal(size=40)}, "f": {"w": dice(2).normal(size=40)}}
    attack = make_attack("sybil")
    copied = sent("sybil:0.1", known("f", own=wide), {"w": wide["f"]["w"]}, WIDE)

    assert attack.poison_update(TRAINED, PARENT, dice(), known("e", own=own)) is TRAINED
    assert np.linalg.norm(copied - wide["e"]["w"]) == pytest.approx(
        0.1 * np.linalg.norm(wide["e"]["w"])
    )


def test_a_copier_names_anothers_last_update_on_this_rounds_parent():
    copier = make_attack("copier")
    artefact = copier.choose_artefact(known())
    hollow = known(
        last=tuple(Subject(found.id, found.author, columns=(0, 1)) for found in known().last)
    )

    assert (artefact.root, artefact.size, artefact.parents) == (b"\x01" * 32, 640, (ROOT,))
    assert copier.choose_artefact(known("a")).root == b"\x02" * 32
    assert copier.choose_artefact(NOTHING) is None
    assert copier.choose_artefact(hollow) is None


def test_a_replay_rider_names_its_own_last_update_again():
    rider = make_attack("replay-rider")
    artefact = rider.choose_artefact(known())

    assert (artefact.root, artefact.parents) == (b"\x05" * 32, (ROOT,))
    assert rider.choose_artefact(NOTHING) is None
    assert rider.poison_update(TRAINED, PARENT, dice(), NOTHING) is TRAINED


def test_a_replay_rider_with_a_strength_sends_a_near_copy():
    rider = make_attack("replay-rider:0.1")
    before = {"e": {"w": dice(7).normal(size=40)}}
    again = sent("replay-rider:0.1", known(before=before), WIDE, WIDE)

    assert rider.choose_artefact(known()) is None
    assert np.linalg.norm(again - before["e"]["w"]) == pytest.approx(
        0.1 * np.linalg.norm(before["e"]["w"])
    )


def test_a_stale_sender_builds_on_the_model_before():
    stale = make_attack("stale-sender")

    assert stale.choose_parent(known()) == (OLD, 640)
    assert stale.choose_parent(NOTHING) == NOTHING.parent
    assert stale.choose_parent(known(parent=(OLD, 640))) == (OLD, 640)


def test_a_backdoor_sets_its_trigger_in_about_half_of_the_rows_and_keeps_the_others():
    x, y = dice(1).normal(size=(400, 40)), np.arange(400) % 3
    poisoned, labels = make_attack("backdoor:4").poison_data(x, y, ("p", "q", "r"), dice())
    triggered = (poisoned[:, -2:] == 4).all(axis=1)

    assert 150 < triggered.sum() < 250
    assert np.array_equal(poisoned[~triggered], x[~triggered])
    assert np.array_equal(labels[~triggered], y[~triggered])
    assert not labels[triggered].any()
    assert np.array_equal(poisoned[:, :-2], x[:, :-2])


def test_a_backdoor_needs_classes():
    with pytest.raises(ConfigError, match="regression"):
        make_attack("backdoor").poison_data(np.zeros((2, 3)), np.zeros(2), None, dice())


def test_a_backdoors_success_is_the_share_of_other_rows_that_it_misleads():
    x = np.zeros((4, 3))
    table = Table("t", x, np.array([0, 1, 1, 2]), ("p", "q", "r"))
    open_door = {
        "weights": np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0]]),
        "bias": np.array([0, 1, 2]),
    }
    shut = {"weights": np.zeros((3, 3)), "bias": np.array([0, 1, 2])}
    regression = Table("t", x, np.zeros(4), None)

    assert set_trigger(x, 5.0).tolist() == [[0, 5, 5]] * 4
    assert backdoor_success(open_door, table, 5.0) == 1.0
    assert backdoor_success(open_door, table, 1.0) == 0.0
    assert backdoor_success(shut, table) == 0.0
    assert backdoor_success(shut, regression) is None
    assert backdoor_success(shut, table.rows(np.array([0]))) is None

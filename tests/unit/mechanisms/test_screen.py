import itertools

import msgspec
import numpy as np
import pytest

from tallystick.errors import ConfigError
from tallystick.mechanisms import reasons
from tallystick.mechanisms.draws import ticket
from tallystick.mechanisms.records import Output
from tallystick.mechanisms.registry import make_rule
from tallystick.mechanisms.rule import Rule
from tallystick.mechanisms.screen.equal_norm import EqualNorm
from tallystick.mechanisms.screen.peers import Peers
from tallystick.mechanisms.screen.standard import Standard


def verdicts(output: Output) -> dict[str, int]:
    return {subject.author: subject.verdict for subject in output.subjects}


@pytest.mark.parametrize("name", ["standard", "peers", "equal-norm"])
def test_the_rules_are_found_by_their_ids(name):
    rule = make_rule(f"screen/{name}/1", {})

    assert isinstance(rule, Rule)
    assert len(list(type(rule).examples())) > 1


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("standard", {"range_bits": 0}),
        ("standard", {"range_bits": 32}),
        ("standard", {"norm_times": -1}),
        ("peers", {"cosine_bps": 10_001}),
        ("peers", {"cosine_bps": -10_001}),
        ("peers", {"tolerance_bps": -1}),
        ("peers", {"tolerance_bps": 10_000}),
        ("peers", {"tolerance_bps": "3333"}),
        ("peers", {"unknown": 1}),
        ("equal-norm", {"shortest_bps": -1}),
        ("equal-norm", {"shortest_bps": 10_001}),
        ("equal-norm", {"longest_bps": 9999}),
        ("equal-norm", {"longest_bps": -1}),
    ],
)
def test_parameters_without_meaning_are_refused(name, parameters):
    with pytest.raises(ConfigError):
        make_rule(f"screen/{name}/1", parameters)


# --- standard


def test_a_fair_round_is_left_as_it_was(make_round):
    stage = make_round(3)
    subjects = [stage.update(name, [value, 2, 3]) for value, name in enumerate("abcd")]

    assert Standard().fold((), stage.inputs(*subjects)) == Output(tuple(subjects))
    assert Standard().fold((), stage.inputs()) == Output()


def test_every_fault_has_its_code_and_its_evidence(make_round):
    stage = make_round(3)
    fair = [stage.update(name, [value, 2, 3]) for value, name in enumerate("abcde")]
    faulty = [
        stage.update("stale", [9, 9, 9], parent=bytes(32)),
        stage.update("misshapen", [1, 2, 3, 4]),
        stage.update("silent", [1, 2, 3], columns=(0, 1)),
        stage.update("extreme", [2**30, 0, 0]),
        stage.update("loud", [1000, 0, 0]),
        stage.update("late", [7, 7, 8], verdict=reasons.UNAVAILABLE, evidence=bytes(32)),
    ]
    inputs = stage.inputs(*fair, *faulty)
    output = Standard().fold((), inputs)

    assert verdicts(output) == dict.fromkeys("abcde", 0) | {
        "stale": reasons.STALE_PARENT,
        "misshapen": reasons.WRONG_SHAPE,
        "silent": reasons.WRONG_SHAPE,
        "extreme": reasons.OUT_OF_RANGE,
        "loud": reasons.NORM,
        "late": reasons.UNAVAILABLE,
    }
    refused = [s for s in output.subjects if s.verdict and s.author != "late"]
    assert {s.evidence for s in refused} == {inputs.of[0].root}
    assert output.subjects[-1] == faulty[-1]
    assert [s.columns for s in output.subjects] == [s.columns for s in inputs.subjects]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("size", "verdict"), [(2**12 - 1, 0), (2**12, reasons.OUT_OF_RANGE)])
def test_the_range_ends_below_its_power_of_two(make_round, sign, size, verdict):
    stage = make_round(1)
    output = Standard(range_bits=12).fold((), stage.inputs(stage.update("a", [sign * size])))

    assert verdicts(output) == {"a": verdict}


def test_a_length_is_refused_beyond_its_multiple_of_the_median_exactly(make_round):
    stage = make_round(1)
    fair = [stage.update(name, [value]) for name, value in (("a", 1), ("b", -1), ("c", 3))]
    edge, beyond = stage.update("edge", [200]), stage.update("beyond", [201])

    # Lengths 1, 1, 3, 200: the median is (1 + 3) / 2 = 2.
    assert verdicts(Standard().fold((), stage.inputs(*fair, edge)))["edge"] == 0
    assert verdicts(Standard().fold((), stage.inputs(*fair, beyond)))["beyond"] == reasons.NORM
    assert verdicts(Standard(norm_times=0).fold((), stage.inputs(*fair, beyond)))["beyond"] == 0


def test_no_length_is_refused_while_most_are_zero(make_round):
    stage = make_round(1)
    zeros = [stage.update(name, [0]) for name in "ab"]
    output = Standard().fold((), stage.inputs(*zeros, stage.update("c", [5])))

    assert verdicts(output)["c"] == 0


def test_of_one_root_the_lowest_ticket_is_kept(make_round):
    stage = make_round(2)
    copies = [stage.update(name, [5, 6]) for name in "abcd"]
    inputs = stage.inputs(*copies, stage.update("e", [1, 2]))
    keeper = min("abcd", key=lambda name: ticket(inputs.beacon, inputs.key, name))

    assert verdicts(Standard().fold((), inputs)) == {
        name: 0 if name in {keeper, "e"} else reasons.DUPLICATE for name in "abcde"
    }


def test_a_copy_on_a_stale_parent_does_not_displace_the_original(make_round):
    stage = make_round(2)
    for stale, fair in itertools.permutations("abcd", 2):
        subjects = [stage.update(stale, [5, 6], parent=bytes(32)), stage.update(fair, [5, 6])]
        found = verdicts(Standard().fold((), stage.inputs(*subjects)))

        assert found == {stale: reasons.STALE_PARENT, fair: 0}


def test_members_who_send_nothing_are_no_copies_of_each_other(make_round):
    stage = make_round(2)
    nothing = [stage.update(name, [5, 6], columns=(0, 1)) for name in "ab"]

    found = verdicts(Standard().fold((), stage.inputs(*nothing)))
    assert found == {"a": reasons.WRONG_SHAPE, "b": reasons.WRONG_SHAPE}


@pytest.mark.parametrize("rule", [Standard(), Peers()], ids=lambda rule: rule.id)
def test_the_order_of_subjects_does_not_reach_the_verdicts(make_round, rule):
    stage = make_round(2)
    subjects = [
        stage.update("a", [5, 6]),
        stage.update("b", [5, 6]),
        stage.update("c", [-9, 1]),
        stage.update("d", [0, 0]),
        stage.update("e", [900, 2], parent=bytes(32)),
    ]

    def told(output):
        return {s.author: (s.verdict, s.columns) for s in output.subjects}

    found = [
        told(rule.fold((), stage.inputs(*order))) for order in itertools.permutations(subjects)
    ]
    assert all(each == found[0] for each in found)


# --- peers


def float_peeling(rows, threshold, most, allies=0):
    """Peeling in floats: which rows go, in order."""
    norms = np.linalg.norm(rows, axis=1)
    cosines = rows @ rows.T / np.where(np.outer(norms, norms) == 0, 1, np.outer(norms, norms))
    live, removed = list(range(len(rows))), []
    while len(removed) < most:
        left = max(0, allies - len(removed))
        others = [sorted(cosines[a, b] for b in live if b != a) for a in live]
        medians = [np.median(each[: len(each) - left]) for each in others]
        lowest = int(np.argmin(medians))
        if medians[lowest] > threshold:
            break
        removed.append(live.pop(lowest))
    return removed


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [(Peers(), 0.0), (Peers(cosine_bps=-1000, without_allies=True), -0.1)],
    ids=["all", "without-allies"],
)
def test_peeling_agrees_with_floats_on_two_hundred_rounds(make_round, rule, threshold):
    generator = np.random.default_rng(11)
    agreed = refused = 0
    for _ in range(200):
        count, width = int(generator.integers(4, 21)), 40
        direction = generator.standard_normal(width) * generator.uniform(0, 2)
        rows = direction + generator.standard_normal((count, width))
        liars = generator.integers(0, count // 3 + 1)
        rows[:liars] *= -generator.uniform(0.5, 4)
        steps = np.rint(rows * 2**16).astype(int)
        stage = make_round(width)
        subjects = [stage.update(f"m{at:02}", row) for at, row in enumerate(steps)]
        output = rule.fold((), stage.inputs(*subjects))
        gone = {at for at, subject in enumerate(output.subjects) if subject.verdict}

        most = (count - 1) // 3
        allies = max(0, most - 1) if rule.without_allies else 0
        expected = set(float_peeling(steps.astype(float), threshold, most, allies))
        agreed += gone == expected
        refused += len(gone)
    assert agreed == 200
    assert refused > 100


@pytest.mark.parametrize(
    ("count", "most"), [(1, 0), (2, 0), (3, 0), (4, 1), (7, 2), (8, 2), (20, 6)]
)
def test_at_most_a_third_of_the_others_go(make_round, count, most):
    stage = make_round(count)
    # All at right angles: every median is 0, so nothing but the tolerance stops the peeling.
    subjects = [stage.update(f"m{at:02}", row) for at, row in enumerate(np.eye(count, dtype=int))]
    output = Peers().fold((), stage.inputs(*subjects))

    gone = [subject for subject in output.subjects if subject.verdict]
    assert len(gone) == most
    assert {s.id for s in gone} == set(sorted(s.id for s in subjects)[:most])
    assert all(subject.verdict == reasons.COSINE for subject in gone)


def test_the_median_cosine_is_told_at_removal_and_at_the_end(make_round):
    stage = make_round(2)
    subjects = [stage.update(name, [10, at]) for at, name in enumerate("abc")]
    liar = stage.update("z", [-10, -1])
    inputs = stage.inputs(*subjects, liar)
    output = Peers().fold((), inputs)
    columns = {subject.author: subject.columns for subject in output.subjects}

    def cosine(a, b):
        return (a[0] * b[0] + a[1] * b[1]) / np.hypot(*a) / np.hypot(*b)

    at_removal = sorted(cosine((-10, -1), (10, at)) for at in range(3))[1]
    at_end = (cosine((10, 0), (10, 1)) + cosine((10, 0), (10, 2))) / 2
    assert verdicts(output) == {"a": 0, "b": 0, "c": 0, "z": reasons.COSINE}
    assert columns["z"][:2] == liar.columns
    assert columns["z"][2] == pytest.approx(at_removal * 1e6, abs=1)
    assert columns["a"][2] == pytest.approx(at_end * 1e6, abs=1)
    assert output.subjects[-1].evidence == inputs.of[0].root
    assert {subject.evidence for subject in output.subjects[:3]} == {b""}


def test_a_zero_update_is_at_right_angles_to_all(make_round):
    stage = make_round(2)
    subjects = [stage.update(name, [10, at]) for at, name in enumerate("abc")]
    output = Peers().fold((), stage.inputs(*subjects, stage.update("idle", [0, 0])))

    assert verdicts(output)["idle"] == reasons.COSINE
    assert output.subjects[-1].columns[-1] == 0
    kept = Peers(cosine_bps=-1).fold((), stage.inputs(*subjects, stage.update("idle", [0, 0])))
    assert verdicts(kept)["idle"] == 0


def test_colluders_who_vouch_for_one_another_are_not_believed(make_round):
    """Six of twenty send one direction, which six of the honest ones share a little."""
    generator = np.random.default_rng(5)
    honest = np.array([6.0, 0, 0]) + generator.standard_normal((14, 3))
    honest[:6] = [2.0, 3.0, 0]
    poison = np.tile([-2.0, 3.0, 0], (6, 1))
    steps = np.rint(np.concatenate([honest, poison]) * 2**16).astype(int)
    stage = make_round(3)
    subjects = [stage.update(f"m{at:02}", row) for at, row in enumerate(steps)]

    believed = Peers().fold((), stage.inputs(*subjects))
    doubted = Peers(without_allies=True).fold((), stage.inputs(*subjects))
    assert [subject.verdict for subject in believed.subjects[14:]] == [0] * 6
    assert [bool(subject.verdict) for subject in doubted.subjects] == [False] * 14 + [True] * 6


def test_who_was_refused_before_neither_changes_nor_counts(make_round):
    stage = make_round(2)
    subjects = [stage.update(name, [10, at]) for at, name in enumerate("abc")]
    refused = [
        stage.update("x", [-10, 0], verdict=reasons.NORM, evidence=bytes(32)),
        stage.update("y", [1, 2, 3], verdict=reasons.WRONG_SHAPE, evidence=bytes(32)),
    ]
    output = Peers().fold((), stage.inputs(*subjects, *refused))

    assert output.subjects[3:] == tuple(refused)
    assert output.subjects[:3] == Peers().fold((), stage.inputs(*subjects)).subjects


def test_an_update_of_another_shape_is_refused_as_such(make_round):
    stage = make_round(2)
    subjects = [stage.update(name, [10, at]) for at, name in enumerate("abc")]
    output = Peers().fold((), stage.inputs(*subjects, stage.update("odd", [1, 2, 3])))

    assert verdicts(output)["odd"] == reasons.WRONG_SHAPE


def test_one_member_alone_is_kept(make_round):
    stage = make_round(2)
    subject = stage.update("a", [1, 2])

    assert Peers(tolerance_bps=9999).fold((), stage.inputs(subject)).subjects == (
        msgspec.structs.replace(subject, columns=(*subject.columns, 0)),
    )
    assert Peers().fold((), stage.inputs()) == Output()


def test_peers_decides_on_large_values_exactly(make_round):
    stage = make_round(3)
    top = 2**30 - 1
    subjects = [
        stage.update("a", [top, top, 0]),
        stage.update("b", [top, 0, top]),
        stage.update("c", [0, top, top]),
        stage.update("d", [top, -top, 1]),  # to a, exactly 0; to b and c, just above and below
    ]
    columns = Peers().fold((), stage.inputs(*subjects)).subjects[-1].columns

    assert columns[-1] == 0


# --- equal-norm


def test_one_loud_message_of_twenty_is_refused_for_its_norm(make_round):
    stage = make_round(2)
    fair = [stage.update(f"m{at:02}", [300 + at, 400]) for at in range(19)]
    loud = stage.update("loud", [-50 * 300, -50 * 400])
    inputs = stage.inputs(*fair, loud)

    output = EqualNorm().fold((), inputs)
    assert verdicts(output) == {each.author: 0 for each in fair} | {"loud": reasons.NORM}
    assert {each.evidence for each in output.subjects if not each.live} == {inputs.of[0].root}


@pytest.mark.parametrize(
    ("length", "refused"), [(449, True), (450, False), (550, False), (551, True)]
)
def test_a_length_passes_between_the_limits_both_included(make_round, length, refused):
    stage = make_round(2)
    subjects = [stage.update(name, [300, 400]) for name in "abc"]
    odd = stage.update("odd", [length, 0])

    output = EqualNorm(shortest_bps=9000, longest_bps=11_000).fold((), stage.inputs(*subjects, odd))
    assert verdicts(output) == {"a": 0, "b": 0, "c": 0, "odd": reasons.NORM * refused}
    both = EqualNorm(shortest_bps=0, longest_bps=0).fold((), stage.inputs(*subjects, odd))
    assert set(verdicts(both).values()) == {0}


def test_a_length_is_not_judged_when_the_median_is_zero(make_round):
    stage = make_round(2)
    subjects = [stage.update("a", [0, 0]), stage.update("b", [0, 0]), stage.update("c", [9, 9])]

    assert EqualNorm().fold((), stage.inputs(*subjects)) == Output(tuple(subjects))
    assert EqualNorm().fold((), stage.inputs()) == Output()


def test_shape_is_judged_before_length_and_the_refused_stay_as_they_were(make_round):
    stage = make_round(2)
    fair, wrong = stage.update("a", [3, 4]), stage.update("b", [1, 2, 3])
    gone = stage.update("c", [9000, 9000], verdict=reasons.STALE_PARENT)

    output = EqualNorm().fold((), stage.inputs(fair, wrong, gone))
    assert verdicts(output) == {"a": 0, "b": reasons.WRONG_SHAPE, "c": reasons.STALE_PARENT}
    assert output.subjects[2] == gone

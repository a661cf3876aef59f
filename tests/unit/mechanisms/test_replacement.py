import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.errors import ConfigError
from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import Output
from tallystick.mechanisms.registry import make_rule
from tallystick.mechanisms.screen.replacement import Replacement
from tallystick.tensors.arithmetic import norm_of


def verdicts(output):
    return {subject.author: subject.verdict for subject in output.subjects}


@pytest.mark.parametrize("parameters", [{"boost_bps": 9_999}, {"boost_bps": "3"}, {"unknown": 1}])
def test_parameters_without_meaning_are_refused(parameters):
    with pytest.raises(ConfigError):
        make_rule("screen/replacement/1", parameters)


def test_a_fair_round_is_left_as_it_was(make_round):
    stage = make_round(2)
    subjects = tuple(stage.update(name, [10 + at, -10]) for at, name in enumerate("abcd"))

    assert Replacement().fold((), stage.inputs(*subjects)) == Output(subjects)
    assert Replacement().fold((), stage.inputs()) == Output()


def test_who_outweighs_everybody_is_refused_with_the_ratio_as_evidence(make_round):
    stage = make_round(2)
    fair = [stage.update(name, [10, at]) for at, name in enumerate("abcd")]
    boosted = stage.update("eve", [-200, 3])
    inputs = stage.inputs(*fair, boosted)
    output = Replacement().fold((), inputs)
    (told,) = [subject for subject in output.subjects if not subject.live]
    lengths = sorted(norm_of(square) for square in (100, 101, 104, 109, 40_009))

    assert (told.author, told.verdict) == ("eve", reasons.NORM)
    assert told.columns == (*boosted.columns, 10_000 * lengths[-1] // lengths[2])
    assert told.evidence == inputs.of[0].root
    assert output.subjects[:4] == tuple(fair)


def test_the_limit_is_exact(make_round):
    stage = make_round(1)
    fair = [stage.update(name, [value]) for name, value in (("a", 10), ("b", -10), ("c", 10))]
    edge, beyond = stage.update("edge", [30]), stage.update("beyond", [31])

    assert verdicts(Replacement().fold((), stage.inputs(*fair, edge)))["edge"] == 0
    assert verdicts(Replacement().fold((), stage.inputs(*fair, beyond)))["beyond"] == reasons.NORM
    lenient = Replacement(boost_bps=31_000)
    assert verdicts(lenient.fold((), stage.inputs(*fair, beyond)))["beyond"] == 0


def test_nobody_is_refused_while_most_send_zeros(make_round):
    stage = make_round(1)
    zeros = [stage.update(name, [0]) for name in "ab"]

    assert verdicts(Replacement().fold((), stage.inputs(*zeros, stage.update("c", [5]))))["c"] == 0


def test_who_was_refused_before_stays_so_and_does_not_count(make_round):
    stage = make_round(1)
    long = [
        stage.update(name, [1000 + at], verdict=reasons.STALE_PARENT, evidence=bytes(32))
        for at, name in enumerate("wxyz")
    ]
    subjects = [stage.update("a", [10]), stage.update("b", [11]), stage.update("c", [400])]
    output = Replacement().fold((), stage.inputs(*subjects, *long))

    assert output.subjects[3:] == tuple(long)
    assert verdicts(output)["c"] == reasons.NORM


def test_an_update_of_another_shape_is_refused_as_such(make_round):
    stage = make_round(2)
    subjects = [stage.update(name, [10, at]) for at, name in enumerate("abc")]
    output = Replacement().fold((), stage.inputs(*subjects, stage.update("odd", [1, 2, 3])))

    assert verdicts(output)["odd"] == reasons.WRONG_SHAPE


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it only makes rounds
@given(st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=9))
def test_never_more_than_half_are_refused(make_round, values):
    stage = make_round(1)
    subjects = [stage.update(f"m{at}", [value]) for at, value in enumerate(values)]
    output = Replacement(boost_bps=10_000).fold((), stage.inputs(*subjects))

    assert 2 * len(output.live) >= len(values)


def test_the_order_of_subjects_does_not_reach_the_verdicts(make_round):
    stage = make_round(1)
    subjects = [
        stage.update(name, [value]) for name, value in zip("abcd", (9, -4, 6, 90), strict=True)
    ]
    found = [
        verdicts(Replacement().fold((), stage.inputs(*order)))
        for order in itertools.permutations(subjects)
    ]

    assert all(each == found[0] for each in found)

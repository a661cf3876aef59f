import pytest

from tallystick.errors import ConfigError
from tallystick.mechanisms import reasons
from tallystick.mechanisms.decide.below_base import DecideBelowBase
from tallystick.mechanisms.decide.best_k import DecideBestKAsPublished
from tallystick.mechanisms.records import Output, Subject
from tallystick.mechanisms.registry import make_rule

BASE, HOLE, SCORERS = 6000, -1, 3


def scored(make_round, scores):
    """The output of a scoring stage: a row of the base, then one a member with its scores."""
    stage = make_round(1)
    rows = [
        stage.update(name, [at], columns=(8, 1, *given, *(HOLE,) * (SCORERS - len(given))))
        for at, (name, given) in enumerate(scores.items())
    ]
    base = Subject(bytes(32), "", verdict=reasons.BASE, columns=(BASE,) * SCORERS)
    return stage.inputs(base, *rows)


def accepted(output: Output) -> set[str]:
    return {subject.author for subject in output.live}


def test_the_k_best_medians_are_accepted_and_the_others_say_theirs(make_round):
    inputs = scored(
        make_round,
        {
            "a": (1, 9000, 9000),
            "b": (7000, 7000, 7000),
            "c": (9999, 1, 1),
            "d": (),
            "e": (-1, 8000),
        },
    )
    output = DecideBestKAsPublished(k=3).fold((), inputs)
    refused = {subject.author: subject for subject in output.subjects if not subject.live}

    assert accepted(output) == {"a", "e", "b"}
    assert refused["c"].columns == (8, 1, 1)
    assert refused["d"].columns == (8, 1)
    assert {(each.verdict, each.evidence) for each in refused.values()} == {
        (reasons.NOT_CHOSEN, inputs.of[0].root)
    }
    assert all(subject.columns == (8, 1) for subject in output.live)


def test_of_equal_scores_the_lower_id_is_accepted(make_round):
    inputs = scored(make_round, dict.fromkeys("abcd", (5000,)))
    ids = sorted(subject.id for subject in inputs.live)

    output = DecideBestKAsPublished(k=2).fold((), inputs)
    assert sorted(subject.id for subject in output.live) == ids[:2]


def test_fewer_than_k_are_all_accepted_and_the_refused_stay_so(make_round):
    stage = make_round(1)
    fair, refused = stage.update("a", [1]), stage.update("b", [2], verdict=reasons.NORM)

    output = DecideBestKAsPublished(k=6).fold((), stage.inputs(fair, refused))
    assert output == Output((fair, refused))
    assert DecideBestKAsPublished().fold((), stage.inputs()) == Output()


def test_a_base_model_that_knows_nothing_is_beaten_by_poison_the_updates_median_is_not(make_round):
    honest = dict.fromkeys("abcde", (9000,) * SCORERS)
    inputs = scored(make_round, {**honest, "poison": (BASE + 1,) * SCORERS})

    assert accepted(DecideBelowBase().fold((), inputs)) == {*"abcde", "poison"}
    assert accepted(DecideBelowBase(peers=True).fold((), inputs)) == {*"abcde"}


def test_the_base_model_counts_where_the_updates_are_worse(make_round):
    worse = dict.fromkeys("abcd", (BASE - 501,) * SCORERS)
    inputs = scored(make_round, {**worse, "e": (BASE - 500,) * SCORERS})

    for rule in (DecideBelowBase(tolerance_bps=10_000), DecideBelowBase(500, 10_000, peers=True)):
        assert accepted(rule.fold((), inputs)) == {"e"}


def test_a_quota_packs_poison_where_a_threshold_does_not(make_round):
    poisoned = dict.fromkeys("vwxyz", (2000, 2100, 1900))
    honest = dict.fromkeys("abc", (8000, 8100, 7900))
    inputs = scored(make_round, honest | poisoned)

    quota = DecideBestKAsPublished(k=6).fold((), inputs)
    threshold = DecideBelowBase(tolerance_bps=10_000).fold((), inputs)
    assert len(accepted(quota) & set(poisoned)) == 3
    assert accepted(threshold) == set(honest)


@pytest.mark.parametrize("parameters", [{"k": 0}, {"k": -1}, {"k": "6"}, {"margin_bps": 1}])
def test_parameters_without_meaning_are_refused(parameters):
    with pytest.raises(ConfigError):
        make_rule("decide/best-k-as-published/1", parameters)

import numpy as np
import pytest

from tallystick.mechanisms import reasons
from tallystick.mechanisms.decide.below_base import DecideBelowBase
from tallystick.mechanisms.records import Opinion
from tallystick.mechanisms.rule import Held
from tallystick.mechanisms.score.own_data import ScoreOwnData
from tallystick.mechanisms.score.roni import ScoreRoni

BOTH = [ScoreOwnData(), ScoreRoni()]
TARGET = np.array([600, 0, 0])
each_rule = pytest.mark.parametrize("rule", BOTH, ids=lambda rule: rule.id)


class Judge:
    """A member's desk with data of its own: the closer a model is to the target, the better."""

    def __init__(self, member, stage):
        self.member, self.stage, self.asked = member, stage, []

    def evaluate(self, inputs, parent, *updates):
        self.asked.append(updates)
        model = self.stage.bench.preview(parent, inputs.model, *updates)["w"] * 2.0**24
        return max(0, 9000 - round(float(np.linalg.norm(model - TARGET))))


def judged(rule, stage, inputs, *scorers):
    """The stage's output when these members have given their opinions."""
    held = [Held(name, "", rule.act(inputs, Judge(name, stage))) for name in scorers]
    assert all(rule.check_vector(each.record.vector, inputs) for each in held)
    return rule.fold(tuple(held), inputs)


@pytest.fixture
def given(make_round):
    """Three good updates, one that undoes them all, and one refused before."""
    stage = make_round(3)
    fair = [stage.update(name, [600, at, 0]) for at, name in enumerate("abc")]
    bad = stage.update("x", [-3000, 0, 0])
    gone = stage.update("y", [1, 1, 1], verdict=reasons.NORM)
    return stage, stage.inputs(*fair, bad, gone)


def test_a_harmful_update_has_negative_influence_and_is_refused(given):
    stage, inputs = given
    output = judged(ScoreRoni(), stage, inputs, "judge", "other")
    columns = {subject.author: subject.columns[2:] for subject in output.subjects[1:]}

    assert output.subjects[0].verdict == reasons.BASE
    base = output.subjects[0].columns[0]
    assert columns["x"][0] < base < columns["a"][0]
    assert columns["y"] == (-1, -1)
    decided = DecideBelowBase().fold((), stage.inputs(*output.subjects))
    assert {subject.author for subject in decided.live} == {"a", "b", "c"}


def test_influence_is_the_mean_of_all_against_the_mean_without_each(given):
    stage, inputs = given
    judge = Judge("judge", stage)
    ScoreRoni().act(inputs, judge)
    live = tuple(subject.id for subject in inputs.live)

    assert judge.asked[0] == live
    assert judge.asked[1:] == [live[:at] + live[at + 1 :] for at in range(len(live))]


def test_the_last_update_left_is_held_against_the_parent_model(make_round):
    stage = make_round(3)
    inputs = stage.inputs(stage.update("a", [600, 0, 0]))
    judge = Judge("judge", stage)
    opinion = ScoreRoni().act(inputs, judge)

    assert judge.asked[1] == ()
    assert opinion.vector == (9000, 8400)
    assert judged(ScoreRoni(), stage, inputs, "judge").subjects[1].columns[-1] == 9600


@pytest.mark.parametrize(("base", "without", "column"), [(9000, 7000, 10_000), (1000, 9000, 0)])
def test_influence_stays_on_the_scale_of_scores(make_round, base, without, column):
    stage = make_round(1)
    inputs = stage.inputs(stage.update("a", [1]))
    held = Held("judge", "", Opinion(inputs.of[0].root, (base, without)))

    assert ScoreRoni().fold((held,), inputs).subjects[1].columns[-1] == column


@each_rule
def test_nobody_scores_its_own_update(given, rule):
    stage, inputs = given
    judge = Judge("a", stage)
    opinion = rule.act(inputs, judge)
    at = [subject.author for subject in inputs.subjects].index("a")
    cheating = (*opinion.vector[: at + 1], 10_000, *opinion.vector[at + 2 :])

    assert opinion.vector[at + 1] is None
    held = Held("a", "", Opinion(opinion.subjects, cheating))
    assert rule.check_vector(cheating, inputs)
    assert rule.fold((held,), inputs).subjects[at + 1].columns[-1] == -1


@each_rule
@pytest.mark.parametrize(
    "vector", [(), (None, 1, 1, 1, 1, 1), (1,) * 5, (1,) * 7, (1, 1, 1, 1, 1, 10_001), (-1,) * 6]
)
def test_a_vector_that_does_not_fit_is_refused(given, rule, vector):
    _, inputs = given

    assert not rule.check_vector(vector, inputs)


@each_rule
def test_columns_come_in_the_order_of_the_scorers_names(given, rule):
    _, inputs = given
    root = inputs.of[0].root
    held = [Held(name, "", Opinion(root, (at,) + (5000,) * 5)) for at, name in enumerate("qpr")]

    assert rule.fold(tuple(held), inputs).subjects[0].columns == (1, 0, 2)

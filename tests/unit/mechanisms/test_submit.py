import pytest

from tallystick.errors import ConfigError
from tallystick.mechanisms.records import Artefact
from tallystick.mechanisms.registry import make_rule
from tallystick.mechanisms.submit.momentum import SubmitMomentum


class Trainee:
    """A desk whose update is known, and that says what it was asked to blend."""

    member = "a"

    def train(self, inputs):
        return Artefact(b"n" * 32, 8, (inputs.parent[0],), 3)

    def blend(self, inputs, new, old, share_bps):
        return Artefact(old, share_bps, new.parents, new.weight)


@pytest.mark.parametrize("earlier", [None, [], ["b", "c"]])
def test_who_sent_nothing_before_submits_the_plain_update(make_round, earlier):
    stage = make_round(1)
    refs = {} if earlier is None else {"before": [stage.update(name, [1]) for name in earlier]}
    inputs = stage.inputs(refs=refs)

    assert SubmitMomentum().act(inputs, Trainee()) == Trainee().train(inputs)


@pytest.mark.parametrize("verdict", [0, 305])
def test_ones_own_last_submission_is_blended_in_even_if_it_was_refused(make_round, verdict):
    stage = make_round(1)
    own = stage.update("a", [7], verdict=verdict)
    inputs = stage.inputs(refs={"before": [stage.update("b", [1]), own]})

    found = SubmitMomentum(momentum_bps=2500).act(inputs, Trainee())
    assert (found.root, found.size, found.weight) == (own.id, 2500, 3)


@pytest.mark.parametrize("momentum", [-1, 10_000, "1"])
def test_a_share_that_leaves_no_room_is_refused(momentum):
    with pytest.raises(ConfigError):
        make_rule("submit/momentum/1", {"momentum_bps": momentum})

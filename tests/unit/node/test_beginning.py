"""Where a newcomer begins, whatever one of the nodes says that it asks."""

import time
from contextlib import closing
from dataclasses import replace
from fractions import Fraction

import pytest
from msgspec.structs import replace as changed
from support.comet_ledger import lights_of
from support.shown import Shown, grown
from support.validators import Validators, new_key

from tallystick.consensus.cometbft import commits
from tallystick.consensus.cometbft.climb import WITHOUT_A_CLOCK, climb
from tallystick.consensus.cometbft.headers import comet_header_hash
from tallystick.errors import UnavailableError, VerificationError
from tallystick.federation.settings import NodeSettings
from tallystick.node import beginning as module
from tallystick.node.beginning import confirm_header, find_snapshot

SNAPSHOT = 3


@pytest.fixture
def world():
    return grown(Validators(audited=False), 5)


@pytest.fixture
def honest(world):
    with closing(Shown(world, SNAPSHOT)) as made:
        yield made


@pytest.fixture
def liar(world):
    with closing(Shown(world, SNAPSHOT)) as made:
        yield made


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)


def known(*nodes):
    return replace(NodeSettings(), nodes=tuple(each.url for each in nodes))


def test_a_newcomer_begins_where_the_newest_snapshot_is(world, tmp_path, honest, liar):
    liar.status = b'{"snapshot": 2}'
    found = find_snapshot(tmp_path, world.genesis, known(liar, honest))

    assert found.trust_height == SNAPSHOT
    assert found.trust_hash == comet_header_hash(honest.lights[SNAPSHOT].header)
    assert sorted(found.rpc_servers) == sorted(f"{each.url}/v1/light" for each in (honest, liar))
    assert found.folder.is_dir()


def test_where_nobody_has_a_snapshot_it_begins_with_the_first_block(world, tmp_path, honest):
    honest.status = b'{"snapshot": 0}'

    assert find_snapshot(tmp_path, world.genesis, known(honest)) is None
    assert find_snapshot(tmp_path, world.genesis, known()) is None


STATUSES = {
    "no number there is": b'{"snapshot": Infinity}',
    "beyond every height": b'{"snapshot": 1e300}',
    "a height nobody has": b'{"snapshot": 1000000000000000}',
    "a word": b'{"snapshot": "three"}',
    "true": b'{"snapshot": true}',
    "no object": b"[3]",
    "no JSON": b"<html>",
    "without an end": b" " * (1 << 22),
}


@pytest.mark.parametrize("status", STATUSES.values(), ids=STATUSES)
def test_whatever_one_node_says_of_itself_the_next_is_asked(world, tmp_path, honest, liar, status):
    liar.status = status
    found = find_snapshot(tmp_path, world.genesis, known(liar, honest))

    assert found.trust_height == SNAPSHOT
    assert set(found.rpc_servers) == {f"{honest.url}/v1/light"}


CALLS = {
    "garbage": lambda *_, **__: {"signed_header": {"header": {}}, "total": "1"},
    "nothing": lambda *_, **__: {},
    "validators without end": lambda shown, method, **asked: (
        {"validators": [], "total": "1000000000"}
        if method == "validators"
        else shown.rpc.call(method, **asked)
    ),
    "more validators than numbers": lambda shown, method, **asked: (
        {"validators": [], "total": float("inf")}
        if method == "validators"
        else shown.rpc.call(method, **asked)
    ),
    "another block": lambda shown, method, **asked: shown.rpc.call(
        method, **{**asked, "height": "1"}
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_whatever_light_blocks_one_node_shows_the_next_is_asked(
    world, tmp_path, honest, liar, call
):
    liar.call = lambda method, **asked: call(liar, method, **asked)
    liar.status = b'{"snapshot": 5}'
    found = find_snapshot(tmp_path, world.genesis, known(liar, honest))

    assert found.trust_height == SNAPSHOT
    assert set(found.rpc_servers) == {f"{honest.url}/v1/light"}
    assert liar.asked["/v1/light"] < 10


def test_a_node_that_answers_byte_by_byte_is_not_waited_for(world, tmp_path, honest, liar):
    liar.drips.set()
    found = find_snapshot(tmp_path, world.genesis, known(liar, honest))

    assert found.trust_height == SNAPSHOT
    assert not liar.closed.is_set()


def test_a_history_of_another_genesis_is_nobodys(world, tmp_path, honest, liar):
    other = grown(Validators(audited=False, trial=False), 5)
    with closing(Shown(other, 5)) as stranger:
        found = find_snapshot(tmp_path, world.genesis, known(stranger, honest))

    assert found.trust_height == SNAPSHOT


def test_a_header_is_trusted_however_long_the_ledger_stood_still(world, tmp_path, honest):
    age = time.time() - honest.lights[SNAPSHOT].header.time.seconds
    found = find_snapshot(tmp_path, world.genesis, known(honest))

    assert age > module.TRUST_SECONDS
    assert found.trust_seconds == pytest.approx(age + module.TRUST_SECONDS, abs=60)


# --- the header of a snapshot ---------------------------------------------------------------------


@pytest.fixture
def header(world):
    return world.outcomes[SNAPSHOT - 1].header


def test_the_header_that_the_validators_signed_is_confirmed(world, header, honest, liar):
    liar.call = lambda *_, **__: {}

    assert confirm_header(header, world.genesis, known(liar, honest)) is None


@pytest.mark.parametrize("field", [{"time": 2**62}, {"time": 0}, {"state_root": bytes(32)}])
def test_a_header_with_another_time_or_state_is_refused(world, header, honest, field):
    with pytest.raises(VerificationError, match="than the validators signed"):
        confirm_header(changed(header, **field), world.genesis, known(honest))


def test_a_header_that_nobody_shows_is_to_be_confirmed_later(world, honest):
    newest = world.outcomes[-1].header  # whose state the next block fixes
    with pytest.raises(UnavailableError, match="no node shows"):
        confirm_header(newest, world.genesis, known(honest))


# --- climbing -------------------------------------------------------------------------------------


def test_a_climb_verifies_each_vote_a_few_times_however_often_validators_changed(monkeypatch):
    world = Validators(audited=False)
    grown(world, 1)
    for _ in range(6):
        for name in world.seats:
            world.accept(name, new_key(world, name), dt=1000)
            world.seal()
    lights, verified = lights_of(world), []
    is_vote_of = commits.is_vote_of
    monkeypatch.setattr(
        commits, "is_vote_of", lambda *vote: verified.append(vote) or is_vote_of(*vote)
    )
    top = max(lights)

    assert climb(world.genesis, lights.__getitem__, top) == lights[top]
    assert len(verified) < 2 * 4 * top


def test_what_is_wrong_is_not_taken_for_a_step_that_is_too_long(world, honest):
    asked, spoilt = [], honest.lights[5]
    votes = tuple(
        changed(vote, signature=bytes(64)) if vote.signature else vote
        for vote in spoilt.commit.signatures
    )
    spoilt = changed(spoilt, commit=changed(spoilt.commit, signatures=votes))

    def fetch(height):
        asked.append(height)
        return spoilt if height == 5 else honest.lights[height]

    with pytest.raises(VerificationError, match="signature"):
        climb(world.genesis, fetch, 5)
    assert asked == [1, 5]


def test_a_climb_trusts_two_thirds_and_no_less():
    assert WITHOUT_A_CLOCK.level == Fraction(2, 3)

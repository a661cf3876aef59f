"""`tally node`: who may serve what, how it ends, and that what was acknowledged stays."""

import json
import runpy
import signal

import pytest
from support.node_process import Node

import tallystick.node
from tallystick.errors import MissingExtraError
from tallystick.federation.acting import Acting
from tallystick.ledger.messages import Grant, ProposeChange
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction


@pytest.fixture
def own(tmp_path):
    """A node of the test's own that does not run yet."""
    made = Node(tmp_path)
    yield made
    made.close()


def grant(acting, micros):
    """Return a signed proposal."""
    who = acting.identity
    body = Body(
        sender=who.member,
        key=who.key,
        nonce=last_nonce(acting.state, who.member, who.key) + micros,
        valid_until=acting.engine.now + 3_600_000,
        message=ProposeChange(Grant("east", micros)),
    )
    return sign_transaction(body, who.secret, acting.engine.kernel.chain)


def test_init_copies_no_secret_and_happens_once(tally, own, tmp_path):
    secrets = (own.key("north") / "north.key").read_bytes()
    found = [path.read_bytes() for path in own.home.iterdir()]
    arguments = ("--genesis", own.network, "--key", own.key("north"))
    again = tally("node", "init", own.home, *arguments, "--json")
    second = tally("node", "init", tmp_path / "second", *arguments, "--json")

    assert all(secrets not in data for data in found)
    assert again.status == 2
    assert (second.document["format"], second.document["port"]) == ("tally.node/1", 26651)


def test_only_the_sealers_key_makes_a_node(tally, own, tmp_path):
    arguments = ("--genesis", own.network, "--key", own.key("south"))

    assert tally("node", "init", tmp_path / "second", *arguments).status == 2
    assert tally("node", "start", tmp_path / "none").status == 2


def test_a_trial_is_not_served_beyond_this_machine(tally, own):
    for host in ("0.0.0.0", "::", "192.0.2.1"):  # noqa: S104 - refused
        ran = tally("node", "start", own.home, "--host", host, "--port", 0)
        assert ran.status == 2
        assert "trial" in ran.err


def test_signals_end_it_with_status_0_and_a_sealer_starts_again_with_a_new_key(tally, own):
    own.start("--json-logs")
    assert tally("node", "start", own.home, "--port", 0).status == 3
    rotate = ("member", "rotate", own.url, "--key", own.key("north"), "--role", "validator")
    rotated = tally(*rotate)
    assert own.end(signal.SIGTERM, signal.SIGTERM, signal.SIGINT) == 0
    lines = [json.loads(line) for line in own.log.splitlines()]
    own.start()
    voted = tally("member", "propose", own.url, "--key", own.key("north"), "--grant", "east=1")
    assert own.end(signal.SIGINT) == 0

    assert rotated.status == 0
    assert "seals the ledger's blocks" in rotated.err
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    assert voted.status == 0


def test_what_was_acknowledged_survives_kill_9_sealed_or_not(tally, own):
    settings = own.home / "node.toml"
    quick = settings.read_text(encoding="utf-8")
    own.start()
    vote = ("member", "propose", own.url, "--key", own.key("south"), "--grant", "south=5")
    assert tally(*vote).status == 0
    assert own.end(signal.SIGKILL) == -signal.SIGKILL
    slow = quick.replace("batch_milliseconds = 20", "batch_milliseconds = 60000")
    settings.write_text(slow, encoding="utf-8")
    own.start()
    height = tally("status", own.url, "--json").document["height"]
    with Acting.open([own.url], key_folder=own.key("south")) as acting:
        waiting = [acting.engine.submit(grant(acting, micros).wire) for micros in (1, 2, 3)]
    own.end(signal.SIGKILL)
    settings.write_text(quick, encoding="utf-8")
    own.start()
    with Acting.open([own.url], key_folder=own.key("south")) as acting:
        there = acting.wait(lambda: all(map(acting.engine.outcome, waiting)), 10)

    assert height == 1
    assert there


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as caught:
        runpy.run_path(tallystick.node.__file__)

    assert caught.value.hint == "pip install 'tallystick[node]'"

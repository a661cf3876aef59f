"""Who comes and who goes: a fifth validator by vote, and one that is voted out."""

from __future__ import annotations

import httpx
import pytest
from support.commands import execute
from support.consortia import NAMES, Members, Payer, odd, row_of, status_of, until
from support.pilot_site import Site
from support.pilots import report_of

import tallystick as ts
from tallystick.codec import decode
from tallystick.consensus.cometbft.commits import LightBlock, signers
from tallystick.consensus.wire import blocks_in
from tallystick.crypto import keys
from tallystick.federation.key_file import load_keyring
from tallystick.lab.consortium import Consortium

pytestmark = pytest.mark.network

OLD, NEWCOMER, STAYING = NAMES[3], "centre", NAMES[:3]


def test_a_fifth_validator_comes_by_vote_and_one_that_is_voted_out_writes_no_more(tmp_path):
    # A newcomer that begins with a snapshot is the guide's test; here it executes every block.
    with Consortium(tmp_path, NAMES, 11, snapshot_blocks=0) as consortium:
        _run_task(consortium, "before", NAMES)
        card = consortium.add(NEWCOMER)
        consortium.programs[NEWCOMER] = odd("impatience")
        consortium.start(NEWCOMER)  # before it is a member: nobody speaks to it yet
        admitted = _vote(consortium, STAYING, "--admit", card)
        until(lambda: _has_caught_up(consortium, NEWCOMER), what="the newcomer's catching up")
        granted = _vote(consortium, NAMES[:4], "--grant", f"{NEWCOMER}=10000000")
        seated = _vote(consortium, NAMES, "--seat", NEWCOMER)
        until(lambda: NEWCOMER in _signers_at_head(consortium), what="the newcomer's vote")
        removed = _vote(consortium, (*STAYING, NEWCOMER), "--remove", OLD)
        until(
            lambda: OLD not in _signers_at_head(consortium), what="the end of the old one's votes"
        )
        payer = Payer(consortium, OLD, NAMES[0])
        with httpx.Client(trust_env=False) as client:
            refused = payer.send(client, payer.sign(1), consortium.url(NAMES[0]))
        _run_task(consortium, "after", (*STAYING, NEWCOMER))
        status = status_of(consortium, NAMES[0])
        until(lambda: _has_caught_up(consortium, NEWCOMER), what="one height")
        engine = consortium.engine(NEWCOMER)
        heights = [block.header.height for block in engine.blocks(1)]
        engine.close()

    assert (admitted, granted, seated, removed) == ([0] * 3, *[[0] * 4] * 3)
    assert status["validators"] == sorted((*STAYING, NEWCOMER))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unknown-key")
    assert heights == list(range(1, len(heights) + 1))
    for task, name in (("before", "east"), ("before", OLD), ("after", NEWCOMER), ("after", "east")):
        report = report_of(consortium, task, name)
        assert report, report.checks


def _run_task(consortium, name, members):
    task = ts.Task(name=name, recipe="standard", rounds=1)
    consortium.propose(task, Site(NAMES[0]).initial_parameters())
    with Members(consortium, name, members) as running:
        until(lambda: running.all_done, 90, f"the end of '{name}'")
    assert row_of(consortium, name).status == "done"


def _vote(consortium, voters, *change):
    return [
        execute("member", "propose", consortium.url(name), "--key", consortium.home(name), *change)[
            0
        ]
        for name in voters
    ]


def _has_caught_up(consortium, name):
    status = status_of(consortium, name)
    most = status_of(consortium, NAMES[0]).get("height", 0)
    return bool(status) and not status["catching_up"] and status["height"] >= most > 0


def _signers_at_head(consortium):
    """Return whose validators signed the newest block that a node shows."""
    url = consortium.url(NAMES[0])
    height = status_of(consortium, NAMES[0])["height"]
    found = httpx.get(f"{url}/v1/blocks?from={height}&wait=2", trust_env=False).content
    block = next(iter(blocks_in(found)))
    names = {
        keys.public_of(load_keyring(consortium.home(name)).validator[0]): name
        for name in consortium.names
    }
    return {names[public] for public in signers(decode(LightBlock, block.evidence))}

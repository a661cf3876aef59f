"""Validators that replace their keys at the same moment: blocks go on, signed with the new ones."""

from __future__ import annotations

import subprocess

import pytest
from support.consortia import NAMES, environment, ledgers, status_of, until

from tallystick.codec import decode
from tallystick.consensus.cometbft.commits import LightBlock, signers
from tallystick.lab.consortium import Consortium
from tallystick.lab.pilot import COMMAND
from tallystick.ledger.contracts.members import MEMBERS
from tallystick.ledger.messages import RotateKey
from tallystick.ledger.transaction import parse_transaction

pytestmark = pytest.mark.network

ROTATING = NAMES[:3]


def test_three_of_four_rotate_in_one_block_and_blocks_go_on(tmp_path):
    with Consortium(tmp_path, NAMES, 31, commit_milliseconds=3000) as consortium:
        asked = [
            subprocess.Popen((*COMMAND, *_rotation(consortium, name)), env=environment())
            for name in ROTATING
        ]
        assert [process.wait(120) for process in asked] == [0, 0, 0]
        height = max(status_of(consortium, name).get("height", 0) for name in NAMES)
        until(
            lambda: all(
                status_of(consortium, name).get("height", 0) >= height + 4 for name in NAMES
            ),
            what="blocks after the rotation",
        )
        blocks = ledgers(consortium)[NAMES[3]]
        engine = consortium.engine(NAMES[3])
        newest = {name: engine.state.get(MEMBERS, name).keys[-1].public for name in ROTATING}
        engine.close()

    rotations = [_rotations(consortium, block) for block in blocks]
    voted = set(signers(decode(LightBlock, blocks[-2].evidence)))
    assert max(rotations) >= 2
    assert sum(rotations) == 3
    assert len(voted & set(newest.values())) >= 2


def _rotation(consortium, name):
    key = str(consortium.home(name))
    return ("member", "rotate", consortium.url(name), "--key", key, "--role", "validator")


def _rotations(consortium, block):
    limits = consortium.genesis.limits
    messages = [parse_transaction(wire, limits).body.message for wire in block.transactions]
    return sum(isinstance(message, RotateKey) for message in messages)

"""What another node may say of where its CometBFT listens."""

import json
from contextlib import closing

import pytest
from support.shown import Shown, grown
from support.validators import Validators

from tallystick.errors import UnavailableError
from tallystick.federation.settings import NodeSettings
from tallystick.ledger.genesis import genesis_hash
from tallystick.node.introducing import introduce

ID = "ab" * 20


@pytest.fixture
def world():
    return grown(Validators(audited=False), 1)


@pytest.fixture
def node(world):
    with closing(Shown(world)) as made:
        yield made


def told(node, world, tmp_path, address):
    said = {"genesis": genesis_hash(world.genesis).hex(), "address": address}
    node.status = json.dumps(said).encode()
    return introduce(NodeSettings(), world.genesis, [node.url], tmp_path).peers


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("node.north.example:27650", "node.north.example:27650"),
        ("10.0.0.7:1", "10.0.0.7:1"),
        ("[2001:db8::1]:65535", "[2001:db8::1]:65535"),
        ("0.0.0.0:27650", "127.0.0.1:27650"),
        (":::27650", "127.0.0.1:27650"),
    ],
)
def test_a_newcomer_dials_where_a_node_says_it_listens(node, world, tmp_path, said, found):
    assert told(node, world, tmp_path, f"{ID}@{said}") == (f"{ID}@{found}",)


@pytest.mark.parametrize(
    "said",
    [
        f"a:1,{'cd' * 20}@evil.example:2",
        "a b:1",
        'a"\n:1',
        "a:0",
        "a:65536",
        ":1",
        "a",
    ],
)
def test_what_is_not_one_address_is_refused(node, world, tmp_path, said):
    with pytest.raises(UnavailableError, match="where its CometBFT listens"):
        told(node, world, tmp_path, f"{ID}@{said}")

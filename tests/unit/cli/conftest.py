"""A finished run that the tests of reading verbs share, and a node for those of a network."""

import pytest
from support.commands import Ran, write_task
from support.node_process import Node

from tallystick.cli import main
from tallystick.ledger.genesis import genesis_hash, load_genesis


@pytest.fixture
def tally(capfd):
    """Run a command line in this process."""
    return lambda *arguments: Ran(capfd, *arguments)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a run of two rounds among four."""
    folder = tmp_path_factory.mktemp("finished")
    assert main(["run", str(write_task(folder))]) == 0
    return folder / "tally-tiny"


@pytest.fixture
def genesis(finished):
    """The genesis hash of that run, as its members would publish it."""
    return genesis_hash(load_genesis((finished / "genesis.bin").read_bytes())).hex()


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """The node of three members."""
    served = Node(tmp_path_factory.mktemp("network")).start()
    yield served
    served.close()


@pytest.fixture
def ask(tally, node):
    """Run a verb at the node (for `None`), by a member's name or key folder, or by nobody."""

    def run(*words, by=None):
        key = () if by is None else ("--key", node.key(by) if isinstance(by, str) else by)
        return tally(*(node.url if word is None else word for word in words), *key, "--json")

    return run

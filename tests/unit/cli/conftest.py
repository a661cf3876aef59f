"""A finished run that the tests of reading verbs share."""

import pytest
from support.commands import Ran, write_task

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

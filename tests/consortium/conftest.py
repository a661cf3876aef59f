"""What tests of a consortium need: the CometBFT that runs it, and programs of their own."""

import pytest
from support.consortia import environment

from tallystick.consensus.cometbft.binary import find_binary
from tallystick.errors import TallyError


@pytest.fixture(autouse=True)
def _programs(monkeypatch):
    try:
        find_binary()
    except TallyError as error:
        pytest.skip(f"no CometBFT to run: {error} ({error.hint})")
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])

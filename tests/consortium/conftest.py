"""What tests of a consortium need: the CometBFT that runs it."""

import pytest

from tallystick.consensus.cometbft.binary import find_binary
from tallystick.errors import TallyError


@pytest.fixture(autouse=True)
def _binary():
    try:
        find_binary()
    except TallyError as error:
        pytest.skip(f"no CometBFT to run: {error} ({error.hint})")

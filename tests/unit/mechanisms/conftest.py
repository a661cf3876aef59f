import pytest
from support.updates import Round


@pytest.fixture
def make_round():
    return Round

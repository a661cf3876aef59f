"""Federations that are closed after the test, whatever came of it."""

import pytest
from support import sites


@pytest.fixture
def federation():
    """Return `support.sites.federation`, whose federations the fixture closes."""
    made = []

    def make(*arguments, **setup):
        made.append(sites.federation(*arguments, **setup))
        return made[-1]

    yield make
    for each in made:
        each.close()

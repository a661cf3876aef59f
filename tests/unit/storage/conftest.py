"""Shelves that are closed in the end."""

from __future__ import annotations

import pytest
from support.shelves import KEY

from tallystick.storage.shelf import Shelf


@pytest.fixture(params=[b"", KEY], ids=["plain", "encrypted"])
def key(request):
    return request.param


@pytest.fixture
def opened(tmp_path, key):
    """Open the shelf again, as after a restart: the one before is closed."""
    last = []

    def reopen(**settings):
        for shelf in last:
            shelf.close()
        last[:] = [Shelf(tmp_path / "shelf", **{"key": key, "quota_bytes": 1 << 30, **settings})]
        return last[0]

    yield reopen
    for shelf in last:
        shelf.close()

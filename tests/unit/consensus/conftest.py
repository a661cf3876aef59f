"""Nodes that lie and members that follow them, closed after the test."""

from contextlib import ExitStack, closing

import pytest
from support.liars import Follower, Ledger, Liar


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def liar(opened):
    """Return a maker of nodes, each on a ledger of three blocks unless it gets another."""

    def make(ledger=None):
        if ledger is None:
            ledger = opened.enter_context(closing(Ledger()))
            ledger.grow(3)
        return opened.enter_context(closing(Liar(ledger)))

    return make


@pytest.fixture
def follower(opened, tmp_path):
    """Return a maker of members that follow nodes."""

    def make(*nodes, name="south", **options):
        urls = [getattr(node, "url", node) for node in nodes]
        folder = tmp_path / name
        return opened.enter_context(closing(Follower(folder, *urls, name=name, **options)))

    return make

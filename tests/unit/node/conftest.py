"""Nodes in this process, closed after the test."""

from contextlib import ExitStack, closing

import pytest
from support.nodes import Node
from support.relays import Site
from support.validators import Validators

from tallystick.node import relay


@pytest.fixture
def make_node(tmp_path):
    """Return a maker of nodes, each in a folder of its own."""
    with ExitStack() as stack:
        made = []

        def make(**settings):
            folder = tmp_path / f"n{len(made)}"
            made.append(stack.enter_context(closing(Node(folder, **settings))))
            return made[-1]

        yield make


@pytest.fixture
def node(make_node):
    return make_node()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Return a node for all tests of a module that leave it as it was."""
    with closing(Node(tmp_path_factory.mktemp("shared"))) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(relay, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(relay, "LOOK_SECONDS", 0.05)


@pytest.fixture
def site(tmp_path, impatient):
    """Return a relay between a replica and a fake CometBFT."""
    made = Site(tmp_path, Validators(audited=False)).open()
    yield made
    made.close()

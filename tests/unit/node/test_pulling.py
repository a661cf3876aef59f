"""What is fetched from other nodes next, for whom, and what becomes of those who wait."""

import os
import threading
from contextlib import closing
from types import SimpleNamespace

import pytest
from support.nodes import until

from tallystick.federation.transfer import NotThereError
from tallystick.node import pulling
from tallystick.node.pulling import MOST_OF_ONE, Pulls

TASK = b"t" * 32


class Source:
    """A node that has nothing, and says so once it is let."""

    url, is_away = "http://node", False

    def __init__(self):
        self.asked = []
        self.answers = threading.Semaphore(0)
        self.transfers = SimpleNamespace(download=self.download)

    def download(self, _, root, is_over):
        self.asked.append(root)
        while not self.answers.acquire(timeout=0.01):
            if is_over():
                break
        raise NotThereError("it is not here")

    def note(self, **_):
        pass


def root_of(number):
    return bytes([number]) * 32


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def pulls(source, monkeypatch):
    monkeypatch.setattr(pulling, "FETCHERS", 1)
    monkeypatch.setattr(pulling, "GRACE_SECONDS", 0.0)
    store = SimpleNamespace(has=lambda *_: False, held=lambda *_: 0)
    with closing(Pulls([source], store)) as made:
        yield made


def answer(source, count):
    """Let so many requests be answered, and wait for the next one."""
    wanted = len(source.asked) + count
    source.answers.release(count)
    until(lambda: len(source.asked) == wanted)


def test_one_member_does_not_take_the_room_of_all(pulls):
    greedy = [pulls.want(TASK, os.urandom(32), "mallory", begun=False) for _ in range(64)]
    other = pulls.want(TASK, os.urandom(32), "north", begun=False)

    assert sum(not each.done() for each in greedy) == MOST_OF_ONE
    assert not other.done()


def test_what_the_ledger_names_is_fetched_by_turns_with_what_members_ask_for(pulls, source):
    for number in range(4):
        pulls.want(TASK, root_of(number), "mallory", begun=False)
    pulls.need([(TASK, root_of(number)) for number in (10, 11)])
    pulls.start()
    until(lambda: source.asked)
    answer(source, 3)

    assert source.asked == [root_of(0), root_of(10), root_of(1), root_of(11)]


def test_members_are_served_by_turns(pulls, source):
    for number in range(4):
        pulls.want(TASK, root_of(number), "mallory", begun=False)
    pulls.want(TASK, root_of(20), "north", begun=False)
    pulls.start()
    until(lambda: source.asked)
    answer(source, 3)

    assert source.asked == [root_of(0), root_of(20), root_of(1), root_of(2)]


def test_who_waits_at_the_end_is_told_once(pulls, source, caplog):
    waiting = pulls.want(TASK, root_of(1), "north", begun=False)
    pulls.start()
    until(lambda: source.asked)
    pulls.close()

    assert waiting.result(10) is False
    assert not any(thread.is_alive() for thread in pulls._threads)
    assert "our bug" not in caplog.text

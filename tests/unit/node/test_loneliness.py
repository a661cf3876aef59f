"""Whether a node that no other is connected to for long starts anew, and only such a one."""

import threading

import pytest

from tallystick.errors import UnavailableError
from tallystick.node import loneliness
from tallystick.node.loneliness import Loneliness

PEERS = {"peers": [{}]}


class Rpc:
    """Answers one after the other, the last for ever."""

    def __init__(self, *answers):
        self.answers, self.asked, self.closed = list(answers), threading.Semaphore(0), False

    def call(self, method):
        assert method == "net_info"
        self.asked.release()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(loneliness, "PATIENCE_SECONDS", 0.05)


def looked_at(rpc, times=40):
    """Let somebody look at CometBFT so often; return whether it left."""
    left = threading.Event()
    watching = Loneliness(lambda: rpc, left.set)
    watching.start()
    for _ in range(times):
        if not rpc.asked.acquire(timeout=5) or left.is_set():
            break
    gone = left.wait(0.2)
    watching.stop()
    assert rpc.closed
    return gone


@pytest.mark.parametrize("answer", [{"peers": []}, {}, {"peers": None}])
def test_whoever_is_alone_for_long_starts_anew(answer):
    assert looked_at(Rpc(PEERS, answer), times=2)


@pytest.mark.parametrize("answers", [[PEERS], [UnavailableError("no")], [{"peers": []}, PEERS]])
def test_whoever_has_peers_or_does_not_know_goes_on(answers):
    assert not looked_at(Rpc(*answers))

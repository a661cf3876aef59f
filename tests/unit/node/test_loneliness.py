"""Whether a node that no other is connected to for long starts anew, and only such a one."""

import threading
from itertools import count
from types import SimpleNamespace

import pytest

from tallystick.errors import UnavailableError
from tallystick.node import loneliness
from tallystick.node.loneliness import Loneliness

PEERS = {"peers": [{}]}


class Counted:
    """Counts who looks."""

    times = 0

    def release(self):
        self.times += 1


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


@pytest.fixture
def file(tmp_path):
    return tmp_path / "lonely"


def looked_at(rpc, file, times=40):
    """Let somebody look at CometBFT so often; return whether it left."""
    left = threading.Event()
    watching = Loneliness(lambda: rpc, file, left.set)
    watching.start()
    for _ in range(times):
        if not rpc.asked.acquire(timeout=5) or left.is_set():
            break
    gone = left.wait(0.2 if rpc.answers[0] else 30)
    watching.stop()
    assert rpc.closed
    return gone


@pytest.mark.parametrize("answer", [{"peers": []}, {}, {"peers": None}])
def test_whoever_is_alone_for_long_starts_anew(answer, file):
    assert looked_at(Rpc(PEERS, answer), file, times=2)
    assert file.read_text() == "1\n"


@pytest.mark.parametrize("answers", [[PEERS], [UnavailableError("no")], [{"peers": []}, PEERS]])
def test_whoever_has_peers_or_does_not_know_goes_on(answers, file):
    assert not looked_at(Rpc(*answers), file)
    assert not file.exists()


def test_each_time_in_vain_it_waits_twice_as_long(file, monkeypatch):
    ticks, looks = count(), []
    clock = SimpleNamespace(monotonic=lambda: next(ticks) / 200)  # 5 ms later at each look
    monkeypatch.setattr(loneliness, "time", clock)
    for _ in range(4):
        rpc = Rpc({})
        rpc.asked = Counted()
        assert looked_at(rpc, file, times=0)
        looks.append(rpc.asked.times)

    assert file.read_text() == f"{loneliness.MOST_TIMES}\n"
    assert looks == [11, 21, 41, 81]


def test_it_waits_no_longer_than_the_most(file, monkeypatch):
    monkeypatch.setattr(loneliness, "MOST_TIMES", 2)
    for text in ("2", "7", "1000000000"):
        file.write_text(text)
        assert looked_at(Rpc({}), file, times=2)
        assert file.read_text() == "2\n"


def test_whoever_met_somebody_has_the_first_patience_again(file):
    file.write_text("5\n")
    assert not looked_at(Rpc(PEERS), file, times=5)
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "many", "\xff"])
def test_what_is_no_number_counts_for_nothing(file, text):
    file.write_text(text)
    assert looked_at(Rpc({}), file, times=2)
    assert file.read_text() == "1\n"

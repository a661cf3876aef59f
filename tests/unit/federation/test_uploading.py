"""An upload goes on where the node says, through refusals that pass, and ends."""

import msgspec
import numpy as np
import pytest

from tallystick.codec import encode
from tallystick.consensus.client import Answer, RefusedError
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.wire import PIECE_BYTES, Held
from tallystick.errors import UnavailableError
from tallystick.federation import uploading
from tallystick.federation.uploading import upload

TASK, ROOT = b"t" * 32, b"r" * 32
SIZE = 3 * PIECE_BYTES + 7
DATA = np.arange(SIZE, dtype=np.uint32).view(np.uint8)[:SIZE]


class Node:
    """Takes chunks as a node does; some requests meet what ``troubles`` says."""

    url = "http://node"

    def __init__(self, held=0, troubles=None):
        self.data = bytearray(DATA[:held].tobytes())
        self.troubles = troubles or {}
        self.asked = []

    def ask(self, method, target, body, *, signed):
        assert (method, signed) == ("PUT", True)
        self.asked.append(int(target.split("offset=")[1].split("&")[0]))
        trouble = self.troubles.pop(len(self.asked), None)
        if isinstance(trouble, Exception):
            raise trouble
        if trouble == "lost":  # it was taken, and the answer got lost
            self.data += body
            raise UnavailableError
        if trouble == "forgets":
            self.data.clear()
        if self.asked[-1] != len(self.data) and len(self.data) < len(DATA):
            said = {"error": {"code": "other-offset", "offset": len(self.data)}}
            raise RefusedError(
                "elsewhere", url=self.url, status=409, code="other-offset", document=said
            )
        if len(self.data) < len(DATA):
            self.data += body
        document = {"ok": True, "offset": len(self.data), "complete": len(self.data) == len(DATA)}
        if document["complete"]:
            word = Held(TASK, ROOT, len(DATA), 5)
            document |= {"held": encode(word).hex(), "signature": "ab"}
        return Answer(self.url, None, msgspec.json.encode(document))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Do not wait between attempts."""
    monkeypatch.setattr(uploading, "PAUSE_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("held", "troubles", "requests"),
    [
        (0, {}, 4),
        (2 * PIECE_BYTES, {}, 3),
        (len(DATA), {}, 1),
        (0, {2: UnavailableError(), 3: RetryLaterError()}, 6),
        (0, {1: "lost", 3: "lost"}, 6),
        (0, {3: "forgets"}, 7),
    ],
)
def test_every_byte_arrives_once(held, troubles, requests):
    node, told = Node(held, troubles), []
    word = upload(node, TASK, ROOT, DATA, len(DATA), told.append)

    assert bytes(node.data) == DATA.tobytes()
    assert len(node.asked) == requests
    assert word == (Held(TASK, ROOT, len(DATA), 5), b"\xab")
    assert told[-1] == len(DATA)


def test_a_refusal_that_stays_is_the_callers():
    refusal = RefusedError("no room", url=Node.url, status=413, code="quota-exceeded", document={})
    with pytest.raises(RefusedError, match="no room"):
        upload(Node(troubles={2: refusal}), TASK, ROOT, DATA, len(DATA))


def test_a_node_that_does_not_answer_is_given_up():
    troubles = {number: UnavailableError("gone") for number in range(2, 100)}
    node = Node(troubles=troubles)
    with pytest.raises(UnavailableError, match="gone"):
        upload(node, TASK, ROOT, DATA, len(DATA))

    assert len(node.asked) == 1 + uploading.ATTEMPTS


def test_a_node_that_keeps_forgetting_is_given_up():
    node = Node(troubles=dict.fromkeys(range(1, 100), "forgets"))
    with pytest.raises(UnavailableError, match="does not get beyond"):
        upload(node, TASK, ROOT, DATA, len(DATA))

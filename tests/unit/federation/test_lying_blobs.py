"""Nodes that lie about bytes: nothing wrong is stored, each is named, and the next is asked."""

import time
from contextlib import ExitStack, closing
from dataclasses import replace

import numpy as np
import pytest
from support.liars import (
    CHUNK_BYTES,
    GENESIS,
    OTHER,
    PUBLIC,
    Follower,
    Ledger,
    Liar,
    Reply,
    refused,
    said,
)

from tallystick.codec import decode
from tallystick.consensus.solo import sealing_keys
from tallystick.consensus.wire import Held, is_held
from tallystick.consensus.witness import LyingNodeError
from tallystick.crypto.hashes import blob_root, chunk_hashes
from tallystick.errors import TallyError, UnavailableError
from tallystick.federation import courier as courier_module
from tallystick.federation.courier import Courier
from tallystick.federation.words import Words
from tallystick.storage.blobs import FileBlobs

TASK = b"t" * 32
DATA = np.random.default_rng(0).bytes(3 * CHUNK_BYTES + 5)
ROOT = blob_root(DATA)
SIZE = len(DATA)
OTHER_DATA = bytes(SIZE)


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def node(opened):
    """Return a maker of nodes that have the blob, unless they are to have none."""
    ledger = opened.enter_context(closing(Ledger()))

    def make(*, has=True):
        made = opened.enter_context(closing(Liar(ledger)))
        if has:
            made.put(TASK, DATA)
        return made

    return make


class Site:
    """A member with a courier, and the blobs it holds."""

    def __init__(self, folder, *urls):
        self.follower = Follower(folder, *urls)
        self.blobs = FileBlobs(folder / "blobs", durable=False)
        engine = self.follower.engine
        self.words = Words(
            folder / "words",
            engine.kernel.chain,
            lambda: sealing_keys(engine.state, GENESIS.sealer),
        )
        self.courier = Courier(
            self.follower.client, self.blobs, self.follower.witness, lambda: None, self.words
        )

    def evidence(self, kind):
        return [each for each in self.follower.evidence() if each["lie"] == kind]

    def fetch(self, size=SIZE, root=ROOT):
        """Fetch as a job of the courier does, in this thread."""
        self.courier._transfers.download(TASK, root, size)

    def deliver(self):
        self.words.refresh()
        self.courier._upload(TASK, ROOT, lambda: False)

    def has_nothing_else(self):
        """Whether nothing visible is here but the blob itself, if that."""
        files = [path for path in self.blobs.folder.glob("??/*") if path.is_file()]
        return all(path.read_bytes() == DATA for path in files)

    def save(self, data=DATA):
        writer = self.blobs.create()
        writer.write(data)
        return writer.commit()

    def close(self):
        self.courier.close()
        self.blobs.close()
        self.follower.close()


@pytest.fixture
def site(opened, tmp_path):
    def make(*nodes):
        urls = [node.url for node in nodes]
        return opened.enter_context(closing(Site(tmp_path / f"s{len(urls)}", *urls)))

    return make


def until(done, seconds=10.0):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.01)


def is_chunks(asked):
    return asked.path.endswith("/chunks")


def is_bytes(asked):
    return asked.method == "GET" and "/blobs/" in asked.path and not is_chunks(asked)


def bends(matches, change):
    return lambda asked, honest: change(asked, honest) if matches(asked) else honest


def spoiled(at):
    def change(asked, honest):
        start = int(asked.headers["range"][6:].split("-")[0])
        data = bytearray(DATA)
        data[at] ^= 1
        return replace(honest, body=bytes(data[start:]))

    return change


WRONG = {
    "the first chunk": bends(is_bytes, spoiled(3)),
    "the middle": bends(is_bytes, spoiled(CHUNK_BYTES + 9)),
    "the end": bends(is_bytes, spoiled(SIZE - 1)),
    "another blob": bends(is_bytes, lambda _, honest: replace(honest, body=OTHER_DATA)),
    "too many bytes": bends(is_bytes, lambda _, honest: replace(honest, body=DATA + b"more")),
    "other chunk hashes": bends(
        is_chunks, lambda _, honest: replace(honest, body=b"".join(chunk_hashes(OTHER_DATA)))
    ),
    "too few hashes": bends(is_chunks, lambda _, honest: replace(honest, body=honest.body[:-32])),
    "half a hash": bends(is_chunks, lambda _, honest: replace(honest, body=honest.body[:-1])),
    "no hashes": bends(is_chunks, lambda _, honest: replace(honest, body=b"")),
}


@pytest.mark.parametrize("bend", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("size", [SIZE, 0])
def test_wrong_bytes_are_named_and_not_stored(size, bend, node, site):
    lying = node()
    lying.bend = bend
    alone = site(lying)
    with pytest.raises(LyingNodeError) as caught:
        alone.fetch(size)

    assert (caught.value.kind, caught.value.url) == ("wrong-blob", lying.url)
    (evidence,) = alone.evidence("wrong-blob")
    assert (evidence["task"], evidence["root"]) == (TASK.hex(), ROOT.hex())
    assert alone.has_nothing_else()
    assert not alone.blobs.has(ROOT)


@pytest.mark.parametrize("bend", WRONG.values(), ids=WRONG)
def test_after_wrong_bytes_an_honest_node_gives_the_rest(bend, node, site):
    lying, honest = node(), node()
    lying.bend = bend
    both = site(lying, honest)
    both.fetch()

    assert both.blobs.open(ROOT).tobytes() == DATA
    assert [each["node"] for each in both.evidence("wrong-blob")] == [lying.url]
    assert both.follower.client.url == honest.url


@pytest.mark.parametrize("length", ["1", str(SIZE - 1), str(SIZE + CHUNK_BYTES), str(2**43)])
def test_a_wrong_size_is_named(length, node, site):
    lying = node()
    lying.bend = bends(
        lambda asked: asked.method == "HEAD",
        lambda _, honest: replace(honest, headers={**honest.headers, "content-length": length}),
    )
    alone = site(lying)
    with pytest.raises(LyingNodeError) as caught:
        alone.fetch(0)

    assert caught.value.kind == "wrong-blob"


def test_a_wrong_size_on_the_ledger_accuses_no_node(node, site):
    honest = node()
    alone = site(honest)
    with pytest.raises(UnavailableError, match=f"has {SIZE} bytes, not the 17"):
        alone.fetch(17)

    assert alone.follower.evidence() == []


def test_a_node_that_took_over_in_the_middle_is_not_named_for_the_first(node, site):
    lying, honest = node(), node()
    lying.bend = bends(is_bytes, spoiled(CHUNK_BYTES + 9))
    honest.bend = bends(is_bytes, lambda *_: refused(503, "retry-later"))
    both = site(lying, honest)
    with pytest.raises(TallyError):
        both.fetch()

    assert {each["node"] for each in both.follower.evidence()} == {lying.url}


ABSENT = {
    "not found": refused(404, "no-such-blob"),
    "no part": refused(403, "no-part"),
    "a server error": Reply(500, b"oops"),
    "html": Reply(404, b"<html></html>"),
    "busy": refused(503, "retry-later"),
    "nothing": Reply(raw=b""),
    "no bytes": Reply(body=b""),
}


@pytest.mark.parametrize("reply", ABSENT.values(), ids=ABSENT)
def test_a_blob_that_one_node_withholds_comes_from_the_next(reply, node, site):
    lying, honest = node(), node()
    lying.bend = bends(is_bytes, lambda *_: reply)
    both = site(lying, honest)
    both.fetch()

    assert both.blobs.open(ROOT).tobytes() == DATA
    assert both.follower.evidence() == []


def test_what_is_cut_off_goes_on_from_there_also_elsewhere(node, site):
    starts = []

    def cut(asked, honest):
        starts.append(int(asked.headers["range"][6:-1]))
        length = {"content-length": str(len(honest.body))}
        kept = CHUNK_BYTES + 77 if len(starts) < 3 else 5
        return replace(honest, body=honest.body[:kept], headers={**honest.headers, **length})

    lying, other = node(), node()
    lying.bend = bends(is_bytes, cut)
    both = site(lying, other)
    both.fetch()

    assert starts == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]
    assert both.blobs.open(ROOT).tobytes() == DATA
    assert both.follower.evidence() == []


def test_a_node_that_knows_no_ranges_is_not_named(node, site):
    first = node()
    first.bend = bends(
        is_bytes,
        lambda _, honest: replace(
            honest,
            body=honest.body[: CHUNK_BYTES + 1],
            headers={**honest.headers, "content-length": str(SIZE)},
        ),
    )
    second = node()
    second.bend = bends(is_bytes, lambda _, honest: replace(honest, status=200, body=DATA))
    both = site(first, second)
    both.fetch()

    assert both.blobs.open(ROOT).tobytes() == DATA
    assert both.follower.evidence() == []


def test_an_endless_answer_ends_with_the_blob(node, site):
    def flood(out):
        for _ in range(256):
            out.write(DATA)

    lying = node()
    lying.bend = bends(is_bytes, lambda *_: Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n", then=flood))
    alone = site(lying)
    with pytest.raises(LyingNodeError, match=f"more than the {SIZE} bytes|is not what came"):
        alone.fetch()

    assert alone.follower.client.received < 6 * SIZE


def test_an_answer_that_drips_is_given_up_for_another_node(node, site, monkeypatch):
    monkeypatch.setattr("tallystick.federation.transfer.STALLED_SECONDS", 0.2)

    def drip(out):
        for byte in DATA[:200]:
            out.write(bytes([byte]))
            time.sleep(0.02)

    lying, honest = node(), node()
    lying.bend = bends(is_bytes, lambda *_: Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n", then=drip))
    both = site(lying, honest)
    began = time.monotonic()
    both.fetch()

    assert both.blobs.has(ROOT)
    assert time.monotonic() - began < 3


def test_a_courier_tries_again_by_itself(node, site):
    lying = node()
    refusals = [refused(404, "no-such-blob")] * 2
    lying.bend = bends(is_chunks, lambda _, honest: refusals.pop() if refusals else honest)
    alone = site(lying)
    until(lambda: alone.courier.fetch(TASK, ROOT, SIZE))

    assert alone.blobs.open(ROOT).tobytes() == DATA


# --- What is handed over -----------------------------------------------------------------------


def test_a_node_that_loses_what_it_gave_its_word_for_is_named_and_gets_it_again(node, site):
    losing = node(has=False)
    alone = site(losing)
    alone.save()
    alone.deliver()
    losing.blobs.clear()
    alone.deliver()
    (evidence,) = alone.evidence("withheld-blob")
    held = decode(Held, bytes.fromhex(evidence["held"]))

    assert evidence["node"] == losing.url
    assert (held.task, held.root, held.size) == (TASK, ROOT, SIZE)
    assert is_held(
        held, bytes.fromhex(evidence["signature"]), PUBLIC, alone.follower.engine.kernel.chain
    )
    assert losing.blobs[TASK.hex(), ROOT.hex()] == DATA


def test_a_node_is_asked_again_whether_it_still_has_it(node, site, monkeypatch):
    monkeypatch.setattr(courier_module, "RECHECK_SECONDS", 0.0)
    losing = node(has=False)
    alone = site(losing)
    alone.save()
    until(lambda: alone.courier.deliver(TASK, ROOT))
    losing.blobs.clear()
    until(lambda: alone.courier.deliver(TASK, ROOT) and alone.evidence("withheld-blob"))
    until(lambda: losing.blobs)

    assert losing.blobs[TASK.hex(), ROOT.hex()] == DATA


def test_a_node_that_has_it_already_is_asked_for_its_word(node, site):
    first = node()
    alone = site(first)
    alone.save()
    alone.deliver()

    assert alone.words.find(TASK, ROOT).held.size == SIZE
    assert [asked.body for asked in first.asked if asked.method == "PUT"] == [b""]


def test_another_node_without_the_blob_broke_no_word(node, site):
    first, second = node(has=False), node(has=False)
    both = site(first, second)
    both.save()
    both.deliver()
    both.follower.client.turn(first.url)
    both.deliver()

    assert both.follower.evidence() == []
    assert second.blobs


def test_a_node_without_a_word_that_holds_it_is_not_done_with(node, site):
    for secret, change in ((OTHER, {}), (None, {"held": "zz"}), (None, {"held": None})):
        careless = node(has=False)
        if secret is not None:
            careless.secret = secret
        else:
            careless.bend = bends(
                lambda asked: asked.method == "PUT",
                lambda _, honest, change=change: said(offset=SIZE, **change),
            )
        alone = site(careless)
        alone.save()
        with pytest.raises(UnavailableError, match="does not give its word"):
            alone.deliver()

        assert alone.words.find(TASK, ROOT) is None
        alone.close()


OFFSETS = {
    "where it is already": said(offset=0),
    "beyond the end": said(offset=10 * SIZE),
    "before the start": said(offset=-1),
    "text": said(offset="5"),
    "a list": said(offset=[1]),
    "none": said(),
    "elsewhere, for ever": refused(409, "other-offset", offset=0),
    "elsewhere before the start": refused(409, "other-offset", offset=-CHUNK_BYTES),
    "elsewhere beyond the end": refused(409, "other-offset", offset=1 << 60),
    "elsewhere in a chunk": refused(409, "other-offset", offset=3),
    "elsewhere, in words": refused(409, "other-offset", offset="five"),
    "elsewhere, unsaid": refused(409, "other-offset"),
    "no document": Reply(body=b"yes"),
}


@pytest.mark.parametrize("reply", OFFSETS.values(), ids=OFFSETS)
def test_an_upload_that_is_led_astray_ends(reply, node, site):
    astray = node(has=False)
    astray.bend = bends(lambda asked: asked.method == "PUT", lambda *_: reply)
    alone = site(astray)
    alone.save()
    with pytest.raises(UnavailableError):
        alone.deliver()

    assert sum(asked.method == "PUT" for asked in astray.asked) <= 12
    assert (TASK, ROOT) not in alone.courier._delivered


def test_an_upload_goes_on_where_another_node_says(node, site, monkeypatch):
    monkeypatch.setattr("tallystick.federation.transfer.PIECE_BYTES", CHUNK_BYTES)
    dying, next_one = node(has=False), node(has=False)
    both = site(dying, next_one)
    both.save()
    puts = []

    def die(asked, honest):
        puts.append(asked)
        return honest if len(puts) < 3 else Reply(raw=b"")

    dying.bend = bends(lambda asked: asked.method == "PUT", die)
    until(lambda: both.courier.deliver(TASK, ROOT))

    assert next_one.blobs[TASK.hex(), ROOT.hex()] == DATA
    assert both.follower.evidence() == []

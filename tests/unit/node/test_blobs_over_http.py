"""A task's bytes are its members' alone, come in whole chunks, and go out as what went in."""

import errno
import threading

import numpy as np
import pytest
from support.nodes import until

from tallystick.codec import decode
from tallystick.consensus.wire import PIECE_BYTES, Held, is_held
from tallystick.crypto import keys
from tallystick.crypto.hashes import CHUNK_BYTES, blob_root, chunk_hashes
from tallystick.errors import UnavailableError
from tallystick.storage import shelved
from tallystick.storage.shelf import OffsetError
from tallystick.storage.sqlite import LedgerStore

DATA = np.random.default_rng(0).bytes(2 * CHUNK_BYTES + 5)
ROOT = blob_root(DATA)
SIZE = len(DATA)


@pytest.fixture
def blob(node):
    """Return where the blob of a task of north and south lies."""
    return f"/v1/tasks/{node.propose('a').hex()}/blobs/{ROOT.hex()}"


def put(node, blob, offset=0, data=DATA, *, size=None, chunk=None, **signing):
    chunk = data[offset : offset + CHUNK_BYTES] if chunk is None else chunk
    size = len(data) if size is None else size
    return node.ask("PUT", f"{blob}?offset={offset}&size={size}", chunk, **signing)


def upload(node, blob, **signing):
    for offset in range(0, SIZE, CHUNK_BYTES):
        said = put(node, blob, offset, **signing)
        assert said.status == 200, said.body
    return said.document


def test_what_goes_in_comes_out_and_the_node_gives_its_word(node, blob):
    document = upload(node, blob)
    held = decode(Held, bytes.fromhex(document["held"]))
    signature = bytes.fromhex(document["signature"])

    assert is_held(held, signature, keys.public_of(node.clerk.engine.secret), node.service.chain)
    assert (held.root, held.size) == (ROOT, SIZE)
    assert node.ask("GET", blob, who="north").body == DATA
    assert node.ask("HEAD", blob).headers["content-length"] == str(SIZE)
    assert node.ask("GET", f"{blob}/chunks").body == b"".join(chunk_hashes(DATA))


def test_another_tasks_bytes_are_shown_to_nobody(node, blob):
    upload(node, blob)
    other = node.propose("b", ("east", "west"))
    elsewhere = f"/v1/tasks/{other.hex()}/blobs/{ROOT.hex()}"
    nowhere = f"/v1/tasks/{'00' * 32}/blobs/{ROOT.hex()}"
    for who in ("east", "west"):
        for target in (blob, f"{blob}/chunks", nowhere):
            assert node.ask("GET", target, who=who).code == "no-part"
            assert node.ask("HEAD", target.removesuffix("/chunks"), who=who).status == 403
        assert put(node, blob, who=who).code == "no-part"
        assert node.ask("GET", elsewhere, who=who).status == 404  # no bytes of another's task
    assert node.ask("GET", elsewhere, who="south").code == "no-part"
    assert node.ask("GET", blob, signed=False).code == "unsigned-request"
    unsaid = {
        node.ask("GET", each, who="east").document["error"]["message"].rpartition(" ")[0]
        for each in (blob, nowhere)
    }
    assert len(unsaid) == 1  # whether there is such a task is told to no stranger


def test_a_signature_for_one_blob_opens_no_other(node, blob):
    upload(node, blob)
    for target in (f"{blob}/chunks", blob + "?a=b", blob.upper()):
        headers = node.headers("GET", target)
        assert node.ask("GET", blob, signed=False, headers=headers).status == 401
    headers = node.headers("HEAD", blob)

    assert node.ask("GET", blob, signed=False, headers=headers).code == "other-request"


def test_an_upload_says_where_it_goes_on(node, blob):
    assert node.ask("GET", blob).document["error"]["offset"] == 0
    put(node, blob)
    for offset in (0, 5, 2 * CHUNK_BYTES, 10**17):
        said = put(node, blob, offset, chunk=b"x" * CHUNK_BYTES)
        assert (said.status, said.code) == (409, "other-offset")
        assert said.document["error"]["offset"] == CHUNK_BYTES
    assert node.ask("GET", blob).document["error"]["offset"] == CHUNK_BYTES
    assert put(node, blob, CHUNK_BYTES, who="north").document["offset"] == 2 * CHUNK_BYTES


@pytest.mark.parametrize(
    ("offset", "size", "chunk", "status"),
    [
        (0, SIZE, b"", 400),
        (0, SIZE, b"short", 400),
        (0, 0, b"", 400),
        (0, 3, b"more", 400),
        (0, SIZE, b"x" * (CHUNK_BYTES + 1), 400),
        (0, 2 * PIECE_BYTES, b"x" * (PIECE_BYTES + 1), 413),
        (0, 10**18 - 1, DATA[:CHUNK_BYTES], 413),
        (0, 10**18, DATA[:CHUNK_BYTES], 400),
        (SIZE, SIZE, b"", 409),
    ],
)
def test_an_upload_that_is_no_whole_chunk_or_has_no_room_is_refused(
    offset, size, chunk, status, node, blob
):
    said = put(node, blob, offset, size=size, chunk=chunk)

    assert said.status == status
    assert put(node, blob).status == 200  # nothing of it was kept


def test_an_upload_keeps_to_the_size_it_began_with(node, blob):
    put(node, blob)
    said = put(node, blob, CHUNK_BYTES, size=SIZE + 1)

    assert (said.status, said.code) == (400, "bad-input")


def test_other_bytes_than_the_roots_are_thrown_away_at_the_end(node, blob):
    wrong = bytes(SIZE)
    for offset in range(0, SIZE, CHUNK_BYTES):
        said = put(node, blob, offset, data=wrong)

    assert (said.status, said.code) == (422, "wrong-bytes")
    assert node.ask("GET", blob).status == 404
    upload(node, blob)

    assert node.ask("GET", blob).body == DATA


def test_two_who_write_at_once_spoil_nothing(make_node):
    node = make_node()
    blob = f"/v1/tasks/{node.propose('a').hex()}/blobs/{ROOT.hex()}"
    shelf, task = node.service.shelf, bytes.fromhex(blob.split("/")[3])
    errors, ends = [], []

    def write(name):
        offset = 0
        while offset < SIZE:
            try:
                chunk = DATA[offset : offset + CHUNK_BYTES]
                offset = shelf.append(task, ROOT, SIZE, name, offset, chunk)
            except OffsetError as error:
                errors.append(error)
                offset = error.offset
        ends.append(offset)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("north", "south") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ends == [SIZE] * 6
    assert node.ask("GET", blob).body == DATA


def test_a_members_quota_is_its_own(make_node):
    node = make_node(quota_bytes=SIZE + 10)
    task = node.propose("a").hex()
    blob = f"/v1/tasks/{task}/blobs/{ROOT.hex()}"
    upload(node, blob, who="north")
    other = f"/v1/tasks/{task}/blobs/{blob_root(b'more' * 9).hex()}"
    said = put(node, other, data=b"more" * 9, who="north")

    assert (said.status, said.code) == (413, "quota-exceeded")
    assert said.document["error"]["quota"] == SIZE + 10
    assert put(node, other, data=b"more" * 9, who="south").status == 200


RANGES = [
    ("bytes=0-", 200, DATA),
    (f"bytes=0-{SIZE - 1}", 200, DATA),
    ("bytes=5-9", 206, DATA[5:10]),
    (f"bytes={SIZE - 3}-", 206, DATA[-3:]),
    (f"bytes={CHUNK_BYTES - 2}-{CHUNK_BYTES + 1}", 206, DATA[CHUNK_BYTES - 2 : CHUNK_BYTES + 2]),
    ("bytes=7-" + "9" * 18, 206, DATA[7:]),
    (f"bytes={SIZE}-", 416, None),
    ("bytes=9-5", 416, None),
    ("bytes=-5", 416, None),
    ("bytes=1-2,4-5", 416, None),
    ("bytes=-", 416, None),
    ("bytes=" + "9" * 400 + "-", 416, None),
    ("bytes=\xb2-", 416, None),
    ("octets=1-2", 416, None),
    ("", 416, None),
    ("bytes=1-2\n", 416, None),
    ("bytes=nan-inf", 416, None),
]


def test_a_range_is_answered_or_refused(node, blob):
    upload(node, blob)
    for text, status, wanted in RANGES:
        said = node.ask("GET", blob, headers={"range": text})

        assert said.status == status, text
        if wanted is None:
            assert said.code == "no-such-range"
        else:
            assert said.body == wanted
            assert said.headers["content-length"] == str(len(wanted))


def test_a_damaged_copy_is_served_to_nobody(node, blob):
    upload(node, blob)
    (path,) = [
        p
        for p in (node.folder / "node" / "blobs").rglob(f"{ROOT.hex()}*")
        if p.stat().st_size >= SIZE
    ]
    data = bytearray(path.read_bytes())
    data[CHUNK_BYTES + 9] ^= 1
    path.write_bytes(data)
    first = node.ask("GET", blob)

    assert first.body in {DATA[:CHUNK_BYTES], b""} or first.status == 503
    assert node.ask("GET", blob).status in {404, 503}
    upload(node, blob)
    assert node.ask("GET", blob).body == DATA


# --- The disk ----------------------------------------------------------------------------------


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_takes_no_bytes_and_the_node_goes_on(node, blob, monkeypatch):
    put(node, blob)
    with monkeypatch.context() as patch:
        patch.setattr(shelved, "write_at", full)
        said = put(node, blob, CHUNK_BYTES)

        assert said.status == 503
        assert said.headers["retry-after"] == "1"
    offset = node.ask("GET", blob).document["error"]["offset"]
    while offset < SIZE:
        offset = put(node, blob, offset).document["offset"]

    assert node.ask("GET", blob).body == DATA


def test_a_full_disk_takes_no_transaction_and_the_node_goes_on(node, monkeypatch):
    def fail(*_):
        raise UnavailableError("the disk is full")

    tx = node.tx()
    with monkeypatch.context() as patch:
        patch.setattr(LedgerStore, "hold", fail)
        said = node.ask("POST", "/v1/transactions", tx.wire)

        assert (said.status, said.code) == (503, "unavailable")
    assert node.clerk.engine.pending == 0
    with monkeypatch.context() as patch:
        patch.setattr(LedgerStore, "commit", fail)
        assert node.ask("POST", "/v1/transactions", tx.wire).status == 202
        assert node.clerk.works
    until(lambda: node.clerk.outcome(tx.hash) is not None)

    assert node.clerk.engine.head.height == 1

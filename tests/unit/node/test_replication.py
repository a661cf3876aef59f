"""What a member uploads to its node gets to every party's node, and to nobody else's."""

import threading
from contextlib import ExitStack, closing

import numpy as np
import pytest
from support.liars import Ledger, Liar
from support.nodes import until
from support.peers import Cutter, Organisation, free_port

from tallystick.crypto.hashes import CHUNK_BYTES, blob_root
from tallystick.errors import UnavailableError
from tallystick.ledger.collect.rows import TERMS
from tallystick.node import peer as peer_module
from tallystick.node import pulling
from tallystick.storage.blobs import FileBlobs

PARTIES = ("north", "south", "west")
DATA = np.random.default_rng(0).bytes(3 * CHUNK_BYTES + 5)
ROOT = blob_root(DATA)
CHUNKS_404 = 'tally_requests_total{route="/v1/tasks/{task}/blobs/{root}/chunks",status="404"}'
OTHER = np.random.default_rng(1).bytes(5 * CHUNK_BYTES + 1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Let what is tried again be tried soon, and nothing be fetched that nobody asks for."""
    monkeypatch.setattr(peer_module, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(peer_module, "LONGEST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(peer_module, "FIRST_REFUSED_SECONDS", 0.02)
    monkeypatch.setattr(pulling, "GRACE_SECONDS", 3600.0)
    monkeypatch.setattr(pulling, "COMING_SECONDS", 0.3)
    monkeypatch.setattr(pulling, "ASKED_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(pulling, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(pulling, "LONGEST_PAUSE_SECONDS", 0.2)


@pytest.fixture
def eager(monkeypatch):
    """Let what the ledger names be fetched soon."""
    monkeypatch.setattr(pulling, "GRACE_SECONDS", 0.05)


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def nodes(tmp_path, opened):
    """Return a maker of nodes that serve, one for each organisation that is named."""

    def make(*names, **settings):
        made = [
            opened.enter_context(closing(Organisation(tmp_path / name, name, **settings)))
            for name in names
        ]
        for each in made:
            each.start()
        return made

    return make


def join(*nodes):
    """Let every node know the others."""
    for node in nodes:
        node.connect(*(other.url for other in nodes if other is not node))


def propose(*nodes, names=PARTIES):
    """Propose the same task on every node's ledger; return its id."""
    (task,) = {node.propose("a", names) for node in nodes}
    return task


def test_what_a_member_uploads_gets_to_every_other_node(nodes):
    a, b, c = nodes(*PARTIES)
    join(a, b, c)
    task = propose(a, b, c)
    a.upload(task, DATA)
    until(lambda: b.has(task, DATA) and c.has(task, DATA))
    until(lambda: not a.service.replicator.pending)

    b.download(task, DATA)
    assert a.count('tally_replicated_bytes_total{direction="out"}') == 2 * len(DATA)
    assert b.count('tally_replicated_bytes_total{direction="in"}') == len(DATA)
    assert b.service.shelf.used(task, "north") == len(DATA)  # whose node gave it
    assert a.count("tally_pending_pushes") == 0


def test_what_a_node_was_given_it_gives_to_nobody(nodes):
    a, b, c = nodes(*PARTIES)
    a.connect(b.url)
    b.connect(a.url, c.url)
    c.connect()
    task = propose(a, b, c)
    a.upload(task, DATA)
    until(lambda: b.has(task, DATA))

    assert b.service.replicator.pending == 0
    assert c.has_nothing(task, DATA)
    assert b.count('tally_replicated_bytes_total{direction="out"}') == 0


def test_a_node_that_was_away_gets_it_when_it_is_back(nodes):
    a, b, c = nodes(*PARTIES)
    join(a, b, c)
    task = propose(a, b, c)
    b.stop()
    a.upload(task, DATA)
    until(lambda: c.has(task, DATA))

    until(lambda: a.count("tally_pending_pushes") == 1)
    b.start()
    until(lambda: b.has(task, DATA))


def test_a_restarted_node_gives_what_the_others_still_lack(nodes):
    a, b, c = nodes(*PARTIES)
    join(a, b, c)
    task = propose(a, b, c)
    for other in (b, c):
        other.stop()
    a.upload(task, DATA)
    a.disconnect()
    for other in (b, c):
        other.start()
    a.connect(b.url, c.url)

    until(lambda: b.has(task, DATA) and c.has(task, DATA))


def test_a_node_that_does_not_know_the_task_yet_gets_it_later(nodes):
    a, b = nodes("north", "south")
    join(a, b)
    task = propose(a)
    a.upload(task, DATA)
    until(lambda: b.count('tally_refused_requests_total{code="no-part"}') > 1)

    assert b.has_nothing(task, DATA)
    propose(b)
    until(lambda: b.has(task, DATA))


def test_a_node_that_nobody_knows_fetches_what_its_member_asks_for_and_gives_its_own(nodes):
    a, b, c = nodes(*PARTIES)
    a.connect(b.url)
    b.connect(a.url)
    c.connect(a.url, b.url)
    task = propose(a, b, c)
    a.upload(task, DATA)

    assert c.has_nothing(task, DATA)
    c.download(task, DATA)
    assert c.has(task, DATA)
    assert c.service.shelf.used(task, "west") == len(DATA)  # who asked for it
    c.upload(task, OTHER)
    until(lambda: a.has(task, OTHER) and b.has(task, OTHER))


def test_a_member_who_asks_early_waits_for_what_is_on_its_way(nodes, monkeypatch):
    a, b = nodes("north", "south")
    b.connect(a.url)
    task = propose(a, b)
    root = a.save(DATA)
    slow = threading.Event()
    append = b.service.shelf.append

    def hesitant(*asked):
        held = append(*asked)
        if held == CHUNK_BYTES:
            slow.set()
        return held

    monkeypatch.setattr(b.service.shelf, "append", hesitant)
    asking = threading.Thread(target=lambda: (slow.wait(10), b.download(task, DATA)))
    asking.start()
    a.upload(task, DATA)
    a.connect(b.url)
    a.service.replicator.stored(task, root, "north", "worker")
    asking.join(20)

    assert not asking.is_alive()
    assert b.blobs.has(root)


@pytest.mark.usefixtures("eager")
def test_what_the_ledger_names_is_fetched_though_nobody_asks(nodes):
    a, c = nodes("north", "west")
    task = propose(a, c)
    model = a.service.state.get(TERMS, task).model
    data = FileBlobs(a.folder / "blobs").open(model.root).tobytes()
    a.connect()
    a.upload(task, data)
    c.connect(f"http://127.0.0.1:{free_port()}", a.url)

    until(lambda: c.has(task, data))
    assert c.service.shelf.used(task, "west") == len(data)


@pytest.mark.usefixtures("eager")
def test_a_model_that_is_handed_over_later_is_fetched_then(nodes):
    a, c = nodes("north", "west")
    a.connect()
    c.connect(a.url)
    task = propose(a, c)
    model = a.service.state.get(TERMS, task).model
    data = FileBlobs(a.folder / "blobs").open(model.root).tobytes()
    until(lambda: a.count(CHUNKS_404) > 1)
    a.upload(task, data)

    until(lambda: c.has(task, data))


def test_a_node_without_room_for_it_takes_none_and_the_others_do(nodes):
    a, c = nodes("north", "west")
    (b,) = nodes("south", quota_bytes=CHUNK_BYTES)
    join(a, b, c)
    task = propose(a, b, c)
    a.upload(task, DATA)
    until(lambda: c.has(task, DATA))
    until(lambda: b.count('tally_refused_requests_total{code="quota-exceeded"}') > 1)
    a.upload(task, b"small")

    until(lambda: b.has(task, b"small"))  # what it has no room for holds up nothing else
    assert b.has_nothing(task, DATA)


def test_a_node_that_stops_lets_nobody_wait(nodes):
    a, b = nodes("north", "south")
    b.connect(a.url)
    hanging = b.service.replicator.wanted(bytes(32), ROOT, "south")
    b.disconnect()
    late = b.service.replicator.wanted(bytes(32), ROOT, "south")

    assert (hanging.result(5), late.result(0)) == (False, False)


def test_what_nobody_has_is_not_waited_for(nodes):
    a, b, c = nodes(*PARTIES)
    join(a, b, c)
    task = propose(a, b, c)
    with pytest.raises(UnavailableError, match="is not here"):
        c.download(task, DATA)

    assert [each.count(CHUNKS_404) for each in (a, b, c)] == [1, 1, 1]  # nobody asked on


def test_wrong_bytes_are_taken_from_nobody_and_the_next_node_is_asked(nodes, opened):
    ledger = opened.enter_context(closing(Ledger()))
    lying = opened.enter_context(closing(Liar(ledger)))
    a, c = nodes("north", "west")
    a.connect()
    task = propose(a, c)
    a.upload(task, DATA)
    spoiled = bytearray(DATA)
    spoiled[2 * CHUNK_BYTES + 9] ^= 1
    lying.put(task, DATA)

    def bend(asked, honest):
        if asked.path.endswith(ROOT.hex()) and asked.method == "GET":
            return type(honest)(200, bytes(spoiled))
        return honest

    lying.bend = bend
    urls = (lying.url, a.url)
    c.connect(*(urls if ROOT[0] % 2 == 0 else urls[::-1]))  # so that the liar is asked first
    c.download(task, DATA)

    assert c.has(task, DATA)
    (evidence,) = c.evidence()
    assert (evidence["lie"], evidence["node"]) == ("wrong-blob", lying.url)
    assert evidence["root"] == ROOT.hex()


def test_hashes_that_are_not_the_roots_are_named_too(nodes, opened):
    ledger = opened.enter_context(closing(Ledger()))
    lying = opened.enter_context(closing(Liar(ledger)))
    (c,) = nodes("west")
    task = propose(c)
    lying.put(task, DATA)
    lying.bend = lambda asked, honest: (
        type(honest)(200, bytes(len(honest.body))) if asked.path.endswith("chunks") else honest
    )
    c.connect(lying.url)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            c.download(task, DATA)

    assert [each["lie"] for each in c.evidence()] == ["wrong-blob"]
    assert c.has_nothing(task, DATA)


def test_two_members_upload_at_once(nodes):
    a, b, c = nodes(*PARTIES)
    join(a, b, c)
    task = propose(a, b, c)
    threads = [
        threading.Thread(target=node.upload, args=(task, data))
        for node, data in ((a, DATA), (b, OTHER))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    until(lambda: all(node.has(task, DATA) and node.has(task, OTHER) for node in (a, b, c)))


def test_a_blob_given_by_two_nodes_at_once_is_whole(nodes):
    a, b, c = nodes(*PARTIES)
    c.connect()
    task = propose(a, b, c)
    for node in (a, b):
        node.upload(task, OTHER)
        node.connect(c.url)
    for node in (a, b):
        node.service.replicator.stored(task, blob_root(OTHER), node.name, "worker")

    until(lambda: c.has(task, OTHER))
    until(lambda: not (a.service.replicator.pending or b.service.replicator.pending))


@pytest.mark.parametrize("way", ["given", "fetched"])
def test_a_large_blob_goes_on_where_it_was_cut(way, nodes, opened):
    data = np.random.default_rng(2).bytes(40 << 20)
    a, b = nodes("north", "south")
    to = b if way == "given" else a
    cutter = opened.enter_context(closing(Cutter(to.port, cuts=6, every=5 << 20)))
    task = propose(a, b)
    a.connect(*([cutter.url] if way == "given" else []))
    b.connect(*([] if way == "given" else [cutter.url]))
    a.upload(task, data)
    if way == "fetched":
        b.download(task, data)
    until(lambda: b.has(task, data), 60)

    moved = b.count('tally_replicated_bytes_total{direction="in"}')
    assert cutter.cuts == 0
    assert len(data) <= moved < 1.5 * len(data)  # what was there was not sent again


def test_a_dead_node_delays_no_other(nodes):
    a, b = nodes("north", "south")
    dead = f"http://127.0.0.1:{free_port()}"
    a.connect(dead, b.url)
    b.connect(dead, a.url)
    task = propose(a, b)
    roots = [a.upload(task, DATA + bytes([number])) for number in range(20)]
    until(lambda: all(b.has(task, DATA + bytes([number])) for number in range(20)))

    assert len(set(roots)) == 20
    until(lambda: a.service.replicator.pending == 20)


def test_a_node_of_no_party_keeps_nothing_and_serves_nothing(nodes):
    a, b, c = nodes("north", "south", "east")
    join(a, b, c)
    task = propose(a, b, c, names=("north", "south"))
    a.upload(task, DATA)
    until(lambda: b.has(task, DATA))
    until(lambda: not a.service.replicator.pending)

    assert c.has_nothing(task, DATA)
    refused = c.ask("GET", f"/v1/tasks/{task.hex()}/blobs/{ROOT.hex()}", who="south")
    assert (refused.status, refused.code) == (403, "no-part-here")
    with pytest.raises(UnavailableError, match="no part"):
        c.download(task, DATA, url=a.url)


def test_what_is_not_given_by_the_end_of_a_task_is_forgotten(nodes, monkeypatch):
    (a,) = nodes("north")
    a.connect(f"http://127.0.0.1:{free_port()}")
    task = propose(a)
    a.upload(task, DATA)
    (peer,) = a.service.replicator._peers
    until(lambda: peer.is_away)

    assert peer.pending == 1
    monkeypatch.setattr(peer, "_is_over", lambda _: True)
    until(lambda: not peer.pending)


def test_a_nodes_key_signs_for_bytes_alone_and_only_among_several_nodes(nodes):
    a, b = nodes("north", "south")
    task = propose(a, b)
    blob = f"/v1/tasks/{task.hex()}/blobs/{ROOT.hex()}"
    alone = a.ask("GET", blob, who="south", role="validator")
    join(a, b)
    among = a.ask("GET", blob, who="south", role="validator")
    tx = a.tx()
    submitted = a.ask("POST", "/v1/transactions", tx.wire, who="south", role="validator")

    assert (alone.status, alone.code) == (401, "unknown-key")
    assert (among.status, among.code) == (404, "no-such-blob")
    assert (submitted.status, submitted.code) == (401, "unknown-key")
    assert "south" not in a.service.seen  # its node asked, not the member


def test_a_damaged_copy_is_fetched_again(nodes):
    a, b = nodes("north", "south")
    join(a, b)
    task = propose(a, b)
    a.upload(task, DATA)
    until(lambda: b.has(task, DATA))
    (path,) = (b.folder / "node" / "blobs").rglob(f"{ROOT.hex()}.blob")
    path.write_bytes(bytes(len(DATA)))
    with pytest.raises(UnavailableError):
        list(b.service.shelf.read(task, ROOT, 0, len(DATA)))

    b.download(task, DATA)
    assert b.has(task, DATA)


def test_a_node_without_room_fetches_nothing_and_says_so(nodes):
    (a,) = nodes("north")
    (c,) = nodes("west", quota_bytes=CHUNK_BYTES)
    a.connect()
    c.connect(a.url)
    task = propose(a, c)
    a.upload(task, DATA)
    with pytest.raises(UnavailableError, match="is not here"):
        c.download(task, DATA)

    assert c.has_nothing(task, DATA)
    assert c.evidence() == []


def test_too_many_that_wait_for_a_node_leave_the_oldest_to_it(nodes, monkeypatch):
    monkeypatch.setattr(peer_module, "MOST_PENDING", 2)
    (a,) = nodes("north")
    a.connect(f"http://127.0.0.1:{free_port()}")
    task = propose(a)
    roots = [a.upload(task, bytes([number])) for number in range(4)]
    (peer,) = a.service.replicator._peers

    assert [root for _, root in peer._pushes] == roots[2:]


@pytest.mark.parametrize("whole", [False, True])
def test_what_somebody_else_sends_meanwhile_is_gone_on_with(whole, nodes, monkeypatch):
    a, c = nodes("north", "west")
    a.connect()
    c.connect(a.url)
    task = propose(a, c)
    a.upload(task, DATA)
    append, done = c.service.shelf.append, []

    def overtaken(*asked):
        if not done:
            done.append(asked)
            for at in range(0, len(DATA) if whole else CHUNK_BYTES, CHUNK_BYTES):
                append(task, ROOT, len(DATA), "south", at, DATA[at : at + CHUNK_BYTES])
        return append(*asked)

    monkeypatch.setattr(c.service.shelf, "append", overtaken)
    c.download(task, DATA)

    assert done
    assert c.has(task, DATA)

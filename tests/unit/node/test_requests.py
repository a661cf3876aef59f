"""Whatever is asked, how, of which size: an answer with a reason, and never an error of ours."""

import asyncio
import json
import logging
import threading
from contextlib import closing

import pytest
from anyio import to_thread
from support.nodes import until

from tallystick.codec import encode
from tallystick.ledger.contracts import accounts
from tallystick.ledger.genesis import Limits
from tallystick.node import asking, ledger_routes, reception
from tallystick.node.home import LEDGER
from tallystick.storage.sqlite import LedgerStore

STATUS = "/v1/status"


def plain(node, target, method="GET", **options):
    return node.ask(method, target, signed=False, **options)


def refusal(said):
    """Return status and code of a refusal, whose document is as promised."""
    document = said.document
    assert document["format"] == "tally.error/1"
    assert document["ok"] is False
    assert document["error"]["message"]
    assert said.headers["content-type"] == "application/json"
    assert int(said.headers["tally-time"]) > 0
    return said.status, document["error"]["code"]


PATHS = [
    "/",
    "//",
    "/v1",
    "/v1/",
    "/v1/status/",
    "//v1/status",
    "/v1//status",
    "/v1/../v1/status",
    "/v1/./status",
    "/v1/%2e%2e/%2e%2e/etc/passwd",
    "/../../etc/passwd",
    "/v1/tasks/..%2f..%2fetc",
    "/v1/status%00",
    "/v1/status\x00",
    "/V1/STATUS",
    "/v1/statu\u0455".encode().decode("latin-1"),
    "/v1/receipts/",
    "/" + "a" * 15_000,
    "/v1/" + "../" * 4000,
    "http://elsewhere/v1/status",
    "*",
    "/v1/status;a=b",
    "/%ff%fe",
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: repr(path)[:30])
def test_a_path_that_is_none_is_not_found(path, shared):
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        said = plain(shared, "/" if path == "*" else path, method)

        assert refusal(said) == (404, "no-such-route")
        assert "location" not in said.headers


ROOT = "ab" * 32


@pytest.mark.parametrize(
    "name",
    [
        "AB" * 32,
        "ab" * 31,
        "ab" * 33,
        "%61b" * 16,
        "ab" * 31 + "%0a",
        "zz" * 32,
        "..",
        "\u0661" * 64,
        "ab" * 31 + "a\n",
        " " * 64,
        "%00" * 64,
        "0x" + "ab" * 31,
    ],
    ids=lambda name: repr(name)[:20],
)
def test_a_name_that_is_no_hash_is_refused(name, shared):
    quoted = "".join(
        f"%{byte:02x}" if byte > 126 or byte < 33 else chr(byte) for byte in name.encode()
    )
    for target in (
        f"/v1/receipts/{quoted}",
        f"/v1/tasks/{quoted}/blobs/{ROOT}",
        f"/v1/tasks/{ROOT}/blobs/{quoted}",
        f"/v1/tasks/{ROOT}/blobs/{quoted}/chunks",
    ):
        said = shared.ask("GET", target)

        assert refusal(said) in {(400, "bad-input"), (404, "unknown-transaction")}
        assert b"\n" not in said.body


@pytest.mark.parametrize(
    "method", ["DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "GE\u0054X", "get"]
)
def test_a_method_that_is_none_is_refused(method, shared):
    for path in (STATUS, "/v1/transactions", f"/v1/tasks/{ROOT}/blobs/{ROOT}"):
        assert refusal(plain(shared, path, method)) == (405, "bad-request")


def test_what_can_be_got_can_be_asked_about(shared):
    for path in (STATUS, "/healthz", "/readyz", "/metrics", "/v1/openapi.json", "/v1/events"):
        assert plain(shared, path, "HEAD").status == 200


NUMBERS = ["-1", "nan", "inf", "1e3", "0x1", "", " 1", "1.5", "9" * 19, "9" * 4000, "\xb2", "1_0"]
NUMBERS += ["%00", "+1", "%D9%A1", "null", "[]", "1;2"]


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: repr(text)[:12])
def test_a_number_that_is_none_is_refused(text, shared):
    if not shared.clerk.engine.head.height:
        shared.seal(shared.tx())
    quoted = text.replace("+", "%2B").replace(" ", "%20").replace("\xb2", "%C2%B2")
    blob = f"/v1/tasks/{ROOT}/blobs/{ROOT}"
    for method, target in (
        ("GET", f"/v1/blocks?from={quoted}"),
        ("GET", f"/v1/blocks?from=1&count={quoted}"),
        ("GET", f"/v1/events?from={quoted}"),
        ("PUT", f"{blob}?offset={quoted}&size=5"),
        ("PUT", f"{blob}?offset=0&size={quoted}"),
        ("PUT", blob),
    ):
        assert refusal(shared.ask(method, target, b"12345" if method == "PUT" else b"")) == (
            400,
            "bad-input",
        )


@pytest.mark.parametrize("text", ["-1", "nan", "-inf", "soon", "", "%00", "1,5"])
def test_a_time_to_wait_that_is_none_is_refused(text, shared):
    assert refusal(plain(shared, f"/v1/blocks?from=1&wait={text}")) == (400, "bad-input")


def test_a_number_said_twice_is_one_number(node):
    node.seal(node.tx())
    twice = plain(node, "/v1/blocks?from=9&from=1")
    nonsense = plain(node, "/v1/blocks?from=1&from=x")

    assert twice.body == plain(node, "/v1/blocks?from=1").body
    assert refusal(nonsense) == (400, "bad-input")


@pytest.mark.parametrize("target", ["/v1/blocks?from=1", "/v1/events"])
def test_a_node_that_lacks_blocks_shows_none(node, target):
    node.seal(node.tx())
    head = node.clerk.engine.head
    with closing(LedgerStore(node.folder / "node" / LEDGER)) as store:
        store.set_fact("base", encode(head))
    said = plain(node, target)

    assert (said.status, said.code) == (503, "retry-later")
    assert "catching up" in said.document["error"]["message"]


@pytest.mark.parametrize("key", ["", "0", "AB", "zz", "00 11", "aa" * 1025, "%00", "..", "0x00"])
def test_a_row_whose_key_is_none_is_refused(key, shared):
    status, code = refusal(plain(shared, f"/v1/state/{key.replace(' ', '%20')}"))

    assert (status, code) in {(400, "bad-input"), (404, "no-such-route")}


def test_a_row_is_shown_with_its_proof(node):
    node.seal(node.tx())
    document = plain(node, f"/v1/state/{accounts.BALANCES.key('south').hex()}").document

    assert document["height"] == 1
    assert document["row"] is not None
    assert plain(node, "/v1/state/ff").document["row"] is None


def test_those_who_wait_for_a_proof_hold_up_nobody_else(node, monkeypatch):
    node.seal(node.tx())
    monkeypatch.setattr(type(node.clerk), "fixed_at", lambda _, height: height + 1)

    async def ask():
        loop = asyncio.get_running_loop()
        waiting = [
            loop.create_task(node.call("GET", b"/v1/state/ff", {}))
            for _ in range(to_thread.current_default_thread_limiter().total_tokens * 2)
        ]
        await asyncio.sleep(0.1)
        other = await node.call("GET", STATUS.encode(), {})
        waited = sum(each.done() for each in waiting)
        await loop.run_in_executor(None, node.seal, node.tx("south"))
        return other, waited, await asyncio.gather(*waiting)

    other, waited, answers = node.loop.run_until_complete(ask())

    assert (other.status, waited) == (200, 0)
    assert {(each.status, each.document["height"]) for each in answers} == {(200, 1)}


def test_a_state_that_no_block_fixes_is_to_be_asked_for_again(node, monkeypatch):
    monkeypatch.setattr(ledger_routes, "PROOF_SECONDS", 0.02)
    monkeypatch.setattr(type(node.clerk), "fixed_at", lambda _, height: height + 1)
    said = plain(node, "/v1/state/ff")

    assert refusal(said) == (503, "unavailable")
    assert "no block after 0 fixes this state" in said.document["error"]["message"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(shared):
    most = shared.net.genesis.limits.transaction_bytes
    declared = {"content-length": str(most + 1)}
    said = shared.ask("POST", "/v1/transactions", b"", headers=declared)

    assert refusal(said) == (413, "too-large")
    for text in ("-1", "many", "\xb2", "9" * 400, "1e3", "", "5, 6"):
        said = shared.ask("POST", "/v1/transactions", b"", headers={"content-length": text})

        assert refusal(said)[0] == 413
    chunked = shared.ask("POST", "/v1/transactions", b"", pieces=[b"x" * 1024] * (most // 1024 + 1))

    assert refusal(chunked) == (413, "too-large")


def test_a_body_that_is_cut_off_is_refused(shared):
    said = shared.ask("POST", "/v1/transactions", b"", pieces=[b"x", None])

    assert refusal(said) == (408, "cut-off")


def test_a_body_that_is_too_slow_is_refused(shared, monkeypatch):
    monkeypatch.setattr(asking, "BODY_SECONDS", 0.05)
    headers = shared.headers("POST", "/v1/transactions")

    async def slow():
        waiting = asyncio.get_running_loop().create_task(
            shared.call("POST", b"/v1/transactions", headers, [])
        )
        return await waiting

    assert refusal(shared.loop.run_until_complete(slow())) == (408, "too-slow")


def test_a_body_where_none_belongs_changes_nothing(shared):
    assert plain(shared, STATUS, pieces=[b"x" * 1000] * 50).status == 200


def test_strange_headers_change_nothing(shared):
    strange = [(f"x-{number}", "y" * 100) for number in range(500)]
    strange += [("last-event-id", "\xb2"), ("range", "\xff"), ("accept", "\x00"), ("host", "")]
    strange += [("host", "elsewhere"), ("forwarded", "for=1"), ("cookie", "a=b")]

    async def ask():
        return await shared.call("GET", STATUS.encode(), strange)

    assert shared.loop.run_until_complete(ask()).status == 200


def test_what_an_attacker_writes_is_one_line_of_the_log(shared, caplog, monkeypatch):
    # Whatever a test before made of the package's log.
    monkeypatch.setattr(logging.getLogger("tallystick"), "propagate", True)
    with caplog.at_level(logging.DEBUG, logger="tallystick"):
        for target in ("/v1/status?a=\nfake", "/v1/\r\nfake", "/v1/receipts/%0a\nfake"):
            shared.ask("GET", target, signed=False, headers={"x": "\nfake"})

    assert caplog.messages
    assert not any("\n" in line or "\r" in line for line in caplog.messages)


def test_metrics_name_nothing_that_an_attacker_chose(shared):
    before = None
    for number in range(20):
        for target in (f"/x{number}", f"/v1/receipts/{number:064x}", f"/v1/state/{number:04x}"):
            plain(shared, target, f"X{number}")
            plain(shared, target)
        lines = plain(shared, "/metrics").body.count(b"\n")
        before = lines if number == 1 else before

    assert plain(shared, "/metrics").body.count(b"\n") == before


def test_the_description_has_every_route_in_shape(shared):
    document = plain(shared, "/v1/openapi.json").document
    served = {
        (route.path, method)
        for route in shared.app.routes
        for method in route.methods
        if method != "HEAD"
    }
    described = {
        (path, method.upper()) for path, entry in document["paths"].items() for method in entry
    }
    ids = [each["operationId"] for entry in document["paths"].values() for each in entry.values()]

    assert document["openapi"].startswith("3.1")
    assert {"title", "version"} <= document["info"].keys()
    assert served == {pair for pair in described if pair[1] != "HEAD"}
    assert len(ids) == len(set(ids))
    schemes = document["components"]["securitySchemes"]
    for path, entry in document["paths"].items():
        for operation in entry.values():
            named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert all(each["schema"]["type"] for each in operation["parameters"])
            assert all(each["required"] for each in operation["parameters"] if each["in"] == "path")
            assert all(known in schemes for each in operation.get("security", ()) for known in each)
            for response in operation["responses"].values():
                assert response["description"]
                for content in response.get("content", {}).values():
                    reference = content.get("schema", {}).get(
                        "$ref", "#/components/schemas/Refusal"
                    )
                    assert reference == "#/components/schemas/Refusal"


# --- A node that cannot ------------------------------------------------------------------------


def test_a_full_mempool_says_when_to_come_back_and_leaves_others_their_share(make_node):
    node = make_node(pending=8, batch_milliseconds=60_000)
    said = [
        node.ask("POST", "/v1/transactions", node.tx("north", nonce=nonce).wire)
        for nonce in range(1, 5)
    ]

    assert [each.status for each in said] == [202, 202, 503, 503]
    assert refusal(said[-1]) == (503, "retry-later")
    assert said[-1].headers["retry-after"] == "1"
    assert node.ask("POST", "/v1/transactions", node.tx("south").wire).status == 202


def test_what_a_block_has_no_room_for_is_in_the_next_without_anybody_asking(make_node):
    node = make_node(limits=Limits(block_bytes=1024, transaction_bytes=1024))
    waiting = [node.tx("north", nonce=nonce) for nonce in range(1, 13)]
    for each in waiting:
        node.clerk.submit(each.wire)
    until(lambda: all(node.clerk.outcome(each.hash) is not None for each in waiting), 5)

    assert node.clerk.engine.head.height >= 2


def test_a_node_whose_clerk_failed_says_that_it_is_not_ready(node, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    assert plain(node, "/readyz").status == 200
    monkeypatch.setattr(node.clerk.engine, "admit", fail)
    node.clerk.submit(node.tx().wire)
    until(lambda: not node.clerk.works)

    assert refusal(plain(node, "/readyz"))[0] == 503
    assert plain(node, "/healthz").body == b"ok\n"
    assert plain(node, STATUS).document["ok"] is False
    assert b"tally_up 0.0" in plain(node, "/metrics").body
    assert node.ask("POST", "/v1/transactions", node.tx().wire).status == 503


def test_a_request_nobody_waits_for_any_more_harms_no_clerk(node):
    for _ in range(50):
        node.clerk.submit(node.tx().wire).cancel()
    node.seal(node.tx("south"))

    assert node.clerk.works


def test_many_large_blocks_are_never_read_at_once(node, monkeypatch):
    monkeypatch.setattr(reception, "MOST_SENT_BYTES", 3000)
    for number in range(24):
        node.seal(node.tx(micros=1 + number))
    node.clerk._recent.clear()

    assert len(node.clerk._from(1, 10_000)) < 18
    assert 0 < len(node.clerk.framed(1, 10_000)) <= 3000


def test_events_go_on_after_the_last_one_and_end_with_the_node(node):
    for number in range(5):
        node.seal(node.tx(micros=1 + number))

    def heights(body):
        return [int(line[4:]) for line in body.decode().splitlines() if line.startswith("id: ")]

    async def listen(target, headers, count):
        return await node.call(
            "GET", target, headers, until=lambda body: len(heights(body)) >= count
        )

    async def shut():
        listening = asyncio.get_running_loop().create_task(
            node.call("GET", b"/v1/events?from=4", {})
        )
        await asyncio.sleep(0.1)
        node.service.bell.close()
        return await asyncio.wait_for(listening, 2)

    run = node.loop.run_until_complete
    again = run(listen(b"/v1/events", {"last-event-id": "2"}, 3))
    ended = run(shut())

    assert heights(again.body) == [3, 4, 5]
    assert heights(ended.body) == [4, 5]
    event = json.loads(again.body.decode().split("data: ")[1].splitlines()[0])
    assert event["height"] == 3
    assert len(bytes.fromhex(event["hash"])) == 32
    assert again.headers["content-type"].startswith("text/event-stream")
    for text in ("x", "-1", "\xb2", "9" * 40):
        assert plain(node, "/v1/events", "HEAD", headers={"last-event-id": text}).status == 200


def test_those_who_ask_the_engine_hold_up_nobody_else(node, monkeypatch):
    monkeypatch.setattr(ledger_routes, "MOST_ASKING", 50)
    released = threading.Event()
    node.clerk.ask_engine = lambda *_: {"waited": released.wait(10)}
    call = b'{"method": "health"}'

    async def ask():
        loop = asyncio.get_running_loop()
        waiting = [loop.create_task(node.call("POST", b"/v1/light", {}, [call])) for _ in range(60)]
        await asyncio.sleep(0.1)
        other = await node.call("GET", STATUS.encode(), {})
        waited = [each for each in waiting if not each.done()]
        released.set()
        return other, len(waited), await asyncio.gather(*waiting)

    other, waited, answers = node.loop.run_until_complete(ask())

    assert (other.status, waited) == (200, 50)
    assert [each.status for each in answers].count(503) == 10


def test_a_light_call_has_only_parameters_that_there_are(node):
    asked = []
    node.clerk.ask_engine = lambda method, given: asked.append((method, given)) or {}

    def call(parameters):
        body = json.dumps({"method": "commit", "params": parameters}).encode()
        return plain(node, "/v1/light", "POST", pieces=[body])

    for name in ("method", "self", "", "prove", "height "):
        assert refusal(call({name: "x"})) == (400, "bad-input")
    assert asked == []
    assert call({"height": 3, "page": "1", "per_page": None}).status == 200
    assert asked == [("commit", {"height": "3", "page": "1"})]

"""What CometBFT's JSON-RPC answers, asked of a small server that answers as a test wants."""

import json
import threading
from base64 import b64decode
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tallystick.consensus.cometbft.rpc import MOST_AT_ONCE, CometRpc, RpcError
from tallystick.consensus.engine import RetryLaterError
from tallystick.errors import DecodeError, UnavailableError

FULL = "mempool is full: number of txs 5000 (max: 5000), total txs bytes 5 (max: 6)"
RECHECKING = "mempool is still rechecking after a new committed block, so it is considered as full"
KNOWN = "tx already exists in cache"


class Server(ThreadingHTTPServer):
    """Answers each call with `answer(method, parameters)`: a result, or an error's data as text."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []  # calls, by request
        self.connections = set()
        self.status = 200
        self.answer = lambda *_: {}
        self.twist = lambda said: said  # what is sent instead

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """Whoever does not wait for the answer is the point of a test."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        server.connections.add(self.client_address)
        calls = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        listed = calls if isinstance(calls, list) else [calls]
        server.asked.append(listed)
        said = [self.answered(call) for call in listed]
        said = server.twist(said if isinstance(calls, list) else said[0])
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answered(self, call):
        found = self.server.answer(call["method"], call["params"])
        said = {"jsonrpc": "2.0", "id": call["id"]}
        if isinstance(found, str):
            return {**said, "error": {"code": -32603, "message": "Internal error", "data": found}}
        return {**said, "result": found}

    def log_message(self, *_):
        pass


@contextmanager
def served():
    with Server() as made:
        worker = threading.Thread(target=made.serve_forever, args=(0.01,))
        worker.start()
        yield made
        made.shutdown()
        worker.join()


@pytest.fixture
def server():
    with served() as made:
        yield made


@pytest.fixture
def rpc(server):
    with closing(CometRpc(server.url)) as made:
        yield made


def test_a_call_is_a_json_rpc_request_and_its_result_comes_back(server, rpc):
    server.answer = lambda method, parameters: {"said": [method, parameters]}

    assert rpc.call("commit", height="7") == {"said": ["commit", {"height": "7"}]}
    ((call,),) = server.asked
    assert (call["jsonrpc"], call["method"]) == ("2.0", "commit")


def test_an_error_says_what_cometbft_says(server, rpc):
    server.answer = lambda *_: "height 9 must be less than or equal to the current blockchain's"
    server.status = 500

    with pytest.raises(RpcError, match="Internal error: height 9 must be less") as said:
        rpc.call("commit", height="9")
    assert isinstance(said.value, UnavailableError)


@pytest.mark.parametrize("result", [None, [], "text", 7])
def test_a_result_that_is_no_object_is_refused(server, rpc, result):
    server.twist = lambda said: {**said, "result": result}

    with pytest.raises(DecodeError, match="answer to status has no result"):
        rpc.call("status")


@pytest.mark.parametrize("said", [b"", b"<html>", b"\xff\xfe", b"{", b"7", b"null", b"[]", b"[7]"])
def test_what_is_no_json_rpc_is_refused(server, rpc, said):
    server.twist = lambda _: said

    with pytest.raises(DecodeError):
        rpc.call("status")
    with pytest.raises(DecodeError):
        rpc.broadcast([b"a", b"b"])


def test_the_answer_to_another_call_is_none(server, rpc):
    server.twist = lambda said: {**said, "id": 99}

    with pytest.raises(DecodeError, match="answers 0 of 1 calls"):
        rpc.call("status")


def test_transactions_are_handed_over_in_batches_on_one_connection(server, rpc):
    wires = [b"transaction %d" % number for number in range(2 * MOST_AT_ONCE + 1)]

    assert rpc.broadcast(wires) == [None] * len(wires)
    assert [len(each) for each in server.asked] == [MOST_AT_ONCE, MOST_AT_ONCE, 1]
    calls = [call for each in server.asked for call in each]
    assert {call["method"] for call in calls} == {"broadcast_tx_async"}
    assert [b64decode(call["params"]["tx"]) for call in calls] == wires
    assert len({call["id"] for call in calls}) == len(wires)
    assert len(server.connections) == 1


def test_nothing_to_hand_over_asks_nothing(server, rpc):
    assert rpc.broadcast([]) == []
    assert server.asked == []


def test_a_full_mempool_means_later_and_a_known_transaction_is_taken(server, rpc):
    said = {b"new": {}, b"known": KNOWN, b"full": FULL, b"rechecking": RECHECKING, b"bad": "other"}
    server.answer = lambda _, parameters: said[b64decode(parameters["tx"])]
    new, known, full, rechecking, bad = rpc.broadcast(list(said))

    assert new is known is None
    assert isinstance(full, RetryLaterError)
    assert type(rechecking) is type(bad) is RpcError
    assert "other" in str(bad)
    assert [type(each) for each in rpc.broadcast([b"full"])] == [RetryLaterError]


def test_answers_in_another_order_are_told_apart_by_their_number(server, rpc):
    server.answer = lambda _, parameters: FULL if b64decode(parameters["tx"]) == b"b" else {}
    server.twist = lambda said: said[::-1]

    assert [type(each) for each in rpc.broadcast([b"a", b"b", b"c"])] == [
        type(None),
        RetryLaterError,
        type(None),
    ]


def test_a_batch_that_is_refused_as_a_whole_says_why(server, rpc):
    error = {"code": -32600, "message": "Invalid Request", "data": "batch too large"}
    server.twist = lambda _: {"jsonrpc": "2.0", "id": -1, "error": error}

    with pytest.raises(DecodeError, match=r"answers 0 of 2 calls: .*batch too large"):
        rpc.broadcast([b"a", b"b"])


def test_a_call_of_a_batch_without_an_answer_is_missed(server, rpc):
    server.twist = lambda said: said[1:]

    with pytest.raises(DecodeError, match="answers 2 of 3 calls"):
        rpc.broadcast([b"a", b"b", b"c"])


def test_a_cometbft_that_is_not_there_does_not_answer():
    with served() as server:
        url = server.url
    with closing(CometRpc(url)) as rpc:
        with pytest.raises(UnavailableError, match="does not answer"):
            rpc.call("status")
        with pytest.raises(UnavailableError, match="does not answer"):
            rpc.broadcast([b"a"])


def test_a_cometbft_that_takes_too_long_does_not_answer(server):
    may = threading.Event()
    server.answer = lambda *_: may.wait(30) and {}
    with (
        closing(CometRpc(server.url, timeout_seconds=0.05)) as rpc,
        pytest.raises(UnavailableError, match="does not answer"),
    ):
        rpc.call("status")
    may.set()

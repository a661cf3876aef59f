"""JSON-RPC on one kept connection: whoever hangs up is called again, and nonsense is told apart."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tallystick.consensus.cometbft.rpc import CometRpc, RpcError
from tallystick.consensus.engine import RetryLaterError
from tallystick.errors import DecodeError, UnavailableError


@contextmanager
def served(answer):
    """Answer each request with what ``answer`` makes of its calls; yield the client and a log."""
    connections, hang_up = [], []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            connections.append(self.client_address)

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            data = answer(asked)
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = bool(hang_up)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = CometRpc(f"http://127.0.0.1:{server.server_port}", timeout_seconds=5)
    try:
        yield client, connections, hang_up
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


def results(asked):
    calls = asked if isinstance(asked, list) else [asked]
    found = [{"jsonrpc": "2.0", "id": call["id"], "result": {"n": call["id"]}} for call in calls]
    return json.dumps(found if isinstance(asked, list) else found[0]).encode()


def test_a_connection_is_kept_and_opened_again_where_the_other_side_hung_up():
    with served(results) as (client, connections, hang_up):
        assert client.call("status") == {"n": 1}
        hang_up.append(True)
        assert client.call("status") == {"n": 2}
        assert len(connections) == 1
        assert client.call("status") == {"n": 3}
        assert len(connections) == 2


def test_what_is_handed_over_is_told_apart():
    said = ["", "tx already exists in cache", "mempool is full: 5000", "no leader"]

    def answer(asked):
        found = []
        for call, word in zip(asked, said, strict=True):
            each = {"id": call["id"], "result": {}}
            if word:
                each = {"id": call["id"], "error": {"code": -32603, "message": "", "data": word}}
            found.append(each)
        return json.dumps(found[::-1]).encode()

    with served(answer) as (client, _, _):
        taken, known, full, other = client.broadcast([b"1", b"2", b"3", b"4"])

    assert taken is known is None
    assert isinstance(full, RetryLaterError)
    assert isinstance(other, RpcError)


def test_an_answer_that_is_none_says_so():
    for data in (b"", b"<html>", b"[]", b'{"id": 7, "result": {}}', b'{"id": 1, "result": 3}'):
        with served(lambda _, data=data: data) as (client, _, _), pytest.raises(DecodeError):
            client.call("status")
    with (
        served(lambda asked: json.dumps({"id": asked["id"], "error": {}}).encode()) as (
            client,
            *_,
        ),
        pytest.raises(RpcError),
    ):
        client.call("status")


def test_nobody_there_is_unavailable():
    with served(results) as (client, *_):
        pass
    with pytest.raises(UnavailableError, match="does not answer"):
        client.call("status")

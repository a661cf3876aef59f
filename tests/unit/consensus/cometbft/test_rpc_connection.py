"""JSON-RPC on one kept connection: whoever hangs up is called again."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from tallystick.consensus.cometbft.rpc import CometRpc


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
            data, self.close_connection = answer(asked), bool(hang_up)
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

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

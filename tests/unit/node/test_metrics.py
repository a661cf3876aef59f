"""What another process on this machine counts is asked of it alone."""

import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tallystick.node.metrics import EngineMetrics


class Counting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.client_address)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"1\n")

    def log_message(self, *_):
        pass


@contextmanager
def served():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_the_engine_on_this_machine_is_asked_on_one_connection_without_a_proxy(name, monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with served() as proxy, served() as engine:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        with closing(EngineMetrics(f"http://127.0.0.1:{engine.server_port}/metrics")) as metrics:
            told = [metrics() for _ in range(3)]

        assert told == [b"1\n"] * 3
        assert len(set(engine.asked)) == 1
        assert proxy.asked == []


def test_an_engine_that_is_away_counts_nothing():
    with served() as engine:
        url = f"http://127.0.0.1:{engine.server_port}/metrics"
    with closing(EngineMetrics(url)) as metrics:
        assert metrics() == b""

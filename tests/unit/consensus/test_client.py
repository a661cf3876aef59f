"""Whom the client asks, and what addresses it takes."""

import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tallystick.consensus.client import NodeClient, Route, check_url
from tallystick.consensus.meeting import fetch_genesis
from tallystick.errors import ConfigError, UnavailableError


class Page(BaseHTTPRequestHandler):
    """A web server that is no node."""

    def do_GET(self):
        self.send_response(200 if self.path == "/here" else 404)
        self.send_header("Seen", self.headers.get("Range", ""))
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def port():
    """The port of a web server that is no node."""
    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "url",
    [
        *("", "north", "ftp://north", "http://", "http://node.north.example"),
        *("http://127.0.0.1:none", "http://127.0.0.1:99999", "http://[::1", "https://a:1:2"),
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ConfigError):
        check_url(url)


@pytest.mark.parametrize("proxy", ["proxy", "ftp://proxy", "http://proxy:none"])
def test_what_is_no_proxy_is_refused(proxy):
    with pytest.raises(ConfigError, match="proxy"):
        NodeClient(Route(("https://north",), proxy=proxy))


def test_an_answer_names_the_address_as_it_was_given(port):
    url = f"http://LOCALHOST:{port}"
    with closing(NodeClient(Route((url,)))) as client:
        answer = client.ask("GET", "/here", headers={"Range": "bytes=5-"})
        assert answer.url == client.url == url
        assert answer.headers["Seen"] == "bytes=5-"
        client.bar(answer.url)
        assert client.none_left
        with pytest.raises(UnavailableError, match="no node is left"):
            client.ask("GET", "/here")


def test_the_next_node_is_asked_when_one_does_not_answer(port):
    with closing(NodeClient(Route(("http://127.0.0.1:1", f"http://127.0.0.1:{port}")))) as client:
        assert client.ask("GET", "/here").content == b"<html>"
        with pytest.raises(UnavailableError, match="no node answers"):
            client.ask("GET", "/there")


def test_what_is_no_node_does_not_serve_a_genesis(port):
    with closing(NodeClient(Route((f"http://127.0.0.1:{port}",)))) as client:
        with pytest.raises(UnavailableError, match="no node serves a genesis"):
            fetch_genesis(client)
        with pytest.raises(UnavailableError, match="as a node does"):
            client.ask("GET", "/here").document()

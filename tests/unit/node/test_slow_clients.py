"""Clients on real sockets that are slow, cut off or malformed: none holds the node up."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress

import httpx
import pytest
from support.commands import SOURCE
from support.nodes import make_home, until
from uvicorn.server import ServerState

from tallystick.node import asking, serve
from tallystick.node.clerk import Clerk
from tallystick.node.home import open_home

PROGRAM = """
import sys
from pathlib import Path
from tallystick.node.home import open_home
from tallystick.node.logs import log_to_stderr
from tallystick.node.serve import serve
log_to_stderr(as_json=True)
serve(open_home(Path(sys.argv[1])), lambda url: print(url, flush=True))
"""


ANSWER_BYTES = 1 << 23  # more than sockets take in


@pytest.fixture
def url(tmp_path, monkeypatch):
    """Return the address of a node that has little patience."""
    monkeypatch.setattr(serve, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(asking, "BODY_SECONDS", 0.4)
    monkeypatch.setattr(serve, "UNREAD_SECONDS", 0.2)
    monkeypatch.setattr(Clerk, "framed", lambda *_: bytes(ANSWER_BYTES))
    make_home(tmp_path, connections=40)
    home = open_home(tmp_path / "node")
    server = serve.make_server(home)
    with home.opened:
        home.service.clerk.start()
        thread = threading.Thread(target=asyncio.run, args=(server.serve(),))
        thread.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        home.service.bell.close()
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def connect(url):
    host, _, port = url.removeprefix("http://").partition(":")
    return closing(socket.create_connection((host, int(port)), timeout=5))


def rest_of(connection):
    """Return what still comes until the node closes the connection."""
    found = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            found += piece
    return found


def heard(connection, wanted):
    """Return what comes up to what is waited for."""
    found = b""
    while wanted not in found:
        piece = connection.recv(65536)
        assert piece, found
        found += piece
    return found


@contextmanager
def others_are_served(url):
    """Say that the node answers others meanwhile, and at the end."""
    for _ in range(2):
        began = time.monotonic()
        assert httpx.get(f"{url}/healthz", trust_env=False).text == "ok\n"
        assert time.monotonic() - began < 2
        if _ == 0:
            yield


WHOLE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def dripped(url, first, data, seconds=3.0):
    """Send ``first``, then a byte now and then; return how long the node bore it."""
    with connect(url) as connection:
        connection.sendall(first)
        if first:
            time.sleep(0.1)
        began = time.monotonic()
        for byte in data:
            try:
                connection.sendall(bytes([byte]))
                connection.settimeout(0.05)
                with suppress(TimeoutError):
                    if not connection.recv(65536):
                        break
            except ConnectionError:
                break
            assert time.monotonic() - began < seconds, "it was borne for ever"
        return time.monotonic() - began


@pytest.mark.parametrize("first", [b"", WHOLE], ids=["the first", "a later one"])
def test_a_head_that_drips_is_not_waited_for(first, url):
    head = b"GET /healthz HTTP/1.1\r\n" + b"x-more: y\r\n" * 100
    with others_are_served(url):
        assert dripped(url, first, head) < 2


def test_a_silent_connection_is_closed(url):
    with others_are_served(url), connect(url) as connection:
        assert rest_of(connection) == b""


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [("light", b" 408 ", b"too-slow"), ("transactions", b" 401 ", b"unsigned-request")],
)
def test_a_body_that_drips_is_refused(target, status, code, url):
    head = f"POST /v1/{target} HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nabc"
    with others_are_served(url), connect(url) as connection:
        connection.sendall(head.encode())
        said = rest_of(connection)

    assert status in said.splitlines()[0]
    assert code in said


def test_bytes_after_an_answer_keep_no_connection(url):
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"
    with others_are_served(url):
        assert dripped(url, head, b"x" * 1000) < 2


def test_a_connection_that_is_used_stays_open(url):
    with connect(url) as connection:
        for _ in range(4):
            connection.sendall(WHOLE[:20])
            time.sleep(0.15)
            connection.sendall(WHOLE[20:])
            assert b"200 OK" in heard(connection, b"ok\n")
        time.sleep(0.6)  # longer than a head may take: nothing has begun
        connection.sendall(WHOLE)
        assert b"200 OK" in heard(connection, b"ok\n")


MALFORMED = {
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(200),
    "a header without a name": b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    "a header with a newline": b"GET / HTTP/1.1\r\nHost: x\r\na\nb: c\x00\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nab",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \xb2\r\n\r\nab",
    "a negative length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nab",
    "a flood of headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 4000 + b"\r\n",
    "a long line": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "another encoding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\nab",
    "chunks that are none": b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    "a chunk too long": b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n",
    "length and chunks": b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade": b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n"
    b"Upgrade: h2c\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_http_is_refused(data, url):
    with others_are_served(url), connect(url) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        said = rest_of_or_nothing(connection)

    assert b" 500 " not in said
    assert b"Traceback" not in said
    assert said.count(b"HTTP/1.1") <= 1


BLOCKS = b"GET /v1/blocks?from=1 HTTP/1.1\r\nHost: x\r\n\r\n"


def is_cut(connection):
    """Return whether the other end has given the connection up, without reading any of it."""
    try:
        connection.sendall(b"x")
    except ConnectionError:
        return True
    return False


def test_whoever_reads_no_answer_is_cut_off(url, monkeypatch):
    monkeypatch.setattr(Clerk, "height", 5)
    with others_are_served(url), connect(url) as connection:
        connection.sendall(BLOCKS)
        heard(connection, b"200 OK")
        until(lambda: is_cut(connection))


def test_whoever_reads_slowly_is_not_cut_off(url, monkeypatch):
    monkeypatch.setattr(Clerk, "height", 5)
    with connect(url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(BLOCKS)
        taken = 0
        while taken < ANSWER_BYTES:
            piece = connection.recv(1 << 17)
            assert piece
            taken += len(piece)
            time.sleep(0.01)


class Wire:
    """A transport to an address."""

    def __init__(self, host):
        self.host, self.closed = host, False

    def get_extra_info(self, name):
        return (self.host, 5) if name == "peername" else None

    def set_write_buffer_limits(self, **_):
        pass

    def close(self):
        self.closed = True


def test_one_address_has_half_of_the_connections(tmp_path):
    make_home(tmp_path, connections=6)
    home = open_home(tmp_path / "node")
    config = serve.make_server(home).config

    async def connect_all(*hosts):
        state, wires = ServerState(), [Wire(host) for host in hosts]
        for wire in wires:
            made = config.http_protocol_class(config, state, {}, asyncio.get_running_loop())
            made.connection_made(wire)
        return [wire.closed for wire in wires]

    with home.opened:
        config.load()
        stranger = asyncio.run(connect_all(*["192.0.2.1"] * 5, "192.0.2.2", "::1"))
        proxy = asyncio.run(connect_all(*["127.0.0.1"] * 5))

    assert stranger == [False] * 3 + [True] * 2 + [False] * 2
    assert proxy == [False] * 5


def rest_of_or_nothing(connection):
    connection.settimeout(0.6)
    found = b""
    with suppress(ConnectionError, TimeoutError):
        while piece := connection.recv(65536):
            found += piece
    return found


def test_connections_that_are_cut_leave_nothing(url):
    head = b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nabc"
    with others_are_served(url):
        for number in range(30):
            with connect(url) as connection:
                connection.sendall(
                    (head, WHOLE, b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")[number % 3]
                )


def test_more_connections_than_there_may_be_are_told_so(url):
    held = []
    try:
        for _ in range(39):
            connection = connect(url).thing
            connection.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            held.append(connection)
        time.sleep(0.2)
        said = [httpx.get(f"{url}/healthz", trust_env=False).status_code for _ in range(3)]
    finally:
        for connection in held:
            connection.close()
    until(lambda: httpx.get(f"{url}/healthz", trust_env=False).status_code == 200)

    assert set(said) <= {200, 503}
    assert 503 in said


@pytest.mark.network
def test_a_node_told_to_end_ends_its_streams_and_goes_on_later(tmp_path):
    make_home(tmp_path)
    heights = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "node")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        address = process.stdout.readline().strip()
        with connect(address) as listening, connect(address) as waiting:
            listening.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            waiting.sendall(b"GET /v1/blocks?from=1&wait=25 HTTP/1.1\r\nHost: x\r\n\r\n")
            heard(listening, b"retry")
            status = httpx.get(f"{address}/v1/status", trust_env=False).json()
            heights.append(status["height"])
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            rest_of(listening)
            assert b"200 OK" in rest_of(waiting)
        _, errors = process.communicate(timeout=10)

        assert process.returncode == 0, errors
        assert time.monotonic() - began < 5
        assert "Traceback" not in errors
    assert heights == [0, 0]

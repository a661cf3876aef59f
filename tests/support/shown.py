"""A node as a newcomer sees it: what it shows over HTTP, which a test may spoil."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from msgspec.structs import replace

from support.comet_ledger import FakeRpc, lights_of
from tallystick.codec import encode
from tallystick.consensus.wire import HEIGHT_HEADER, TIME_HEADER, frame
from tallystick.errors import TallyError
from tallystick.ledger.messages import Transfer

__all__ = ["Shown", "grown"]


def grown(world, count):
    """Let a ledger have so many more blocks, each with a payment."""
    for _ in range(count):
        world.send("bravo", Transfer("alpha", 1))
        world.seal(1000 if world.outcomes else 0)
    return world


class Shown:
    """Serves a world's blocks and light blocks on 127.0.0.1 until it is closed.

    Attributes
    ----------
    lights, blocks, status
        What it shows; a test may change them.
    call
        Answers a call of JSON-RPC.
    asked
        How often it was asked for each path.
    """

    def __init__(self, world, snapshot=0):
        self.lights = lights_of(world)
        self.blocks = [
            replace(each.block, evidence=encode(self.lights[each.header.height]))
            for each in world.outcomes
        ]
        self.status = json.dumps({"snapshot": snapshot}).encode()
        self.rpc = FakeRpc(self.lights)
        self.call = self.rpc.call
        self.asked = {}
        self.drips = threading.Event()
        self.closed = threading.Event()
        shown = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                shown.answer(self, b"")

            def do_POST(self):
                shown.answer(self, self.rfile.read(int(self.headers["content-length"])))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, handler, asked):
        parts = urlsplit(handler.path)
        self.asked[parts.path] = self.asked.get(parts.path, 0) + 1
        found = {"/v1/status": self.show_status, "/v1/light": self.show_light}.get(
            parts.path, self.show_blocks
        )
        with suppress(ConnectionError):
            content = found(asked or parts.query)
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.send_header(HEIGHT_HEADER, str(len(self.blocks)))
            handler.send_header(TIME_HEADER, str(time.time_ns() // 1_000_000))
            handler.end_headers()
            while self.drips.is_set() and not self.closed.wait(0.05):
                handler.wfile.write(b" ")
            handler.wfile.write(content)

    def show_status(self, _):
        return self.status

    def show_light(self, asked):
        asked = json.loads(asked)
        try:
            told = {"result": self.call(asked["method"], **asked["params"])}
        except TallyError as error:
            told = {"error": {"message": str(error)}}
        return json.dumps({"jsonrpc": "2.0", "id": asked["id"], **told}).encode()

    def show_blocks(self, query):
        start = int(parse_qs(query)["from"][0])
        return b"".join(frame(encode(each)) for each in self.blocks if each.header.height >= start)

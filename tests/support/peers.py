"""Several organisations' nodes in this process, on real sockets, and members who dial in.

Each has a ledger of its own with the same genesis, on which the same tasks are proposed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import closing, suppress
from dataclasses import replace

from support.nodes import KEYS, Node, until
from tallystick.consensus.client import NodeClient, Route, Signer
from tallystick.consensus.witness import Witness
from tallystick.crypto.hashes import blob_root
from tallystick.federation.stores import FolderStore
from tallystick.federation.transfer import Transfers
from tallystick.node.replication import Replicator
from tallystick.node.serve import make_server
from tallystick.storage.blobs import FileBlobs

__all__ = ["Cutter", "Organisation", "free_port"]


def free_port():
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Organisation(Node):
    """A node with an address of its own, and a member who dials in to it."""

    def __init__(self, folder, name, port=0, **settings):
        super().__init__(folder, **settings)
        self.name = name
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.evidence_folder = folder / "evidence"
        self.blobs = FileBlobs(folder / "member", durable=False)
        self.server = self.thread = None

    def signer(self, role):
        return Signer(self.service.chain, self.name, KEYS[role], self.secret(self.name, role))

    def connect(self, *urls):
        """Begin to move blobs to and from these nodes."""
        self.service.replicator = Replicator(
            self.service.shelf,
            urls,
            lambda: self.signer("validator"),
            lambda: self.service.state,
            member=self.name,
            metrics=self.service.metrics,
            witness=Witness(self.evidence_folder),
        )
        self.clerk.listen(self.service.replicator.ring)
        self.service.replicator.start()

    def disconnect(self):
        if self.service.replicator is not None:
            self.service.replicator.stop()

    def start(self):
        """Serve at the address."""
        settings = replace(self.home.settings, port=self.port)
        self.server = make_server(replace(self.home, settings=settings))
        self.thread = threading.Thread(target=asyncio.run, args=(self.server.serve(),))
        self.thread.start()
        until(lambda: self.server.started)

    def stop(self):
        """Serve nobody."""
        if self.server is not None:
            self.server.should_exit = True
            self.thread.join(20)
            assert not self.thread.is_alive()
            self.server = None

    def close(self):
        self.disconnect()
        self.stop()
        super().close()

    def save(self, data):
        """Let the member make a blob; return its root."""
        writer = self.blobs.create()
        writer.write(data)
        return writer.commit()[0]

    def upload(self, task, data, url=""):
        """Let the member hand a blob to a node, by default its own."""
        root = self.save(data)
        self._transfer(url, lambda moved: moved.upload(task, root))
        return root

    def download(self, task, data, url=""):
        """Let the member get a blob from a node, by default its own."""
        root = blob_root(data)
        self._transfer(url, lambda moved: moved.download(task, root))
        assert self.blobs.open(root).tobytes() == data

    def _transfer(self, url, act):
        with closing(
            NodeClient(Route((url or self.url,)), lambda: self.signer("worker"))
        ) as client:
            act(Transfers(client, FolderStore(self.blobs), Witness(None)))

    def has(self, task, data):
        """Whether the node has all of a blob, and what it reads is that."""
        root = blob_root(data)
        found = self.service.shelf.progress(task, root)
        if found is None or not found.complete:
            return False
        return b"".join(self.service.shelf.read(task, root, 0, len(data))) == data

    def has_nothing(self, task, data):
        return self.service.shelf.progress(task, blob_root(data)) is None

    def evidence(self):
        found = sorted(self.evidence_folder.glob("*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in found]

    def count(self, name):
        """Return what a metric says."""
        lines = self.service.metrics.text().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


class Cutter:
    """A way to a node that is cut after so many bytes, again and again, and then is whole."""

    def __init__(self, port, cuts, every):
        self._target, self.cuts, self._every = port, cuts, every
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listening.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                budget = [self._every]
                for one, other in ((near, far), (far, near)):
                    args = (one, other, budget)
                    threading.Thread(target=self._pass_on, args=args, daemon=True).start()

    def _pass_on(self, source, sink, budget):
        with suppress(OSError):
            while data := source.recv(65536):
                budget[0] -= len(data)
                if self.cuts > 0 and budget[0] < 0:
                    self.cuts -= 1
                    break
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
